#pragma once
/// Calls of the fused kernels in tests, on GPUs and emulated: what the inputs are, what must come out, how far off an
/// output may be. No CUDA.

#include "kernels/fused_allreduce.hpp"
#include "kernels/input_pattern.hpp"
#include "kernels/reference.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <span>
#include <string>

namespace crossover::testing {

inline constexpr float kFp8Scale = 0.03125f, kFp4GlobalScale = 64.0f;
inline float quant_scale_of(const FusedAllReduce& call) {
    return call.quant == Quant::fp4 ? kFp4GlobalScale : kFp8Scale;
}

inline const char* name_of(Fused algorithm) { return algorithm == Fused::oneshot ? "oneshot" : "twoshot"; }

inline std::string describe(Fused algorithm, const FusedAllReduce& call, int world) {
    std::string text = name_of(algorithm);
    for (auto word : {to_string(call.pattern), to_string(call.dtype), to_string(call.quant)})
        text.append(" ").append(word);
    return text + " n=" + std::to_string(world) + " " + std::to_string(call.num_tokens) + "x" +
           std::to_string(call.hidden_dim);
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

/// Bytes of a call's residual, 0 without one.
inline std::size_t residual_bytes(const FusedAllReduce& call) {
    return has_residual(call.pattern)
               ? static_cast<std::size_t>(call.num_tokens * call.hidden_dim) * element_size(call.dtype)
               : 0;
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

    if (!has_residual(call.pattern)) return;
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
