#pragma once
/// Calls of the fused kernels in tests, on GPUs and emulated: what the inputs are, what must come out, how far off an
/// output may be. No CUDA.

#include "kernels/fused_allreduce.hpp"
#include "kernels/input_pattern.hpp"
#include "kernels/reference.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <span>
#include <string>

namespace crossover::testing {

inline constexpr float kFp8Scale = 0.03125f, kFp4GlobalScale = 64.0f;
inline float quant_scale_of(const FusedAllReduce& call) {
    return call.quant == Quant::fp4 ? kFp4GlobalScale : kFp8Scale;
}

inline const char* name_of(Fused algorithm) { return algorithm == Fused::oneshot ? "oneshot" : "twoshot"; }

/// What must give the same bits, of calls with a residual.
struct Variant {
    Fused algorithm;
    Pattern pattern;
};
inline constexpr Variant kResidualVariants[] = {{Fused::oneshot, Pattern::allreduce_residual_rmsnorm},
                                                {Fused::twoshot, Pattern::allreduce_residual_rmsnorm},
                                                {Fused::twoshot, Pattern::allreduce_residual_rmsnorm_sharded}};

/// The same call with the whole residual on every rank: what a sharded one must agree with, bit for bit.
inline FusedAllReduce replicated(FusedAllReduce call) {
    if (is_sharded(call.pattern)) call.pattern = Pattern::allreduce_residual_rmsnorm;
    return call;
}

inline std::string describe(Fused algorithm, const FusedAllReduce& call, int world) {
    std::string text = name_of(algorithm);
    for (auto word : {to_string(call.pattern), to_string(call.dtype), to_string(call.quant)})
        text.append(" ").append(word);
    return text + " n=" + std::to_string(world) + " " + std::to_string(call.num_tokens) + "x" +
           std::to_string(call.hidden_dim);
}

/// Inputs whose outputs look like empty slots, with a norm by ones: rows of one value are, in fp4, the largest code of
/// its sign, so all bits are set if it is negative; NaNs and infinities make a row's other values NaN or zero.
CROSSOVER_HOST_DEVICE constexpr float nearly_empty_value(std::int64_t token, std::int64_t column) {
    const bool special = token < 6 || (token < 12 && column % 37 == 5); // rows of one value, rows with some of it
    if (!special) return column % 3 ? -1.0f : 1.5f;
    switch (token % 6) {
    case 0:
        return -1;
    case 1:
        return 1;
    case 2:
        return std::numeric_limits<float>::quiet_NaN();
    case 3:
        return -std::numeric_limits<float>::infinity();
    case 4:
        return 0;
    default:
        return -0.0f;
    }
}

inline ReferenceCall reference_of(const FusedAllReduce& call, int world, std::uint64_t seed) {
    ReferenceCall reference;
    reference.pattern = call.pattern;
    reference.dtype = call.dtype;
    reference.quant = call.quant;
    reference.world_size = world;
    reference.hidden_dim = call.hidden_dim;
    reference.eps = call.eps;
    reference.fp8_scale = kFp8Scale;
    reference.fp4_global_scale = kFp4GlobalScale;
    reference.input = [=](int rank, std::int64_t t, std::int64_t c) { return input_value(seed, rank, t, c); };
    reference.residual = [=](std::int64_t t, std::int64_t c) { return residual_value(seed, t, c); };
    reference.gamma = [=](std::int64_t c) { return gamma_value(seed, c); };
    return reference;
}

/// Bytes of a call's output; scales not counted.
inline std::size_t output_bytes(const FusedAllReduce& call) {
    const auto elements = static_cast<std::size_t>(call.num_tokens * call.hidden_dim);
    return call.quant == Quant::none  ? elements * element_size(call.dtype)
           : call.quant == Quant::fp8 ? elements
                                      : elements / 2;
}

/// Bytes of a rank's residual, 0 without one.
inline std::size_t residual_bytes(const FusedAllReduce& call, int rank, int world) {
    const std::int64_t rows = residual_rows(call.pattern, call.num_tokens, rank, world);
    return static_cast<std::size_t>(rows * call.hidden_dim) * element_size(call.dtype);
}

/// Where a token's residual lies: on which rank (the first, where all have it), in which row.
struct ResidualPlace {
    int rank;
    std::int64_t row;
};
inline ResidualPlace residual_place(const FusedAllReduce& call, std::int64_t token, int world) {
    return is_sharded(call.pattern) ? ResidualPlace{static_cast<int>(token % world), token / world}
                                    : ResidualPlace{0, token};
}
/// And back: the token of row `row` on `rank`.
CROSSOVER_HOST_DEVICE constexpr std::int64_t token_of_residual_row(Pattern pattern, std::int64_t row, int rank,
                                                                   int world) {
    return pattern == Pattern::allreduce_residual_rmsnorm_sharded ? row * world + rank : row;
}

/// One row of a rank's results, as it lies in memory.
struct RowBytes {
    std::span<const std::byte> output;
    std::span<const std::byte> residual; // empty without one
    std::span<const std::byte> scales;   // fp4: those of all rows
};

/// Against the reference; adds to `error`. The residual is known bit for bit: the inputs' sums are exact in fp32.
inline void check_row(const FusedAllReduce& call, const ReferenceCall& reference, std::int64_t token,
                      const RowBytes& row, RelativeError& error) {
    const ReferenceRow expected = reference_row(reference, token);
    const auto codes = unpack_codes(output_format(reference), row.output);
    std::vector<std::uint8_t> scales;
    if (call.quant == Quant::fp4) {
        const std::int64_t blocks = call.hidden_dim / kFp4BlockSize;
        for (std::int64_t block = 0; block < blocks; ++block)
            scales.push_back(
                static_cast<std::uint8_t>(row.scales[scale_offset(call.scale_layout, token, block, blocks)]));
    }
    error.add(dequantized(reference, codes, scales), expected.output);

    if (row.residual.empty()) return;
    const auto residual = unpack_codes(format_of(call.dtype), row.residual);
    std::size_t wrong = 0;
    for (std::size_t c = 0; c < residual.size(); ++c)
        wrong += decode(format_of(call.dtype), residual[c]) != expected.reduced[c];
    CHECK(wrong == 0);
}

/// How far a result may be from float64: norm and quantization round once, and rarely to the neighbour.
inline double tolerance(const FusedAllReduce& call) {
    if (call.quant == Quant::fp8) return 5e-3;
    if (call.quant == Quant::fp4) return 1e-2;
    return call.dtype == DType::float32 ? 1e-6 : 5e-4;
}

} // namespace crossover::testing
