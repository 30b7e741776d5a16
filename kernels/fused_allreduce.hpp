#pragma once
/// The fused kernels: all-reduce (+ residual + RMSNorm (+ fp8 or fp4 quantization)) in one launch, in two algorithms.
///
/// Contract: `oneshot` and `twoshot` give bit-identical output and residual on every rank, for every launch
/// configuration. Contributions are added in rank order in fp32; r = round(sum + residual) is rounded once; the norm
/// reads the rounded r, its sum of squares is added in one fixed order (device/row_sum.cuh); output is rounded once.
/// With a sharded residual `twoshot` gives the same bits; oneshot has no use for one.
/// Every wait is bounded. Launches may be captured in CUDA graphs and chained with programmatic dependent launch.
///
/// All ranks of a world issue the same sequence of calls on their workspace, in one stream each, with the same
/// launches: default_launch() is the same where the GPUs are.

#include "comm/peers.hpp"
#include "kernels/launch_parameters.hpp"
#include "kernels/types.hpp"
#include "kernels/workspace.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

/// As in cuda_runtime_api.h, which this header does without: the shapes and checks below are tested with no toolkit.
using cudaStream_t = struct CUstream_st*;

namespace crossover {

/// One call. Pointers are device memory of this rank, 16-byte aligned, rows contiguous. The kernel just ahead in the
/// stream does not write `gamma` or `quant_scale`: with programmatic dependent launch they are read while that may
/// still run.
struct FusedAllReduce {
    Pattern pattern = Pattern::allreduce_residual_rmsnorm;
    DType dtype = DType::bfloat16;
    Quant quant = Quant::none;
    ScaleLayout scale_layout = ScaleLayout::swizzled;
    std::int64_t num_tokens = 0;
    std::int64_t hidden_dim = 0;
    const void* input = nullptr;       // [num_tokens, hidden_dim], this rank's contribution
    const void* residual_in = nullptr; // [num_tokens, hidden_dim], the same on every rank; only with a residual.
                                       // Sharded: [residual_rows(…), hidden_dim], this rank's tokens
    void* residual_out = nullptr;      // the same shape, may be residual_in; only with a residual
    const void* gamma = nullptr;       // [hidden_dim]; only with a norm
    void* output = nullptr; // none: [num_tokens, hidden_dim] of dtype; fp8: bytes; fp4: half that, low nibble first
    void* output_scales = nullptr; // fp4: e4m3 bytes, num_tokens × hidden_dim/16, padded to 128×4 tiles if swizzled
    const float* quant_scale = nullptr; // device scalar. fp8: value = code × it. fp4: value = code × block scale / it
    float eps = 1e-6f;
};

/// A rank's end of the receive buffers: symmetric memory, `bytes` on each rank, zeroed state at its start.
struct Workspace {
    Peers peers;
    std::size_t bytes = 0;
    std::uint64_t timeout_ns = 2'000'000'000; // of one wait on the device; more than 2^62 (146 years) is as much

    bool operator==(const Workspace&) const = delete;
};

/// Who waited for whom when a wait timed out; `peer` did not arrive at `rank`.
struct WaitTimeout {
    int rank = 0;
    int peer = 0;
    int cta = 0;
    int iteration = 0;
    int thread = 0;
    // At that moment, on the rank and on the peer: launches that all CTAs had entered, and whether that was so of the
    // latest one. A launch with CTAs outside waits for room on the GPU; it may be the one after the launch that waits,
    // which enters as soon as that is all inside. Two ranks that are all inside and equal have lost data on the way.
    int launches = 0, peer_launches = 0;
    bool all_resident = false, peer_all_resident = false;
};

/// "rank 0 waited for rank 1 in vain (CTA 3, thread 7, iteration 2; launch 5, all resident, and the peer in 5, …)"
std::string to_string(const WaitTimeout& timeout);

enum class Fused : std::uint8_t { oneshot, twoshot };

/// Puts a workspace into its start state: asynchronous on `stream`. All ranks must have finished it (a barrier between
/// them) before any of them launches. Also needed after a time-out.
void reset_workspace(const Workspace& workspace, cudaStream_t stream);

/// The first time-out since the last reset, if any: of this rank, or else of another, after which this rank's outputs
/// mean no more than theirs. Synchronizes `stream`, and reads the other ranks' workspaces.
std::optional<WaitTimeout> read_timeout(const Workspace& workspace, cudaStream_t stream);

/// Why this call cannot be run with this workspace and launch (one line), or nothing. Checked before any launch.
std::optional<std::string> unsupported(Fused algorithm, const FusedAllReduce& call, const Workspace& workspace,
                                       const LaunchParameters& launch);

/// A launch that is good on H200 for this shape and fits the workspace; any for a call that unsupported() refuses.
LaunchParameters default_launch(Fused algorithm, const FusedAllReduce& call, const Workspace& workspace,
                                int multiprocessors, int compute_capability_major);

/// Enqueue one call. @throws std::invalid_argument with unsupported()'s reason, CudaError when the launch fails.
void oneshot(const FusedAllReduce& call, const Workspace& workspace, const LaunchParameters& launch,
             cudaStream_t stream);
void twoshot(const FusedAllReduce& call, const Workspace& workspace, const LaunchParameters& launch,
             cudaStream_t stream);

/// The unfused kernels. All are memory-bound, take the same struct, and read `call.input` as the reduced tensor.
namespace unfused {
/// residual add, RMSNorm and quantization in one kernel: what a graph compiler makes after an all-reduce.
void fused_norm(const FusedAllReduce& call, bool pdl, cudaStream_t stream);
/// residual_out = round(input + residual_in)
void add_residual(const FusedAllReduce& call, bool pdl, cudaStream_t stream);
/// normed = round(RMSNorm(source) · gamma); [num_tokens, hidden_dim] of dtype
void rmsnorm(const FusedAllReduce& call, const void* source, void* normed, bool pdl, cudaStream_t stream);
/// output = quantize(normed), of whatever pattern
void quantize(const FusedAllReduce& call, const void* normed, bool pdl, cudaStream_t stream);
} // namespace unfused

} // namespace crossover
