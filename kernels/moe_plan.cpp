// From a call of moe.hpp to a kernel's arguments: what is supported, a good launch. No CUDA.

#include "kernels/moe_launch.hpp"

#include <algorithm>
#include <stdexcept>

namespace crossover {
namespace {

using namespace device;

std::int64_t most_tokens(const TokensPerRank& tokens) { return *std::max_element(tokens.begin(), tokens.end()); }

std::int64_t vectors_per_row(DType dtype, std::int64_t hidden_dim) {
    return hidden_dim * static_cast<std::int64_t>(element_size(dtype)) / kVectorBytes;
}

/// Of all channels; the first has the most.
std::int64_t units_of_channel(const MoeCombine& call, std::int64_t channels) {
    const std::int64_t vectors = most_tokens(call.tokens) * vectors_per_row(call.dtype, call.hidden_dim);
    return ceil_div(ceil_div(vectors, kWarp), channels);
}

std::int64_t channels_of(const MoeLaunch& launch) { return std::int64_t{launch.ctas} * (launch.threads / kWarp); }

/// Rows of each channel's ring that the workspace has room for, beside flags and credits.
std::int64_t stages_that_fit(const Workspace& workspace, std::int64_t channels) {
    const auto room = static_cast<std::int64_t>(generation_bytes(workspace)) - kFlagsBytes * (1 + channels);
    const std::int64_t stage = std::int64_t{workspace.peers.world_size - 1} * kUnitBytes;
    return std::min(room / channels, std::int64_t{1} << 31) / stage; // RingPosition counts in 32 bits
}

/// What both calls ask for.
std::optional<std::string> unsupported_shape(DType dtype, std::int64_t hidden_dim, int grain,
                                             const TokensPerRank& tokens, const Workspace& workspace,
                                             const MoeLaunch& launch) {
    const int world = workspace.peers.world_size;
    if (world != 2 && world != 4 && world != 8) return "world size " + std::to_string(world) + " is not 2, 4 or 8";
    if (hidden_dim < grain || hidden_dim % grain != 0 || hidden_dim > 1 << 20)
        return "hidden_dim " + std::to_string(hidden_dim) + " is not a positive multiple of " + std::to_string(grain) +
               " up to 2^20";
    for (int rank = 0; rank < kMaxWorldSize; ++rank) {
        const std::int64_t of_rank = tokens[static_cast<std::size_t>(rank)];
        if (of_rank < 0 || of_rank > 1 << 30 || (rank >= world && of_rank != 0))
            return "rank " + std::to_string(rank) + " of " + std::to_string(world) + " has " + std::to_string(of_rank) +
                   " tokens";
    }
    if (sum_of(tokens) * vectors_per_row(dtype, hidden_dim) >= std::int64_t{1} << 31) // they are counted in 32 bits
        return std::to_string(sum_of(tokens)) + " rows of " + std::to_string(hidden_dim) +
               " elements are 32 GiB or more";
    if (launch.threads < kWarp || launch.threads > kMaxThreads || launch.threads % kWarp != 0)
        return "threads " + std::to_string(launch.threads) + " is not a multiple of 32 in 32…512";
    if (launch.ctas < 1 || launch.ctas > static_cast<int>(kLaunch / 2))
        return "ctas " + std::to_string(launch.ctas) + " is not in 1…" + std::to_string(kLaunch / 2);
    return std::nullopt;
}

bool aligned(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer) % kVectorBytes == 0; }

std::string too_small(const Workspace& workspace, std::int64_t needed) {
    return "the workspace of " + std::to_string(workspace.bytes) + " bytes holds " +
           std::to_string(generation_bytes(workspace)) + " of the " + std::to_string(needed) +
           " that this launch needs";
}

MoeArguments shape_arguments(DType dtype, std::int64_t hidden_dim, const TokensPerRank& tokens,
                             const Workspace& workspace) {
    MoeArguments a{};
    a.peers = workspace.peers;
    a.timeout_ns = workspace.timeout_ns;
    a.generation_bytes = generation_bytes(workspace);
    a.vectors_per_row = static_cast<unsigned>(vectors_per_row(dtype, hidden_dim));
    for (int rank = 0; rank <= kMaxWorldSize; ++rank)
        a.first[rank] = static_cast<unsigned>(offset_of(tokens, rank)) * a.vectors_per_row;
    return a;
}

/// Rows of a channel's ring that it cannot do without.
std::int64_t stages_needed(const MoeCombine& call, std::int64_t channels) {
    return std::min<std::int64_t>(units_of_channel(call, channels), kCombineBehind + 1);
}

/// A vector a thread where there are few, over all multiprocessors.
MoeLaunch spread(std::int64_t vectors, int multiprocessors) {
    MoeLaunch launch;
    const std::int64_t units = std::max<std::int64_t>(1, ceil_div(vectors, kWarp));
    const std::int64_t warps = std::min<std::int64_t>(ceil_div(units, multiprocessors), kMaxThreads / kWarp);
    launch.threads = static_cast<int>(warps) * kWarp;
    launch.ctas = static_cast<int>(std::min<std::int64_t>(ceil_div(units, warps), multiprocessors));
    return launch;
}

} // namespace

bool deals_in_tiles(const MoeDispatch& call) {
    return call.quant == Quant::fp4 && call.scale_layout == ScaleLayout::swizzled &&
           most_tokens(call.tokens) >= kFewestRowsInTiles;
}

std::optional<std::string> unsupported(const MoeDispatch& call, const Workspace& workspace, const MoeLaunch& launch) {
    const bool fp4 = call.quant == Quant::fp4;
    if (auto reason =
            unsupported_shape(call.dtype, call.hidden_dim, fp4 ? kFp4Block : 8, call.tokens, workspace, launch))
        return reason;
    const auto rank = static_cast<std::size_t>(workspace.peers.rank);
    if (call.tokens[rank] > 0 && !call.input) return "input is null";
    if (call.tokens[rank] > 0 && !aligned(call.input)) return "a tensor is not aligned to 16 bytes";
    for (std::size_t peer = 0; peer < static_cast<std::size_t>(workspace.peers.world_size); ++peer) {
        if (sum_of(call.tokens) > 0 && (!call.output[peer] || (fp4 && !call.output_scales[peer])))
            return "output or output_scales of rank " + std::to_string(peer) + " is null";
        if (sum_of(call.tokens) > 0 && !aligned(call.output[peer])) return "a tensor is not aligned to 16 bytes";
        if (fp4 && call.scale_layout == ScaleLayout::swizzled &&
            reinterpret_cast<std::uintptr_t>(call.output_scales[peer]) % 4 != 0)
            return "output_scales of rank " + std::to_string(peer) + " are not aligned to 4 bytes";
    }
    if (call.quant != Quant::none && !call.quant_scale) return "quant_scale is null";
    const std::int64_t needed = std::int64_t{launch.ctas} * 2 * kFlagsBytes;
    if (needed > static_cast<std::int64_t>(generation_bytes(workspace))) return too_small(workspace, needed);
    return std::nullopt;
}

std::optional<std::string> unsupported(const MoeCombine& call, const Workspace& workspace, const MoeLaunch& launch) {
    if (auto reason = unsupported_shape(call.dtype, call.hidden_dim, 8, call.tokens, workspace, launch)) return reason;
    if (sum_of(call.tokens) > 0 && !call.input) return "input is null";
    const bool has_rows = call.tokens[static_cast<std::size_t>(workspace.peers.rank)] > 0;
    if (has_rows && !call.output) return "output is null";
    if (!aligned(call.input) || (has_rows && !aligned(call.output))) return "a tensor is not aligned to 16 bytes";
    const std::int64_t channels = channels_of(launch);
    const std::int64_t stages = stages_needed(call, channels);
    if (stages > stages_that_fit(workspace, channels))
        return too_small(workspace, kFlagsBytes * (1 + channels) +
                                        stages * channels * (workspace.peers.world_size - 1) * kUnitBytes);
    return std::nullopt;
}

/// As many CTAs as have something to do at once, each thread as much as it can have in flight: a CTA less is a flag
/// less to wait for (3–5 % up to 256 rows of 7168, 2 ranks). CTAs of 256 threads, which were as fast or up to 10 %
/// faster than of 512, but for very many rows in turns (2–3 %).
MoeLaunch default_launch(const MoeDispatch& call, const Workspace&, int multiprocessors) {
    const std::int64_t rows = most_tokens(call.tokens), vectors = vectors_per_row(call.dtype, call.hidden_dim);
    std::int64_t batches, warps; // a batch is what a warp has in flight
    if (deals_in_tiles(call)) {
        constexpr std::int64_t kRowsOfTile = 128;
        batches = ceil_div(rows, kRowsOfTile) * (kRowsOfTile / kBatch) * ceil_div(vectors, kWarp);
        warps = 8;
    } else {
        batches = ceil_div(rows * vectors, std::int64_t{kWarp} * kBatch);
        const std::int64_t of_one = ceil_div(batches, multiprocessors);
        warps = std::clamp<std::int64_t>(of_one, 4, of_one > 64 ? 16 : 8);
    }
    MoeLaunch launch;
    launch.threads = static_cast<int>(warps) * kWarp;
    launch.ctas = static_cast<int>(std::clamp<std::int64_t>(ceil_div(batches, warps), 1, multiprocessors));
    return launch;
}

MoeLaunch default_launch(const MoeCombine& call, const Workspace& workspace, int multiprocessors) {
    MoeLaunch launch = spread(most_tokens(call.tokens) * vectors_per_row(call.dtype, call.hidden_dim), multiprocessors);
    const auto rings_fit = [&](std::int64_t channels) {
        return stages_needed(call, channels) <= stages_that_fit(workspace, channels);
    };
    while (launch.ctas > 1 && !rings_fit(channels_of(launch))) --launch.ctas;
    return launch;
}

MoeArguments moe_arguments(const MoeDispatch& call, const Workspace& workspace, const MoeLaunch& launch) {
    if (auto reason = unsupported(call, workspace, launch)) throw std::invalid_argument(*reason);
    MoeArguments a = shape_arguments(call.dtype, call.hidden_dim, call.tokens, workspace);
    a.input = call.input;
    std::copy(call.output.begin(), call.output.end(), a.output);
    std::copy(call.output_scales.begin(), call.output_scales.end(), a.output_scales);
    a.quant_scale = call.quant_scale;
    a.swizzled_scales = call.scale_layout == ScaleLayout::swizzled;
    return a;
}

MoeArguments moe_arguments(const MoeCombine& call, const Workspace& workspace, const MoeLaunch& launch) {
    if (auto reason = unsupported(call, workspace, launch)) throw std::invalid_argument(*reason);
    MoeArguments a = shape_arguments(call.dtype, call.hidden_dim, call.tokens, workspace);
    a.input = call.input;
    a.output[workspace.peers.rank] = call.output;
    const std::int64_t channels = channels_of(launch);
    a.stages = static_cast<int>(std::min(units_of_channel(call, channels), stages_that_fit(workspace, channels)));
    return a;
}

} // namespace crossover
