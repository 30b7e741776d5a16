// How a shape is launched unless a table says otherwise. No CUDA. Percentages are of H200s.

#include "kernels/launch.hpp"

#include <algorithm>

namespace crossover {
namespace {

using namespace device;

constexpr int kWarps = kMaxThreads / kWarp;

/// What every rule looks at.
struct Shape {
    Fused algorithm;
    const FusedAllReduce& call;
    const Workspace& workspace;
    int multiprocessors;
    bool clusters_exist;

    int world_size() const { return workspace.peers.world_size; }
    int units() const { return units_per_row(call); }
    int units_per_cta(int cluster_size) const { return static_cast<int>(ceil_div(units(), cluster_size)); }
    int threads_per_multiprocessor(int units_per_warp, bool one_row) const {
        return crossover::threads_per_multiprocessor(algorithm, call, world_size(), units_per_warp, one_row);
    }
    bool unsupported(const LaunchParameters& launch) const {
        return crossover::unsupported(algorithm, call, workspace, launch).has_value();
    }
};

/// One row a cluster, if all fit beside each other, and a unit a warp: each row spread over as many multiprocessors as
/// that allows.
std::optional<LaunchParameters> one_row_a_cluster(const Shape& shape) {
    const std::int64_t num_tokens = shape.call.num_tokens;
    // Four units or more on each (rows of eight units or fewer were 2–7 % faster in one CTA, others 1–3 % faster than
    // with fewer units). Oneshot of four ranks or more, where each sends and receives thrice as much or more, up to 16
    // CTAs of a unit or two: 1–5 % from 2 tokens on (4 ranks).
    const bool spreads = shape.algorithm == Fused::oneshot && shape.world_size() >= 4 && num_tokens <= 16;
    const int fewest = spreads ? 1 : 4;
    int widest = 1;
    if (shape.clusters_exist && (shape.units() > 8 || spreads)) widest = num_tokens <= 4 || spreads ? 16 : 8;
    while (widest > 1 && shape.units() < fewest * widest) widest /= 2;

    const int threads = shape.threads_per_multiprocessor(1, true);
    for (int cluster_size = widest; cluster_size >= 1; cluster_size /= 2) {
        const int warps = shape.units_per_cta(cluster_size);
        if (warps > kWarps) break;
        LaunchParameters launch{.cluster_size = cluster_size, .threads = warps * kWarp};
        if (num_tokens > resident_clusters(launch, threads, shape.multiprocessors)) continue;
        launch.clusters = static_cast<int>(num_tokens);
        if (!shape.unsupported(launch)) return launch;
    }
    return std::nullopt;
}

/// CTAs of at most 16 units, a unit a warp, which was up to 10 % faster than 32 units of two a warp (8192 elements, 1–4
/// MiB; oneshot 3 % at 16 MiB).
LaunchParameters many_rows_a_cluster(const Shape& shape) {
    const FusedAllReduce& call = shape.call;
    // Above 16 MiB twice the CTAs: beside each other where their registers allow it (3 % at 32 MiB, 2 ranks), else with
    // two units a warp and half the threads (1 %). Sharded, where a CTA waits twice a row, above 2 MiB (none and fp8 10
    // % at 4 MiB, fp4 2 %).
    const std::int64_t bytes = call.num_tokens * call.hidden_dim * static_cast<std::int64_t>(element_size(call.dtype));
    const bool large = bytes > (is_sharded(call.pattern) ? 2 << 20 : 16 << 20);
    LaunchParameters launch;
    launch.cluster_size = 1;
    while (shape.clusters_exist && launch.cluster_size < kMaxClusterSize &&
           shape.units_per_cta(launch.cluster_size) > kWarps)
        launch.cluster_size *= 2;
    // Twoshot of four ranks or more takes rows of 9 to 16 units in two CTAs, of which a multiprocessor holds two: 1–4 %
    // (4 ranks, 2.5–12 MiB).
    const bool replicated_twoshot = shape.algorithm == Fused::twoshot && !is_sharded(call.pattern);
    const bool shares_link = replicated_twoshot && shape.world_size() >= 4;
    if (shape.clusters_exist && shares_link && !large && launch.cluster_size == 1 && shape.units() > kWarps / 2)
        launch.cluster_size = 2;
    const int per_cta = shape.units_per_cta(launch.cluster_size);
    const auto threads = [&](int units_per_warp) { return shape.threads_per_multiprocessor(units_per_warp, false); };
    int per_warp = large && per_cta > 4 && threads(1) < 2 * kMaxThreads ? 2 : 1;
    while (per_warp < kMaxUnitsPerWarp && ceil_div(per_cta, per_warp) > kWarps) per_warp *= 2;
    launch.threads = static_cast<int>(std::min<std::int64_t>(ceil_div(per_cta, per_warp), kWarps)) * kWarp;
    // CTAs of 9 to 12 warps, of which 16 warps hold one: beside each other above 4 MiB already (oneshot of 2 ranks, up
    // to 16 MiB: 1.3 % on average, up to 4 %; at 3 MiB 2 % slower, and with fp4 up to 7 %).
    const bool half_idle = launch.threads > kMaxThreads / 2 && launch.threads <= kMaxThreads * 3 / 4;
    const bool beside = large || (bytes > 4 << 20 && half_idle && call.quant != Quant::fp4);
    launch.clusters = resident_clusters(launch, beside ? threads(per_warp) : kMaxThreads, shape.multiprocessors);
    // Sharded fp4 of 2 ranks, which quantizes and sends half of the rows, is faster with a unit a warp where that would
    // leave three rows or more to a cluster: 3–12 % up to 16 MiB, 1–5 % at 32 (with two rows 2–8 % slower; at 48 MiB
    // within 2 %; fp8 and none within 3 % anywhere).
    if (threads(1) > kMaxThreads && per_warp == 2 && per_cta <= kWarps && bytes <= 32 << 20 &&
        call.num_tokens > std::int64_t{2} * launch.clusters) {
        launch.threads = per_cta * kWarp;
        launch.clusters = resident_clusters(launch, threads(1), shape.multiprocessors);
    }
    // No more clusters than the iterations need: those of four CTAs and more share multiprocessors while others are
    // free (64 rows of 16384 elements take 24 clusters 9 % less than 30), and others are up to 7 % faster in even
    // iterations (twoshot of 4 ranks, 2–5 MiB; oneshot of 2 ranks 5 %, and in single CTAs of more than 8 warps 7 %;
    // above 8 iterations, and of fewer warps, within 1 %). Sharded they would be up to 8 % slower.
    const std::int64_t iterations = ceil_div(call.num_tokens, launch.clusters);
    const bool alone = shape.algorithm == Fused::oneshot && shape.world_size() == 2 &&
                       launch.threads > kMaxThreads / 2 && iterations <= 8;
    if (iterations > 1 && (launch.cluster_size >= (is_sharded(call.pattern) ? 4 : 2) || shares_link || alone))
        launch.clusters = static_cast<int>(ceil_div(call.num_tokens, iterations));
    // Twoshot in one iteration of two units a warp, rather than in two: 1–7 % (4 ranks, 1.5 and 2 MiB; sharded it would
    // be 9–14 % slower). Of 2 and 4 ranks, rows of up to 64 KiB do not come here: they have had a cluster each.
    if (replicated_twoshot && per_warp == 1 && call.num_tokens > launch.clusters) {
        LaunchParameters halves = launch;
        halves.threads = static_cast<int>(ceil_div(per_cta, 2)) * kWarp;
        halves.clusters = static_cast<int>(call.num_tokens);
        if (call.num_tokens <= resident_clusters(halves, kMaxThreads, shape.multiprocessors)) launch = halves;
    }
    // Four rows each: the third is on its way before the first is served (3–5 % at 4 MiB; with other numbers of rows it
    // is a percent better or worse).
    if (shares_link && ceil_div(call.num_tokens, launch.clusters) == 4) launch.push_ahead = 2;
    return launch;
}

/// Fewer clusters until the rings fit, and fewer still for rings that leave rows between fences.
LaunchParameters with_room(const Shape& shape, LaunchParameters launch) {
    const auto slots = [&] { return slot_layout(shape.algorithm, shape.call, shape.workspace, launch); };
    while (launch.clusters > 1 && shape.unsupported(launch)) {
        const std::size_t row = slots().cta_bytes * static_cast<std::size_t>(launch.cluster_size);
        launch.clusters = std::clamp(static_cast<int>(generation_bytes(shape.workspace) / row), 1, launch.clusters - 1);
    }
    // A fence at every row costs 41 %, at every second 13 %, at every third 4 % (oneshot, 64 MiB, 2 ranks), half of the
    // clusters 2 %.
    constexpr int kFenceRows = 4;
    const int fewest_clusters = std::max(1, launch.clusters / 2);
    while (launch.clusters > fewest_clusters && slots().fence_rows < kFenceRows) {
        LaunchParameters fewer = launch;
        fewer.clusters = std::max(fewest_clusters, launch.clusters - std::max(1, launch.clusters / 8));
        if (shape.unsupported(fewer)) break; // each has more rows, and perhaps another stage
        launch = fewer;
    }
    return launch;
}

} // namespace

int threads_per_multiprocessor(Fused algorithm, const FusedAllReduce& call, int world_size, int units_per_warp,
                               bool one_row) {
    const int ctas = algorithm == Fused::oneshot ? oneshot_ctas_per_multiprocessor(world_size, units_per_warp, one_row)
                                                 : twoshot_ctas_per_multiprocessor(world_size, units_per_warp, one_row);
    return ctas *
           (is_sharded(call.pattern) ? sharded_threads(world_size, call.quant, units_per_warp, one_row) : kMaxThreads);
}

int resident_clusters(const LaunchParameters& launch, int threads, int multiprocessors) {
    // Clusters of four CTAs and more leave multiprocessors over in each part of the GPU that a cluster has to lie in:
    // an H200 takes 62 of 4, or 30 of 8, at two CTAs on each of 132. One cluster too many runs alone at the end.
    const int usable = launch.cluster_size < 4 ? multiprocessors : multiprocessors * 10 / 11;
    const int of_one = std::min(threads / launch.threads, kMaxCtasPerMultiprocessor);
    return std::max(1, usable * of_one / launch.cluster_size);
}

LaunchParameters default_launch(Fused algorithm, const FusedAllReduce& call, const Workspace& workspace,
                                int multiprocessors, int compute_capability_major) {
    // No shape to choose for, or nobody to send to; unsupported() will say so.
    if (unsupported_call(call) || workspace.peers.world_size < 2) return {};
    const Shape shape{algorithm, call, workspace, multiprocessors, compute_capability_major >= 9};
    if (const auto launch = one_row_a_cluster(shape)) return *launch;
    return with_room(shape, many_rows_a_cluster(shape));
}

} // namespace crossover
