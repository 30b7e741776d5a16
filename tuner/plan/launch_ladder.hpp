#pragma once
/// The few launches of a fused kernel that are worth a look for a shape.

#include "kernels/fused_allreduce.hpp"
#include "tuner/workload.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace crossover {

/// What launches depend on beside the shape; the same on all ranks.
struct LaunchRoom {
    int multiprocessors = 0;
    int compute_capability_major = 0;
    std::uint64_t max_message_bytes = 0;     // of any shape of the sweep
    std::uint64_t workspace_limit_bytes = 0; // as in the config
};

/// Launches that spread a row over 1, 2, 4, … CTAs as long as that leaves no multiprocessor without a row's share, with
/// one 512-byte unit of the row a warp; where rows are many, also two units a warp, rows sent two iterations ahead, and
/// twice the CTAs where a multiprocessor has the registers for them (threads_per_multiprocessor, of many rows a
/// cluster). As many clusters as fit on the GPU beside each other, or as the workspace has slots for. At most seven
/// launches.
///
/// Every one is supported at twice the tokens, too, in the workspace that a table asks for that many: half way to the
/// next size that is looked at, where nobody tries.
std::vector<LaunchParameters> launch_ladder(Fused algorithm, const Point& point, const LaunchRoom& room);

/// The same by names; nothing for what is not fused.
std::vector<std::string> launch_ladder(std::string_view algorithm, const Point& point, const LaunchRoom& room);

} // namespace crossover
