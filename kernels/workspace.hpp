#pragma once
/// How much symmetric memory the fused kernels take, for those who allocate it and for the table. No CUDA.

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace crossover {

/// At the start of a workspace: counters and who timed out.
inline constexpr std::size_t kControlBytes = 1024;

/// Bytes of workspace per rank with which both algorithms serve messages up to `max_message_bytes` by the default
/// launch that they would have with 64 MiB, for rows of 2 KiB or more. 1 MiB to 64 MiB. What does not fit is served by
/// fewer CTAs at a time, as long as a few of its rows do fit, as in 64 MiB they always do.
///
/// Two generations, each of n messages: oneshot has n − 1 pushed, twoshot (n − 1)/n pushed and 1 gathered, of a sharded
/// residual (n − 1)/n and as much. Times 2, because tokens round up to whole iterations of all clusters (of a sharded
/// residual to n iterations: 2 (n − 1) messages for a single one), times 5/4, because a row rounds up to units and they
/// to the CTAs of a cluster (four units or more in each; or, of oneshot's few tokens, one or two: at most twice the
/// units, but no iterations). Where that is more than 64 MiB the slots are rings: 128 MiB were 2–3 % faster at 32 and
/// 64 MiB (oneshot, 2 ranks), which their memory is not worth.
constexpr std::size_t workspace_bytes(int world_size, std::uint64_t max_message_bytes) {
    constexpr std::uint64_t smallest = std::uint64_t{1} << 20, largest = std::uint64_t{64} << 20;
    const std::uint64_t message = std::min(max_message_bytes, largest); // so that the product cannot overflow
    const std::uint64_t wanted = kControlBytes + 5 * static_cast<std::uint64_t>(world_size) * message;
    return std::clamp(wanted, smallest, largest);
}

} // namespace crossover
