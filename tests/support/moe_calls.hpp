#pragma once
/// Calls of the MoE collectives in tests, on GPUs and emulated: splits, inputs, what must come out. No CUDA.

#include "kernels/moe.hpp"
#include "tests/support/fused_calls.hpp"

#include <string>
#include <vector>

namespace crossover::testing {

inline std::string describe(const TokensPerRank& tokens, int world) {
    std::string text = "n=" + std::to_string(world) + " tokens";
    for (int rank = 0; rank < world; ++rank) text += " " + std::to_string(tokens[static_cast<std::size_t>(rank)]);
    return text;
}
inline std::string describe(const MoeDispatch& call, int world) {
    return "moe_dispatch " + std::string(to_string(call.dtype)) + " " + std::string(to_string(call.quant)) +
           (call.scale_layout == ScaleLayout::linear ? " linear " : " swizzled ") + std::to_string(call.hidden_dim) +
           " " + describe(call.tokens, world);
}
inline std::string describe(const MoeCombine& call, int world) {
    return "moe_combine " + std::string(to_string(call.dtype)) + " " + std::to_string(call.hidden_dim) + " " +
           describe(call.tokens, world);
}

/// Even, zero and extreme splits and Zipf's.
inline std::vector<TokensPerRank> splits(int world, std::int64_t mean) {
    std::vector<TokensPerRank> splits;
    for (const auto& distribution : kDistributions) splits.push_back(tokens_of(distribution.value, world, mean));
    splits.push_back({0, 1}); // one token, and not of the first rank
    splits.push_back({});     // none
    TokensPerRank last{}, odd{};
    last[static_cast<std::size_t>(world - 1)] = world * mean;
    for (int rank = 0; rank < world; rank += 2)
        odd[static_cast<std::size_t>(rank)] = mean + rank; // every other has none
    splits.push_back(last);
    splits.push_back(odd);
    return splits;
}

/// The gathered rows as the input of one unfused::quantize; input and outputs are left to the caller.
inline FusedAllReduce gathered(const MoeDispatch& call) {
    FusedAllReduce rows;
    rows.pattern = Pattern::allreduce;
    rows.dtype = call.dtype;
    rows.quant = call.quant;
    rows.scale_layout = call.scale_layout;
    rows.num_tokens = sum_of(call.tokens);
    rows.hidden_dim = call.hidden_dim;
    return rows;
}

/// The owner of a row among all ranks' rows, and its number there.
struct OwnRow {
    int rank;
    std::int64_t token;
};
inline OwnRow own_row(const TokensPerRank& tokens, std::int64_t row) {
    int rank = 0;
    while (row >= tokens[static_cast<std::size_t>(rank)]) row -= tokens[static_cast<std::size_t>(rank++)];
    return {rank, row};
}

/// One row of a dispatch's output, against float64. `scales` are those of all rows.
inline void check_dispatched(const MoeDispatch& call, int world, std::uint64_t seed, std::int64_t row,
                             std::span<const std::byte> output, std::span<const std::byte> scales) {
    const ReferenceCall reference = reference_of(gathered(call), world, seed);
    const OwnRow own = own_row(call.tokens, row);
    const auto codes = unpack_codes(output_format(reference), output);
    const ReferenceRow expected = dispatched_row(reference, own.rank, own.token);
    if (call.quant != Quant::fp4) {
        CHECK(codes == expected.codes); // scaled by a power of two: exact but for one rounding
        return;
    }
    std::vector<Interval> y;
    for (const double value : expected.reduced) y.push_back({value, value});
    check_quantized(reference, std::move(y), codes, scales_of_row(gathered(call), row, scales));
}

} // namespace crossover::testing
