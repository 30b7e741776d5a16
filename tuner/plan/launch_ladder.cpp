#include "tuner/plan/launch_ladder.hpp"

#include "kernels/launch.hpp"
#include "tuner/launch_name.hpp"

#include <algorithm>
#include <array>

namespace crossover {
namespace {

using device::kMaxThreads;
using device::kWarp;

/// A call of this shape. What is supported depends on whether there are tensors, not on what is in them.
FusedAllReduce call_of(const Point& point, std::int64_t num_tokens) {
    alignas(device::kVectorBytes) static std::array<std::byte, device::kVectorBytes> tensor;
    FusedAllReduce call{.pattern = point.cell.pattern, .dtype = point.cell.dtype, .quant = point.cell.quant};
    call.num_tokens = num_tokens;
    call.hidden_dim = point.hidden_dim;
    call.input = call.residual_in = call.gamma = tensor.data();
    call.residual_out = call.output = call.output_scales = tensor.data();
    static constexpr float kScale = 1;
    call.quant_scale = &kScale;
    return call;
}

/// Fewer clusters until `call` is supported; false if it is not with one either. One by one: a few fewer may send a row
/// more each, which takes more slots.
bool fit_clusters(Fused algorithm, const FusedAllReduce& call, const Workspace& workspace, LaunchParameters& launch) {
    while (launch.clusters > 0 && unsupported(algorithm, call, workspace, launch)) --launch.clusters;
    return launch.clusters > 0;
}

} // namespace

std::vector<LaunchParameters> launch_ladder(Fused algorithm, const Point& point, const LaunchRoom& room) {
    const auto row_bytes = point.hidden_dim * static_cast<std::int64_t>(element_size(point.cell.dtype));
    const std::int64_t most_tokens =
        std::max(point.num_tokens, static_cast<std::int64_t>(room.max_message_bytes) / row_bytes);
    const FusedAllReduce call = call_of(point, std::min(2 * point.num_tokens, most_tokens));
    Workspace workspace;
    workspace.peers.world_size = point.cell.world_size;
    workspace.bytes = workspace_bytes(point.cell.world_size, static_cast<std::uint64_t>(call.num_tokens * row_bytes));
    if (room.workspace_limit_bytes > 0)
        workspace.bytes = std::min(workspace.bytes, static_cast<std::size_t>(room.workspace_limit_bytes));

    const int units = units_per_row(call);
    const int widest = room.compute_capability_major >= 9 ? device::kMaxClusterSize : 1;
    // The smallest cluster that takes a row with that many units a warp.
    const auto narrowest_with = [&](int units_per_warp) {
        int size = 1;
        while (size < widest && ceil_div(units, size) > units_per_warp * kMaxThreads / kWarp) size *= 2;
        return size;
    };
    const int narrowest = narrowest_with(2), one_unit_a_warp = narrowest_with(1);

    std::vector<LaunchParameters> ladder;
    const auto add = [&](int cluster_size, int units_per_warp, int push_ahead, int threads = kMaxThreads) {
        LaunchParameters launch{.cluster_size = cluster_size, .push_ahead = push_ahead};
        launch.threads = static_cast<int>(ceil_div(ceil_div(units, cluster_size), units_per_warp)) * kWarp;
        if (launch.threads > kMaxThreads) return;
        launch.clusters = resident_clusters(launch, kMaxThreads, room.multiprocessors);
        const bool many_rows = point.num_tokens > launch.clusters; // a cluster has more than one
        if (!many_rows && (push_ahead > 1 || threads > kMaxThreads || (units_per_warp > 1 && cluster_size > narrowest)))
            return;
        launch.clusters = resident_clusters(launch, threads, room.multiprocessors);
        if (!fit_clusters(algorithm, call, workspace, launch)) return;
        if (std::find(ladder.begin(), ladder.end(), launch) == ladder.end()) ladder.push_back(launch);
    };
    for (int cluster_size = narrowest; cluster_size <= std::min(widest, units); cluster_size *= 2) {
        const bool spreads = point.num_tokens * cluster_size / 2 <= room.multiprocessors;
        if (cluster_size > 2 * narrowest && !spreads) break;
        add(cluster_size, 1, 1);
        if (cluster_size == one_unit_a_warp)
            add(cluster_size, 1, 1, threads_per_multiprocessor(algorithm, call, point.cell.world_size, 1, false));
        add(cluster_size, 2, 1);
        if (cluster_size <= 2 * narrowest) add(cluster_size, 1, 2);
    }
    return ladder;
}

std::vector<std::string> launch_ladder(std::string_view algorithm, const Point& point, const LaunchRoom& room) {
    std::vector<std::string> names;
    if (!algorithm::is_fused(algorithm)) return names;
    const Fused fused = algorithm == algorithm::oneshot ? Fused::oneshot : Fused::twoshot;
    for (const LaunchParameters& launch : launch_ladder(fused, point, room))
        names.push_back(launched_name(algorithm, launch));
    return names;
}

} // namespace crossover
