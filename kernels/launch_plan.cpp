// From a call to a kernel's arguments: what is supported, where the slots lie. No CUDA.

#include "kernels/launch.hpp"

#include <algorithm>
#include <stdexcept>

namespace crossover {
namespace {

using namespace device;

/// The number of clusters that have a token; a launch has no others. Sharded and more than a token each: an odd number,
/// so that a cluster's tokens have all the ranks as owners in turn.
int used_clusters(const FusedAllReduce& call, const LaunchParameters& launch) {
    if (launch.clusters >= call.num_tokens) return static_cast<int>(call.num_tokens);
    return is_sharded(call.pattern) && launch.clusters % 2 == 0 ? launch.clusters - 1 : launch.clusters;
}

bool aligned(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer) % kVectorBytes == 0; }

std::optional<std::string> unsupported_launch(const FusedAllReduce& call, const LaunchParameters& launch) {
    if (launch.cluster_size < 1 || launch.cluster_size > kMaxClusterSize)
        return "cluster_size " + std::to_string(launch.cluster_size) + " is not in 1…16";
    if (launch.threads < kWarp || launch.threads > kMaxThreads || launch.threads % kWarp != 0)
        return "threads " + std::to_string(launch.threads) + " is not a multiple of 32 in 32…512";
    constexpr int kFarthest = 64; // rows: far beyond what helps, and no sum of them overflows
    if (launch.clusters < 1 || launch.push_ahead < 0 || launch.consume_behind < 0 || launch.push_ahead > kFarthest ||
        launch.consume_behind > kFarthest)
        return "clusters, push_ahead or consume_behind is out of range";
    if (launch.clusters > static_cast<int>(kLaunch / 2) / launch.cluster_size) // their arrivals are counted
        return "more than " + std::to_string(kLaunch / 2) + " CTAs";
    const std::int64_t per_cta = ceil_div(units_per_row(call), launch.cluster_size);
    if (ceil_div(per_cta, launch.threads / kWarp) > kMaxUnitsPerWarp)
        return std::to_string(launch.cluster_size) + " CTAs of " + std::to_string(launch.threads) +
               " threads are too few for a row of " + std::to_string(call.hidden_dim) + " elements";
    return std::nullopt;
}

void fill_shape(Arguments& a, const FusedAllReduce& call, const LaunchParameters& launch) {
    a.input = call.input;
    a.residual_in = call.residual_in;
    a.residual_out = call.residual_out;
    a.gamma = call.gamma;
    a.output = call.output;
    a.output_scales = call.output_scales;
    a.quant_scale = call.quant_scale;
    a.num_tokens = static_cast<int>(call.num_tokens);
    a.vectors_per_row =
        static_cast<int>(call.hidden_dim * static_cast<std::int64_t>(element_size(call.dtype)) / kVectorBytes);
    a.units_per_row = units_per_row(call);
    a.units_per_cta = static_cast<int>(ceil_div(a.units_per_row, launch.cluster_size));
    a.units_per_warp = static_cast<int>(ceil_div(a.units_per_cta, launch.threads / kWarp));
    a.cluster_size = launch.cluster_size;
    a.clusters = used_clusters(call, launch);
    a.push_ahead = launch.push_ahead;
    a.consume_behind = launch.consume_behind;
    a.eps = call.eps;
    a.one_over_hidden = 1.0f / static_cast<float>(call.hidden_dim);
    a.has_residual = has_residual(call.pattern);
    a.has_norm = has_norm(call.pattern);
    a.swizzled_scales = call.scale_layout == ScaleLayout::swizzled;
}

/// How many rows the rings of a launch hold, and after how many each thread fences.
///
/// A slot must be seen emptied before its next data lands. Say that threads fence before rows f, f + F, … that they
/// push, f from 1 to F, and at the same pace where they go on to gather. Then, by the order of the memory model
/// (emptying, fence, store; load of it, fence, next data), up to F rows less are known to be emptied on either side of
/// an exchange: the fewest rows of oneshot.cu, twoshot.cu and twoshot_sharded.cu become 2·F + ahead + behind (oneshot:
/// behind = ahead; sharded, where a rank owns every n-th row only, n − 1 more). tests/unit/slot_rings_test.cpp follows
/// it event by event.
struct Rings {
    int rows = 1;
    int fence_rows = SlotLayout::kNoFence;
    int first_fence = SlotLayout::kNoFence;
};
/// The deepest that `room` rows allow; too deep for it only where none fits. `steps`: rows that are pushed, and steps
/// in which the last are gathered.
Rings rings(int fewest, int iterations, int steps, std::size_t room) {
    const std::size_t deepest = std::max(static_cast<std::size_t>(fewest), room);
    if (static_cast<std::size_t>(iterations) <= deepest) return {.rows = iterations};
    const auto rows = static_cast<int>(deepest);
    const int fence_rows = 1 + (rows - fewest) / 2;
    return {.rows = rows, .fence_rows = fence_rows, .first_fence = 1 + (steps - 1) % fence_rows}; // no more than from F
}

/// Each rank's own view of its residual: sharded, a rank that owns no token has none.
bool residual_is_missing(const FusedAllReduce& call, const Peers& peers) {
    return residual_rows(call.pattern, call.num_tokens, peers.rank, peers.world_size) > 0 &&
           (!call.residual_in || !call.residual_out);
}

} // namespace

std::optional<std::string> unsupported_call(const FusedAllReduce& call) {
    const bool fp4 = call.quant == Quant::fp4;
    if (is_moe(call.pattern)) return std::string(to_string(call.pattern)) + " is no all-reduce";
    if (call.num_tokens < 1) return "num_tokens " + std::to_string(call.num_tokens) + " is below 1";
    if (call.num_tokens > 1 << 30) return "num_tokens " + std::to_string(call.num_tokens) + " is above 2^30";
    if (call.hidden_dim < 8 || call.hidden_dim % (fp4 ? kFp4Block : 8) != 0)
        return "hidden_dim " + std::to_string(call.hidden_dim) + " is not a positive multiple of " + (fp4 ? "16" : "8");
    if (call.hidden_dim >
        std::int64_t{kMaxUnitsPerRow} * kUnitBytes / static_cast<std::int64_t>(element_size(call.dtype)))
        return "a row of more than " + std::to_string(kMaxUnitsPerRow * kUnitBytes) + " bytes";
    if (call.quant != Quant::none && !has_norm(call.pattern)) return "quantization needs a pattern with a norm";
    if (!call.input || !call.output) return "input or output is null";
    if (has_norm(call.pattern) && !call.gamma) return "gamma is null";
    if (call.quant != Quant::none && !call.quant_scale) return "quant_scale is null";
    if (fp4 && !call.output_scales) return "output_scales is null";
    for (const void* pointer : {call.input, call.residual_in, static_cast<const void*>(call.residual_out), call.gamma,
                                static_cast<const void*>(call.output)})
        if (!aligned(pointer)) return "a tensor is not aligned to 16 bytes";
    return std::nullopt;
}

std::uint64_t longest_wait_ns(const Workspace& workspace) {
    return std::min(workspace.timeout_ns, std::uint64_t{1} << 62);
}

std::size_t generation_bytes(const Workspace& workspace) {
    const std::size_t slots = workspace.bytes > kControlBytes ? workspace.bytes - kControlBytes : 0;
    return slots / 2 / kUnitBytes * kUnitBytes;
}

SlotLayout slot_layout(Fused algorithm, const FusedAllReduce& call, const Workspace& workspace,
                       const LaunchParameters& launch) {
    const int world = workspace.peers.world_size;
    const bool gathers = algorithm == Fused::twoshot, sharded = is_sharded(call.pattern);
    const auto units = static_cast<std::size_t>(ceil_div(units_per_row(call), launch.cluster_size));
    const int clusters = used_clusters(call, launch);
    const auto ctas = static_cast<std::size_t>(clusters) * static_cast<std::size_t>(launch.cluster_size);
    const int iterations = static_cast<int>(ceil_div(call.num_tokens, clusters));

    SlotLayout slots;
    slots.generation_bytes = generation_bytes(workspace);
    slots.push_sender_bytes =
        kUnitBytes * (gathers && !sharded ? static_cast<std::size_t>(ceil_div(units, world)) : units);
    slots.push_stage_bytes = slots.push_sender_bytes * static_cast<std::size_t>(world - 1);
    if (sharded) {
        slots.gather_owner_bytes = units * static_cast<std::size_t>(payload_bytes(call.dtype, call.quant));
        slots.gather_stage_bytes = slots.gather_owner_bytes * static_cast<std::size_t>(world - 1);
    } else if (gathers) {
        slots.gather_stage_bytes = units * kUnitBytes;
    }
    const std::size_t stage_bytes = slots.push_stage_bytes + slots.gather_stage_bytes;
    const int rows_a_stage = sharded ? world : 1;
    // RingPosition counts a CTA's bytes in 32 bits.
    std::size_t cta_room = std::min(slots.generation_bytes / ctas, std::size_t{1} << 31);
    // An odd number of units from CTA to CTA: with even ones, often a power of two, sharded was 1–3 % slower from 16
    // MiB on, oneshot 1–3 % at 4 and 8 MiB (2 ranks), and one row a cluster up to 13 % (oneshot, 1.5 MiB, 4 ranks;
    // sharded 2–11 %, of 2 ranks in fp8 up to 16 %). Other launches of one row a cluster are 1–4 % faster without (2
    // ranks).
    const bool odd = iterations > 1 || world > 2 || (sharded && call.quant != Quant::none);
    if (odd) cta_room = ((std::max(cta_room / kUnitBytes, std::size_t{1}) - 1) | 1) * kUnitBytes;
    const int fewest =
        2 + launch.push_ahead + (gathers ? launch.consume_behind : launch.push_ahead) + (sharded ? world - 1 : 0);
    const int steps = iterations + (gathers ? launch.push_ahead : 0);
    const Rings ring =
        rings(fewest, iterations, steps, cta_room / stage_bytes * static_cast<std::size_t>(rows_a_stage));
    slots.fence_rows = ring.fence_rows;
    // Sharded, where all of a row goes to its owner, clusters keep step: up to 15 % (4 ranks, from 16 MiB on).
    slots.first_fence = sharded ? ring.fence_rows : ring.first_fence;
    slots.push_stages = static_cast<int>(ceil_div(ring.rows, rows_a_stage));
    slots.gather_stages = gathers ? slots.push_stages : 0;
    slots.gather_offset = slots.push_stage_bytes * static_cast<std::size_t>(slots.push_stages);
    slots.cta_bytes = stage_bytes * static_cast<std::size_t>(slots.push_stages);
    if (odd) slots.cta_bytes = (ceil_div(slots.cta_bytes, kUnitBytes) | 1) * kUnitBytes;
    return slots;
}

std::optional<WaitTimeout> timeout_of(const Control& control) {
    if (control.timed_out == 0) return std::nullopt;
    const auto launch_of = [](unsigned arrivals) { return static_cast<int>(arrivals / kLaunch); };
    return WaitTimeout{.rank = control.rank,
                       .peer = control.peer,
                       .cta = control.cta,
                       .iteration = control.iteration,
                       .thread = control.thread,
                       .launches = launch_of(control.own_arrivals),
                       .peer_launches = launch_of(control.peer_arrivals),
                       .all_resident = control.own_arrivals % kLaunch == 0,
                       .peer_all_resident = control.peer_arrivals % kLaunch == 0};
}

std::string to_string(const WaitTimeout& timeout) {
    const auto resident = [](bool all) { return all ? "all resident" : "not all resident"; };
    return "rank " + std::to_string(timeout.rank) + " waited for rank " + std::to_string(timeout.peer) +
           " in vain (CTA " + std::to_string(timeout.cta) + ", thread " + std::to_string(timeout.thread) +
           ", iteration " + std::to_string(timeout.iteration) + "; launch " + std::to_string(timeout.launches) + ", " +
           resident(timeout.all_resident) + ", and the peer in " + std::to_string(timeout.peer_launches) + ", " +
           resident(timeout.peer_all_resident) + ")";
}

std::optional<std::string> unsupported(Fused algorithm, const FusedAllReduce& call, const Workspace& workspace,
                                       const LaunchParameters& launch) {
    const int world = workspace.peers.world_size;
    if (world != 2 && world != 4 && world != 8) return "world size " + std::to_string(world) + " is not 2, 4 or 8";
    if (auto reason = unsupported_call(call)) return reason;
    if (algorithm == Fused::oneshot && is_sharded(call.pattern))
        return "oneshot needs the whole residual on every rank: a sharded one is for twoshot";
    if (residual_is_missing(call, workspace.peers)) return "residual is null";
    if (auto reason = unsupported_launch(call, launch)) return reason;
    const std::size_t needed = slot_layout(algorithm, call, workspace, launch).cta_bytes *
                               static_cast<std::size_t>(used_clusters(call, launch) * launch.cluster_size);
    if (needed > generation_bytes(workspace))
        return "the workspace of " + std::to_string(workspace.bytes) + " bytes holds " +
               std::to_string(generation_bytes(workspace)) + " of the " + std::to_string(needed) +
               " that this launch needs";
    return std::nullopt;
}

Arguments fused_arguments(Fused algorithm, const FusedAllReduce& call, const Workspace& workspace,
                          const LaunchParameters& launch) {
    if (auto reason = unsupported(algorithm, call, workspace, launch)) throw std::invalid_argument(*reason);
    Arguments a{};
    fill_shape(a, call, launch);
    a.peers = workspace.peers;
    a.timeout_ns = longest_wait_ns(workspace);
    a.slots = slot_layout(algorithm, call, workspace, launch);
    return a;
}

Arguments local_arguments(const FusedAllReduce& call, const LaunchParameters& launch) {
    auto reason = unsupported_call(call);
    if (!reason && is_sharded(call.pattern)) reason = "a rank alone does not know which tokens it owns";
    if (!reason && residual_is_missing(call, {})) reason = "residual is null";
    if (!reason) reason = unsupported_launch(call, launch);
    if (reason) throw std::invalid_argument(*reason);
    Arguments a{};
    fill_shape(a, call, launch);
    return a;
}

} // namespace crossover
