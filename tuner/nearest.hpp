#pragma once
/// "Did you mean …?" for words that a user typed.

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

/// The candidate nearest to `word`; empty if none is nearer than about half of its letters.
template <class Words>
std::string_view nearest(std::string_view word, const Words& candidates) {
    std::string_view best;
    std::size_t best_distance = word.size() / 2 + 2;
    for (const std::string_view candidate : candidates)
        if (const std::size_t distance = edit_distance(word, candidate); distance < best_distance) {
            best = candidate;
            best_distance = distance;
        }
    return best;
}

} // namespace crossover
