#pragma once
/// A model's view of a cell: which algorithm serves which numbers of tokens.

#include "tuner/table.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace crossover {

/// first_tokens … last_tokens (inclusive) use `algorithm`.
struct TokenRange {
    std::int64_t first_tokens = 0;
    std::int64_t last_tokens = 0;
    std::string algorithm; // as in the table; not_measured where the table says nothing

    bool operator==(const TokenRange&) const = default;
};

/// Splits 1 … max_num_batched_tokens where the algorithm changes: at max_tokens = bytes // (hidden_dim × element size).
/// By the row of this hidden_dim, if the cell has one. Intervals that hold no whole number of tokens vanish. hidden_dim
/// and max_num_batched_tokens >= 1.
std::vector<TokenRange> token_ranges(const Cell& any_model, std::int64_t hidden_dim,
                                     std::int64_t max_num_batched_tokens);

/// Last tokens of all ranges but the open last one: vLLM's compile_ranges_endpoints. Two baselines' ranges side by side
/// are one to an engine, which has one unfused path: no point between them.
std::vector<std::int64_t> split_points(std::span<const TokenRange> ranges);

} // namespace crossover
