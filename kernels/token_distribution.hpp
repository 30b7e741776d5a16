#pragma once
/// How many tokens each rank of a world has before a gather, or is owed after a reduce-scatter. No CUDA.

#include "comm/peers.hpp"
#include "kernels/types.hpp"

#include <array>
#include <cstdint>
#include <stdexcept>
#include <string_view>

namespace crossover {

/// Tokens of each rank, in rank order; 0 beyond the world.
using TokensPerRank = std::array<std::int64_t, kMaxWorldSize>;

/// `even`: every rank has the mean. `one_hot`: rank 0 has all tokens, the others none. `zipf`: rank r has a share
/// proportional to 1/(r+1).
enum class Distribution : std::uint8_t { even, one_hot, zipf };

inline constexpr std::array kDistributions{Named<Distribution>{Distribution::even, "even"},
                                           Named<Distribution>{Distribution::one_hot, "one_hot"},
                                           Named<Distribution>{Distribution::zipf, "zipf"}};

constexpr std::string_view to_string(Distribution value) { return detail::name_in(kDistributions, value); }

/// How tokens lie over the ranks in a MoE pattern.
constexpr Distribution distribution_of(Pattern pattern) {
    if (pattern == Pattern::moe_dispatch_one_hot || pattern == Pattern::moe_combine_one_hot)
        return Distribution::one_hot;
    if (pattern == Pattern::moe_dispatch_zipf || pattern == Pattern::moe_combine_zipf) return Distribution::zipf;
    return Distribution::even;
}

/// world_size × mean_tokens tokens over the ranks, always the same. What does not divide goes to the ranks whose shares
/// were cut the most, the lower rank first. @throws std::invalid_argument for no ranks, too many, or fewer than 0
/// tokens
constexpr TokensPerRank tokens_of(Distribution distribution, int world_size, std::int64_t mean_tokens) {
    if (world_size < 1 || world_size > kMaxWorldSize || mean_tokens < 0)
        throw std::invalid_argument("tokens_of: the world has 1 to 8 ranks and no fewer than 0 tokens");
    constexpr std::int64_t kUnit = 840; // divides by 1…8
    TokensPerRank weight{}, tokens{}, cut{};
    std::int64_t weights = 0;
    for (int rank = 0; rank < world_size; ++rank) {
        const bool all = distribution == Distribution::one_hot && rank == 0;
        weight[rank] = distribution == Distribution::even   ? kUnit
                       : distribution == Distribution::zipf ? kUnit / (rank + 1)
                                                            : kUnit * all;
        weights += weight[rank];
    }
    const std::int64_t total = world_size * mean_tokens;
    std::int64_t left = total;
    for (int rank = 0; rank < world_size; ++rank) {
        tokens[rank] = total * weight[rank] / weights;
        cut[rank] = total * weight[rank] % weights;
        left -= tokens[rank];
    }
    for (; left > 0; --left) {
        int most = 0;
        for (int rank = 1; rank < world_size; ++rank)
            if (cut[rank] > cut[most]) most = rank;
        ++tokens[most];
        cut[most] = -1;
    }
    return tokens;
}

/// Tokens of all ranks.
constexpr std::int64_t sum_of(const TokensPerRank& tokens) {
    std::int64_t sum = 0;
    for (const std::int64_t of_rank : tokens) sum += of_rank;
    return sum;
}

/// Tokens of the ranks before `rank`: its first row in a tensor of all ranks' rows.
constexpr std::int64_t offset_of(const TokensPerRank& tokens, int rank) {
    std::int64_t offset = 0;
    for (int before = 0; before < rank; ++before) offset += tokens[before];
    return offset;
}

} // namespace crossover
