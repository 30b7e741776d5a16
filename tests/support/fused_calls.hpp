#pragma once
/// Calls of the fused kernels in tests, on GPUs and emulated: what the inputs are, what must come out, how far off an
/// output may be. No CUDA.

#include "kernels/fused_allreduce.hpp"
#include "kernels/input_pattern.hpp"
#include "kernels/reference.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

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

/// The fp4 scales of one row, in block order, from those of all rows; empty otherwise.
inline std::vector<std::uint8_t> scales_of_row(const FusedAllReduce& call, std::int64_t token,
                                               std::span<const std::byte> scales) {
    std::vector<std::uint8_t> of_row;
    const std::int64_t blocks = call.quant == Quant::fp4 ? call.hidden_dim / kFp4BlockSize : 0;
    for (std::int64_t block = 0; block < blocks; ++block)
        of_row.push_back(static_cast<std::uint8_t>(scales[scale_offset(call.scale_layout, token, block, blocks)]));
    return of_row;
}

/// The residual is known bit for bit: the inputs' sums are exact in fp32.
inline void check_residual(const FusedAllReduce& call, const ReferenceRow& expected,
                           std::span<const std::byte> residual) {
    const auto codes = unpack_codes(format_of(call.dtype), residual);
    std::size_t wrong = 0;
    for (std::size_t c = 0; c < codes.size(); ++c)
        wrong += decode(format_of(call.dtype), codes[c]) != expected.reduced[c];
    CHECK(wrong == 0);
}

/// Where a value lies that is known but for rounding errors; 0 is not inside.
struct Interval {
    double low, high;
};

/// With the relative error of fp32 that a norm and a quantization may have. In units of 2^-24, one rounding: of a sum
/// of squares 33 (at most 34 additions one after the other in row_sum.cuh's order), halved by the root; rsqrtf 4 (two
/// ulp), the two products of the norm 2, quantization 3. 26 in all; 2^-19 is 32.
inline Interval with_fp32_error(Interval x) {
    return {x.low - 0x1p-19 * std::fabs(x.low), x.high + 0x1p-19 * std::fabs(x.high)};
}

/// A row of fp8 or fp4 codes of values y. The values are compared one by one: each must be the rounding of a number
/// that y and fp32 allow. A relative error over the row would not do: in fp4, where neighbouring codes are 17 to 100 %
/// apart, many values are ties by construction (a bfloat16 of 8 bits divided by a scale of 4), and which of them fp32
/// keeps decides over 2 %; while a fault in one element of a thousand changes it by less.
inline void check_quantized(const ReferenceCall& reference, std::vector<Interval> y,
                            std::span<const std::uint32_t> codes, std::span<const std::uint8_t> scales) {
    const NumberFormat format = output_format(reference);
    REQUIRE(codes.size() == y.size());
    for (Interval& of : y) of = with_fp32_error(of);
    double factor = 1 / double{reference.fp8_scale};
    std::size_t wrong = 0, wrong_scales = 0;
    for (std::size_t i = 0; i < y.size(); ++i) {
        if (reference.quant == Quant::fp4 && i % kFp4BlockSize == 0) {
            double least = 0, most = 0; // the block's largest magnitude
            for (std::size_t k = i; k < i + kFp4BlockSize; ++k) {
                least = std::max(least, std::min(std::fabs(y[k].low), std::fabs(y[k].high)));
                most = std::max({most, std::fabs(y[k].low), std::fabs(y[k].high)});
            }
            const std::uint8_t code = scales[i / kFp4BlockSize];
            wrong_scales += code < encode(kE4M3, reference.fp4_global_scale * least / 6) ||
                            code > encode(kE4M3, reference.fp4_global_scale * most / 6);
            const double scale = decode(kE4M3, code);
            factor = scale == 0 ? 0 : reference.fp4_global_scale / scale;
        }
        const double value = decode(format, codes[i]);
        wrong += !(rounded(format, y[i].low * factor) <= value && value <= rounded(format, y[i].high * factor));
    }
    CHECK(wrong == 0);
    CHECK(wrong_scales == 0);
}

/// Against the reference: values of dtype add to `error`, codes are compared one by one.
inline void check_row(const FusedAllReduce& call, const ReferenceCall& reference, std::int64_t token,
                      const RowBytes& row, RelativeError& error) {
    const ReferenceRow expected = reference_row(reference, token);
    const auto codes = unpack_codes(output_format(reference), row.output);
    const auto scales = scales_of_row(call, token, row.scales);
    if (call.quant == Quant::none) {
        error.add(dequantized(reference, codes, scales), expected.output);
    } else {
        std::vector<Interval> y;
        for (const double value : expected.normed) y.push_back({value, value});
        check_quantized(reference, std::move(y), codes, scales);
    }
    check_residual(call, expected, row.residual);
}

/// A row that was normed and then quantized by separate kernels, which round y to dtype in between: up to 2^-8 in
/// bfloat16, so that of the values near the middle of two codes, or a block's scale near that of two scales, some take
/// the other one than float64 (simulated: 2 to 5 % of relative error in fp4, 24 % in a row of one block).
inline void check_separate_row(const FusedAllReduce& call, const ReferenceCall& reference, std::int64_t token,
                               const RowBytes& row) {
    const ReferenceRow expected = reference_row(reference, token);
    std::vector<Interval> rounded_norm;
    for (const double y : expected.normed) {
        const Interval in_fp32 = with_fp32_error({y, y});
        rounded_norm.push_back({rounded(call.dtype, in_fp32.low), rounded(call.dtype, in_fp32.high)});
    }
    check_quantized(reference, std::move(rounded_norm), unpack_codes(output_format(reference), row.output),
                    scales_of_row(call, token, row.scales));
    check_residual(call, expected, row.residual);
}

/// How far a result may be from float64: norm and quantization round once, and rarely to the neighbour.
inline double tolerance(const FusedAllReduce& call) {
    if (call.quant == Quant::fp8) return 5e-3;
    if (call.quant == Quant::fp4) return 1e-2;
    return call.dtype == DType::float32 ? 1e-6 : 5e-4;
}

} // namespace crossover::testing
