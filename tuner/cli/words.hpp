#pragma once
/// Words and numbers that several subcommands take as options.

#include "tuner/error.hpp"
#include "tuner/named_words.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace crossover {

/// What `word` stands for: see tuner/named_words.hpp. @throws InputError listing the words there are
template <class Words>
auto word_option(const std::string& option, const std::string& word, const Words& words) {
    for (const auto& entry : words)
        if (word_of(entry) == word) return value_of(entry);
    throw InputError(option, "`" + word + "` is unknown", "write one of " + listed(words));
}

/// "2%", "2.5 %" or "0.02" as a fraction from 0 to below 1. @throws InputError
double fraction_option(const std::string& option, const std::string& text);

/// "128 512" and "128,512" alike.
std::vector<std::string> words_of(const std::vector<std::string>& arguments);
/// The same as whole numbers from 1. @throws InputError
std::vector<std::int64_t> sizes_of(const std::string& option, const std::vector<std::string>& arguments);

/// @throws InputError unless 1 <= hidden_dim <= 2^20
inline void check_hidden_dim(std::int64_t hidden_dim) {
    if (hidden_dim < 1 || hidden_dim > 1 << 20)
        throw InputError("--hidden-dim", std::to_string(hidden_dim) + " is no hidden_dim", "write 1 to 1048576");
}

} // namespace crossover
