#pragma once

#include <charconv>
#include <string_view>
#include <system_error>

namespace crossover {

/// A number in full, nothing before or behind its digits; else why not, and `value` may be anything.
template <class T>
std::errc parse_number(std::string_view text, T& value) {
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    return stop == end ? error : std::errc::invalid_argument;
}

} // namespace crossover
