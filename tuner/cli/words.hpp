#pragma once
/// Words and numbers that several subcommands take as options.

#include "kernels/types.hpp"
#include "tuner/error.hpp"

#include <cstdint>
#include <string>

namespace crossover {

/// The value that `word` names in one of the tables of kernels/types.hpp. @throws InputError listing the words there
/// are
template <class Names>
auto word_option(const std::string& option, const std::string& word, const Names& names) {
    std::string choices;
    for (const auto& entry : names) {
        if (entry.name == word) return entry.value;
        choices.append(choices.empty() ? "" : ", ").append(entry.name);
    }
    throw InputError(option, "`" + word + "` is unknown", "write one of " + choices);
}

/// @throws InputError unless 1 <= hidden_dim <= 2^20
inline void check_hidden_dim(std::int64_t hidden_dim) {
    if (hidden_dim < 1 || hidden_dim > 1 << 20)
        throw InputError("--hidden-dim", std::to_string(hidden_dim) + " is no hidden_dim", "write 1 to 1048576");
}

} // namespace crossover
