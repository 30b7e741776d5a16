#pragma once
/// Results of an InProcessWorld against the float64 reference.

#include "tests/gpu/in_process_world.cuh"

namespace crossover::testing {

/// One row of rank 0's outputs, and its residual where that is, against the reference; adds to `error`.
inline void check_row(InProcessWorld& world, const FusedAllReduce& call, const ReferenceCall& reference,
                      std::int64_t token, RelativeError& error) {
    const RankMemory& memory = world.ranks[0];
    const auto download_row = [](const DeviceBuffer<std::byte>& tensor, std::int64_t row, std::size_t bytes) {
        return download(tensor.data() + static_cast<std::size_t>(row) * bytes, bytes);
    };
    const auto output =
        download_row(memory.output, token, output_bytes(call) / static_cast<std::size_t>(call.num_tokens));
    std::vector<std::byte> residual;
    if (has_residual(call.pattern)) {
        const auto [rank, row] = residual_place(call, token, world.size());
        residual = download_row(world.ranks[rank].residual_out, row,
                                static_cast<std::size_t>(call.hidden_dim) * element_size(call.dtype));
    }
    std::vector<std::byte> scales;
    if (call.quant == Quant::fp4)
        scales = download(memory.scales.data(),
                          scale_bytes(call.scale_layout, call.num_tokens, call.hidden_dim / kFp4BlockSize));
    check_row(call, reference, token, {output, residual, scales}, error);
}

/// A copy between buffers of GPUs returns before it is done; what follows writes to the source from another stream.
inline void copy_and_wait(void* to, const void* from, std::size_t bytes) {
    CROSSOVER_CUDA_CHECK(cudaMemcpy(to, from, bytes, cudaMemcpyDefault));
    CROSSOVER_CUDA_CHECK(cudaDeviceSynchronize());
}

} // namespace crossover::testing
