// From a call of moe.hpp to a kernel's arguments: what is supported, a good launch. No CUDA.

#include "kernels/combine_shares.hpp"
#include "kernels/moe_launch.hpp"

#include <algorithm>
#include <stdexcept>

namespace crossover {
namespace {

using namespace device;

/// moe_dispatch relays where the fullest link then carries so many bytes less: 128 fp4 rows of 7168 a rank, all of one,
/// take 17 % less, where 256 of Zipf's would take 6 % more (4 ranks).
constexpr std::int64_t kDispatchRelaySaves = std::int64_t{3} << 20;
/// What a CTA's share of a link, of 132, carries while a piece is released: some 2 µs.
constexpr std::int64_t kDispatchReleaseBytes = std::int64_t{6} << 10;
/// moe_combine relays where that takes so many units (1.9 MiB) off the fullest link: 32 rows of 7168 a rank, all of
/// one, take 25 % less, 64 of Zipf's 5 %; 16 and 32 would take 12 and 8 % more (4 ranks).
constexpr std::int64_t kCombineRelaySaves = 3800;

std::int64_t most_tokens(const TokensPerRank& tokens) { return *std::max_element(tokens.begin(), tokens.end()); }

std::int64_t fewest_tokens(const TokensPerRank& tokens, int world_size) {
    return *std::min_element(tokens.begin(), tokens.begin() + world_size);
}

std::int64_t vectors_per_row(DType dtype, std::int64_t hidden_dim) {
    return hidden_dim * static_cast<std::int64_t>(element_size(dtype)) / kVectorBytes;
}

std::int64_t channels_of(const MoeLaunch& launch) { return std::int64_t{launch.ctas} * (launch.threads / kWarp); }

/// The rings of a moe_combine: of units, and of sums where those have their own.
struct CombineRings {
    std::int64_t stages; // that fit, and are needed at most
    std::int64_t fewest; // it cannot do with less
    std::int64_t channel_units;
    std::int64_t fewest_bytes;
};
CombineRings combine_rings(const CombineShares& shares, const Workspace& workspace, const MoeLaunch& launch) {
    const std::int64_t channels = channels_of(launch), turns = ceil_div(shares.turns, channels);
    const std::int64_t flags = kFlagsBytes * (1 + channels * (shares.relays ? 2 : 1));
    const std::int64_t stage =
        std::int64_t{shares.relays && !shares.one_ring ? 2 : 1} * (workspace.peers.world_size - 1);
    // Channels lie an odd number of units apart, and not as many as their rings take: 6 % (a multiple of four: up to
    // 22 %; 3.5–14 MiB a rank, 4 ranks).
    const auto apart = [&](std::int64_t stages) { return stages * stage + 1 + stages * stage % 2; };
    const std::int64_t room = (static_cast<std::int64_t>(generation_bytes(workspace)) - flags) / channels / kUnitBytes;
    const std::int64_t fit = (std::min(room, std::int64_t{1} << 22) - 2) / stage; // RingPosition: 32 bits of bytes
    const std::int64_t stages = std::min(turns, fit), fewest = std::min<std::int64_t>(turns, kCombineBehind + 1);
    return {.stages = stages,
            .fewest = fewest,
            .channel_units = apart(stages),
            .fewest_bytes = flags + channels * (fewest * stage + 2) * kUnitBytes};
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

/// Whether there is a launch to choose; unsupported() says why not.
template <class Call>
bool has_launch(const Call& call, const Workspace& workspace) {
    return !unsupported_shape(call.dtype, call.hidden_dim, 8, call.tokens, workspace, MoeLaunch{});
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
    a.timeout_ns = longest_wait_ns(workspace);
    a.generation_bytes = generation_bytes(workspace);
    a.vectors_per_row = static_cast<unsigned>(vectors_per_row(dtype, hidden_dim));
    for (int rank = 0; rank <= kMaxWorldSize; ++rank)
        a.first[rank] = static_cast<unsigned>(offset_of(tokens, rank)) * a.vectors_per_row;
    return a;
}

/// Bytes of a row on its way.
std::int64_t dispatched_row_bytes(const MoeDispatch& call) {
    if (call.quant == Quant::none) return call.hidden_dim * static_cast<std::int64_t>(element_size(call.dtype));
    return call.quant == Quant::fp8 ? call.hidden_dim : call.hidden_dim / 2 + call.hidden_dim / kFp4Block;
}

/// Of a rank's rows, as device/dispatch_rows.cuh deals them: steps of all CTAs.
std::int64_t dispatch_units(const MoeDispatch& call, const MoeLaunch& launch, int rank) {
    const std::int64_t rows = call.tokens[static_cast<std::size_t>(rank)];
    const std::int64_t vectors = vectors_per_row(call.dtype, call.hidden_dim);
    if (!deals_in_tiles(call)) return ceil_div(rows * vectors, std::int64_t{kBatch} * launch.threads);
    if (rows == 0) return 0;
    const std::int64_t first = offset_of(call.tokens, rank);
    const std::int64_t tiles = ceil_div(first + rows, kTileRows) - first / kTileRows;
    return tiles * ceil_div(kTileRows / kBatch, launch.threads / kWarp) * ceil_div(vectors, kWarp);
}

/// Of n ranks with T direct rows each, the rank with the most rows, R, sends the most: (n − 1) T + (R − T), and (n −
/// 2)/(n − 1) of the rows that others have relayed. The fewer direct rows the less, down to the fewest that any rank
/// has: below, it relays as much more as it sends less. With these it sends (n − 2)/(n − 1) (n R − all rows) fewer than
/// without relays; in bytes.
std::int64_t saved_by_relays(const MoeDispatch& call, std::int64_t world_size) {
    if (world_size <= 2) return 0;
    return (world_size - 2) * (world_size * most_tokens(call.tokens) - sum_of(call.tokens)) / (world_size - 1) *
           dispatched_row_bytes(call);
}

DispatchRelay dispatch_relay(const MoeDispatch& call, int world_size, const MoeLaunch& launch) {
    if (!launch.relays || world_size <= 2) return {};
    DispatchRelay relay{};
    const std::int64_t direct = fewest_tokens(call.tokens, world_size);
    std::int64_t rounds = 0; // of the CTAs
    for (int rank = 0; rank < world_size; ++rank) {
        const std::int64_t rows = call.tokens[static_cast<std::size_t>(rank)];
        if (rows <= direct) continue;
        std::int64_t units = dispatch_units(call, launch, rank);
        if (direct > 0) units = (units * (rows - direct) + rows / 2) / rows;
        rounds = std::max(rounds, ceil_div(units, launch.ctas));
        // All rows: all of the last round's units, which may be smaller, and more.
        relay.units[rank] = static_cast<unsigned>(direct > 0 ? units : ceil_div(units, launch.ctas) * launch.ctas);
    }
    if (rounds == 0) return {};
    const std::int64_t step_bytes = std::int64_t{launch.threads} * kBatch * dispatched_row_bytes(call) /
                                    vectors_per_row(call.dtype, call.hidden_dim);
    // The last piece is passed on when all else has been sent: of m pieces that costs 1/m of the time, and m releases.
    std::int64_t steps = 1;
    while (steps < rounds && steps * steps * step_bytes < rounds * kDispatchReleaseBytes) ++steps;
    relay.piece_steps = static_cast<unsigned>(steps);
    relay.pieces = static_cast<unsigned>(ceil_div(rounds, steps));
    return relay;
}

/// A vector a thread where there are few, over all multiprocessors. Where there are many, no more warps than their
/// turns need.
MoeLaunch spread(std::int64_t vectors, int multiprocessors) {
    MoeLaunch launch;
    const std::int64_t units = std::max<std::int64_t>(1, ceil_div(vectors, kWarp));
    const std::int64_t turns = ceil_div(units, std::int64_t{multiprocessors} * kMaxThreads / kWarp);
    const std::int64_t warps = ceil_div(units, turns * multiprocessors);
    launch.threads = static_cast<int>(warps) * kWarp;
    launch.ctas = static_cast<int>(std::min<std::int64_t>(ceil_div(units, warps), multiprocessors));
    return launch;
}

/// Fewer channels than find room, of some 4 to 9 turns where there are not more: their rings are deeper (64 to 512 rows
/// of 7168 a rank, all of one or Zipf's, take 5–30 % less than with a channel for each unit, 4 ranks).
MoeLaunch spread_relays(std::int64_t turns, int multiprocessors) {
    const std::int64_t warps = std::clamp<std::int64_t>(ceil_div(turns, std::int64_t{multiprocessors} * 9), 4, 11);
    return {.ctas = static_cast<int>(std::clamp<std::int64_t>(ceil_div(turns, 4 * warps), 1, multiprocessors)),
            .threads = static_cast<int>(warps) * kWarp,
            .relays = true};
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
    const std::int64_t needed = std::int64_t{launch.ctas} * 3 * kFlagsBytes;
    if (needed > static_cast<std::int64_t>(generation_bytes(workspace))) return too_small(workspace, needed);
    return std::nullopt;
}

std::optional<std::string> unsupported(const MoeCombine& call, const Workspace& workspace, const MoeLaunch& launch) {
    if (auto reason = unsupported_shape(call.dtype, call.hidden_dim, 8, call.tokens, workspace, launch)) return reason;
    if (sum_of(call.tokens) > 0 && !call.input) return "input is null";
    const bool has_rows = call.tokens[static_cast<std::size_t>(workspace.peers.rank)] > 0;
    if (has_rows && !call.output) return "output is null";
    if (!aligned(call.input) || (has_rows && !aligned(call.output))) return "a tensor is not aligned to 16 bytes";
    const CombineShares shares = combine_shares(call, workspace.peers.world_size, launch.relays);
    const CombineRings rings = combine_rings(shares, workspace, launch);
    if (rings.stages < rings.fewest) return too_small(workspace, rings.fewest_bytes);
    return std::nullopt;
}

/// As many CTAs as have something to do at once, each thread as much as it can have in flight: a CTA less is a flag
/// less to wait for (3–5 % up to 256 rows of 7168, 2 ranks). CTAs of 256 threads, which were as fast or up to 10 %
/// faster than of 512, but for very many rows in turns (2–3 %), or relayed (in tiles 1–9 %, 4 ranks).
MoeLaunch default_launch(const MoeDispatch& call, const Workspace& workspace, int multiprocessors) {
    if (!has_launch(call, workspace)) return {};
    const std::int64_t rows = most_tokens(call.tokens), vectors = vectors_per_row(call.dtype, call.hidden_dim);
    const bool relays = saved_by_relays(call, workspace.peers.world_size) >= kDispatchRelaySaves;
    std::int64_t batches, warps; // a batch is what a warp has in flight
    if (deals_in_tiles(call)) {
        batches = ceil_div(rows, kTileRows) * (kTileRows / kBatch) * ceil_div(vectors, kWarp);
        warps = relays && ceil_div(batches, multiprocessors) > 64 ? 16 : 8;
    } else {
        batches = ceil_div(rows * vectors, std::int64_t{kWarp} * kBatch);
        const std::int64_t of_one = ceil_div(batches, multiprocessors);
        warps = std::clamp<std::int64_t>(of_one, 4, of_one > 64 ? 16 : 8);
    }
    MoeLaunch launch;
    launch.threads = static_cast<int>(warps) * kWarp;
    launch.ctas = static_cast<int>(std::clamp<std::int64_t>(ceil_div(batches, warps), 1, multiprocessors));
    launch.relays = relays;
    return launch;
}

MoeLaunch default_launch(const MoeCombine& call, const Workspace& workspace, int multiprocessors) {
    if (!has_launch(call, workspace)) return {};
    const int world = workspace.peers.world_size;
    const bool relays =
        units_into_fullest(call, world, false) - units_into_fullest(call, world, true) >= kCombineRelaySaves;
    const CombineShares shares = combine_shares(call, world, relays);
    MoeLaunch launch = relays ? spread_relays(shares.turns, multiprocessors)
                              : spread(std::int64_t{shares.turns} * kWarp, multiprocessors);
    const auto fits = [&] {
        const CombineRings rings = combine_rings(shares, workspace, launch);
        return rings.stages >= rings.fewest;
    };
    while (launch.ctas > 1 && !fits()) --launch.ctas;
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
    a.dispatch_relay = dispatch_relay(call, workspace.peers.world_size, launch);
    return a;
}

MoeArguments moe_arguments(const MoeCombine& call, const Workspace& workspace, const MoeLaunch& launch) {
    if (auto reason = unsupported(call, workspace, launch)) throw std::invalid_argument(*reason);
    MoeArguments a = shape_arguments(call.dtype, call.hidden_dim, call.tokens, workspace);
    a.input = call.input;
    a.output[workspace.peers.rank] = call.output;
    a.shares = combine_shares(call, workspace.peers.world_size, launch.relays);
    const CombineRings rings = combine_rings(a.shares, workspace, launch);
    a.stages = static_cast<int>(rings.stages);
    a.channel_bytes = static_cast<unsigned>(rings.channel_units * kUnitBytes);
    return a;
}

} // namespace crossover
