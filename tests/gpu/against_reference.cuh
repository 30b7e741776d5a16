#pragma once
/// Results of an InProcessWorld against the float64 reference: what the inputs are and how far off an output may be.

#include "tests/gpu/in_process_world.cuh"

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

/// One row of rank 0's results against the reference; adds to `error`.
inline void check_row(InProcessWorld& world, const FusedAllReduce& call, const ReferenceCall& reference,
                      std::int64_t token, RelativeError& error) {
    const ReferenceRow expected = reference_row(reference, token);
    const auto hidden = static_cast<std::size_t>(call.hidden_dim);
    const RankMemory& memory = world.ranks[0];
    const std::size_t row_bytes = output_bytes(call) / static_cast<std::size_t>(call.num_tokens);
    const auto row = download(memory.output.data() + static_cast<std::size_t>(token) * row_bytes, row_bytes);
    const auto codes = unpack_codes(output_format(reference), row);
    std::vector<std::uint8_t> scales;
    if (call.quant == Quant::fp4) {
        const auto blocks = static_cast<std::int64_t>(hidden / kFp4BlockSize);
        const auto all = download(memory.scales.data(), scale_bytes(call.scale_layout, call.num_tokens, blocks));
        for (std::int64_t block = 0; block < blocks; ++block)
            scales.push_back(static_cast<std::uint8_t>(all[scale_offset(call.scale_layout, token, block, blocks)]));
    }
    error.add(dequantized(reference, codes, scales), expected.output);

    if (has_residual(call.pattern)) { // known bit for bit: the inputs' sums are exact in fp32
        const auto bytes = hidden * element_size(call.dtype);
        const auto residual =
            unpack_codes(format_of(call.dtype),
                         download(memory.residual_out.data() + static_cast<std::size_t>(token) * bytes, bytes));
        std::size_t wrong = 0;
        for (std::size_t c = 0; c < hidden; ++c)
            wrong += decode(format_of(call.dtype), residual[c]) != expected.reduced[c];
        CHECK(wrong == 0);
    }
}

/// How far a result may be from float64: norm and quantization round once, and rarely to the neighbour.
inline double tolerance(const FusedAllReduce& call) {
    if (call.quant == Quant::fp8) return 5e-3;
    if (call.quant == Quant::fp4) return 1e-2;
    return call.dtype == DType::float32 ? 1e-6 : 5e-4;
}

/// A copy between buffers of GPUs returns before it is done; what follows writes to the source from another stream.
inline void copy_and_wait(void* to, const void* from, std::size_t bytes) {
    CROSSOVER_CUDA_CHECK(cudaMemcpy(to, from, bytes, cudaMemcpyDefault));
    CROSSOVER_CUDA_CHECK(cudaDeviceSynchronize());
}

} // namespace crossover::testing
