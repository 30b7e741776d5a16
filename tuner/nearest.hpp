#pragma once
/// "Did you mean …?" for words that a user typed.

#include "tuner/named_words.hpp"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

namespace crossover {

/// Insertions, deletions and substitutions that turn one word into the other (Levenshtein).
inline std::size_t edit_distance(std::string_view from, std::string_view to) {
    std::vector<std::size_t> row(to.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 0; i < from.size(); ++i) {
        std::size_t diagonal = row[0]++;
        for (std::size_t j = 0; j < to.size(); ++j) {
            const std::size_t substituted = diagonal + (from[i] != to[j]);
            diagonal = row[j + 1];
            row[j + 1] = std::min({substituted, diagonal + 1, row[j] + 1});
        }
    }
    return row.back();
}

/// The candidate (by word_of) nearest to `word`; empty if none is within a third of its letters, which is how far clang
/// looks, too: with half of them `foo` was taken for `fit`, and `launch` for `bench`.
template <class Words>
std::string_view nearest(std::string_view word, const Words& candidates) {
    std::string_view best;
    std::size_t best_distance = (word.size() + 2) / 3 + 1;
    for (const auto& candidate : candidates)
        if (const std::size_t distance = edit_distance(word, word_of(candidate)); distance < best_distance) {
            best = word_of(candidate);
            best_distance = distance;
        }
    return best;
}

/// What to do about a word that is none of the candidates: "did you mean `tune`?", or `otherwise` if none is near.
template <class Words>
std::string did_you_mean(std::string_view word, const Words& candidates, const std::string& otherwise) {
    const std::string_view near = nearest(word, candidates);
    return near.empty() ? otherwise : "did you mean `" + std::string(near) + "`?";
}

} // namespace crossover
