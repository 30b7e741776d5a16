#pragma once
/// Words that a file or an option may hold: tables of Named values (kernels/types.hpp) or of whatever has a word_of(),
/// or lists of words that stand for themselves.

#include "kernels/types.hpp"

#include <string>
#include <string_view>

namespace crossover {

template <class E>
constexpr std::string_view word_of(const Named<E>& entry) {
    return entry.name;
}
constexpr std::string_view word_of(std::string_view word) { return word; }

template <class E>
constexpr E value_of(const Named<E>& entry) {
    return entry.value;
}
inline std::string value_of(std::string_view word) { return std::string(word); }

/// "none, fp8, fp4"
template <class Words>
std::string listed(const Words& words) {
    std::string text;
    for (const auto& entry : words) text.append(text.empty() ? "" : ", ").append(word_of(entry));
    return text;
}

} // namespace crossover
