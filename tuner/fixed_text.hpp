#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <string_view>

namespace crossover {

/// Text into a place of fixed size, zero-terminated. What has no room is cut off, before a character of UTF-8 and not
/// within it.
template <std::size_t N>
void copy_text(std::array<char, N>& to, std::string_view text) {
    std::size_t size = std::min(text.size(), N - 1);
    const auto goes_on = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; };
    while (size > 0 && size < text.size() && goes_on(text[size])) --size;
    to.fill(0);
    std::copy_n(text.data(), size, to.data());
}

} // namespace crossover
