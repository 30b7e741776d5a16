#pragma once
/// The two collectives around the experts of a data-parallel MoE, each in one launch that pushes. Ranks hold different
/// numbers of tokens, none and all included. Of a rank with many more than others `moe_dispatch` stores a row to one
/// peer only, who passes it on.
///
/// Contract: `moe_dispatch` quantizes this rank's rows and leaves all ranks' rows on every rank, the same bits as
/// gathering the rows and quantizing them with unfused::quantize. `moe_combine` gives each rank the sums of its own
/// rows, added in rank order in fp32 and rounded once. Every wait is bounded. Launches may be captured in CUDA graphs,
/// chained with programmatic dependent launch, and mixed with oneshot and twoshot on one workspace; all ranks issue the
/// same sequence of calls with the same `tokens` and MoeLaunch, in one stream each.
///
/// Written before the kernel ahead in the stream, or without programmatic dependent launch: `quant_scale`, which is
/// read while that kernel may still run. A tensor's input and output do not overlap, but for a dispatch without
/// quantization whose input is its own slice of the output. After a time-out peers may still write to this rank's
/// output: nobody uses the outputs again before all ranks have synchronized and reset their workspaces.

#include "kernels/fused_allreduce.hpp"
#include "kernels/token_distribution.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>

namespace crossover {

/// Rows before the experts. Pointers are device memory, 16-byte aligned, rows contiguous.
struct MoeDispatch {
    DType dtype = DType::bfloat16;
    Quant quant = Quant::none;
    ScaleLayout scale_layout = ScaleLayout::swizzled;
    std::int64_t hidden_dim = 0;
    TokensPerRank tokens{};      // the same on every rank
    const void* input = nullptr; // [tokens[rank], hidden_dim]; anything for a rank without tokens
    /// Every rank's, mapped into this process: symmetric memory. [all tokens, hidden_dim] in rank order; as
    /// FusedAllReduce::output. Whoever reads it does so in the stream of the calls, after one and before the next.
    std::array<void*, kMaxWorldSize> output{};
    std::array<void*, kMaxWorldSize> output_scales{}; // fp4, as FusedAllReduce::output_scales for all tokens; swizzled
                                                      // ones are aligned to 4 bytes
    const float* quant_scale = nullptr;               // as FusedAllReduce::quant_scale; the same on every rank
};

/// Rows after the experts. Pointers are device memory of this rank, 16-byte aligned, rows contiguous.
struct MoeCombine {
    DType dtype = DType::bfloat16;
    std::int64_t hidden_dim = 0;
    TokensPerRank tokens{};      // the same on every rank
    const void* input = nullptr; // [all tokens, hidden_dim] in rank order: this rank's part of every row's sum
    void* output = nullptr;      // [tokens[rank], hidden_dim]; anything for a rank without tokens
};

/// How a launch is cut up; the same on all ranks.
struct MoeLaunch {
    int ctas = 132;
    int threads = 512; // per CTA, a multiple of 32, at most 512
    bool pdl = true;   // as LaunchParameters::pdl
    /// Whether rows of ranks that have more than others go by way of the others, so that no link carries them once for
    /// each peer: a hop more, and fewer bytes on the fullest link. Without effect where there are no such rows.
    bool relays = false;

    bool operator==(const MoeLaunch&) const = default;
};

/// Why this call cannot be run with this workspace and launch (one line), or nothing. Checked before any launch.
std::optional<std::string> unsupported(const MoeDispatch& call, const Workspace& workspace, const MoeLaunch& launch);
std::optional<std::string> unsupported(const MoeCombine& call, const Workspace& workspace, const MoeLaunch& launch);

/// A launch for this shape that fits the workspace: few rows are spread over all multiprocessors.
MoeLaunch default_launch(const MoeDispatch& call, const Workspace& workspace, int multiprocessors);
MoeLaunch default_launch(const MoeCombine& call, const Workspace& workspace, int multiprocessors);

/// Enqueue one call. Without any tokens nothing is launched. @throws std::invalid_argument with unsupported()'s reason,
/// CudaError when the launch fails.
void moe_dispatch(const MoeDispatch& call, const Workspace& workspace, const MoeLaunch& launch, cudaStream_t stream);
void moe_combine(const MoeCombine& call, const Workspace& workspace, const MoeLaunch& launch, cudaStream_t stream);

namespace unfused {
/// Lays the fp4 scales of `rows` rows, `blocks_per_row` bytes each, out in the swizzled layout: for who has gathered
/// linear ones. Padding is left alone. @throws std::invalid_argument for more than 2^30 scales
void swizzle_scales(const void* linear, void* swizzled, std::int64_t rows, std::int64_t blocks_per_row, bool pdl,
                    cudaStream_t stream);
} // namespace unfused

} // namespace crossover
