#pragma once
/// Results of an InProcessWorld against the float64 reference.

#include "tests/gpu/in_process_world.cuh"

namespace crossover::testing {

/// A row's results, on the host.
struct HostRow {
    std::vector<std::byte> output, residual, scales;
    RowBytes bytes() const { return {output, residual, scales}; }
};

/// One row of rank 0's outputs, and its residual from where that is.
inline HostRow download(const InProcessWorld& world, const FusedAllReduce& call, std::int64_t token) {
    const RankMemory& memory = world.ranks[0];
    const auto download_row = [](const DeviceBuffer<std::byte>& tensor, std::int64_t row, std::size_t bytes) {
        return download(tensor.data() + static_cast<std::size_t>(row) * bytes, bytes);
    };
    HostRow result;
    result.output = download_row(memory.output, token, output_bytes(call) / static_cast<std::size_t>(call.num_tokens));
    if (has_residual(call.pattern)) {
        const auto [rank, row] = residual_place(call, token, world.size());
        result.residual = download_row(world.ranks[rank].residual_out, row,
                                       static_cast<std::size_t>(call.hidden_dim) * element_size(call.dtype));
    }
    if (call.quant == Quant::fp4)
        result.scales = download(memory.scales.data(),
                                 scale_bytes(call.scale_layout, call.num_tokens, call.hidden_dim / kFp4BlockSize));
    return result;
}

/// The first, the middle and the last row of a call's results against the reference. `separate`: the norm and the
/// quantization were kernels of their own.
inline void check_rows(const InProcessWorld& world, const FusedAllReduce& call, const ReferenceCall& reference,
                       bool separate = false) {
    RelativeError error;
    for (const std::int64_t token : {std::int64_t{0}, call.num_tokens / 2, call.num_tokens - 1}) {
        const HostRow row = download(world, call, token);
        if (separate && call.quant != Quant::none)
            check_separate_row(call, reference, token, row.bytes());
        else
            check_row(call, reference, token, row.bytes(), error);
    }
    CHECK(error.value() <= tolerance(call));
}

/// A copy between buffers of GPUs returns before it is done; what follows writes to the source from another stream.
inline void copy_and_wait(void* to, const void* from, std::size_t bytes) {
    CROSSOVER_CUDA_CHECK(cudaMemcpy(to, from, bytes, cudaMemcpyDefault));
    CROSSOVER_CUDA_CHECK(cudaDeviceSynchronize());
}

} // namespace crossover::testing
