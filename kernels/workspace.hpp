#pragma once
/// How much symmetric memory the fused kernels take, for those who allocate it and for the table. No CUDA.

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace crossover {

/// At the start of a workspace: counters and who timed out.
inline constexpr std::size_t kControlBytes = 1024;

/// Bytes of workspace per rank with which both algorithms serve messages up to `max_message_bytes` (and beyond, with
/// fewer CTAs at a time). 1 MiB, in which the longest row fits, to 64 MiB.
///
/// Two generations, each of the message once from every other rank and, for twoshot, gathered; where that is more than
/// 64 MiB the slots are rings, and more memory was not faster.
constexpr std::size_t workspace_bytes(int world_size, std::uint64_t max_message_bytes) {
    constexpr std::uint64_t smallest = std::uint64_t{1} << 20, largest = std::uint64_t{64} << 20;
    const std::uint64_t message = std::min(max_message_bytes, largest); // so that the product cannot overflow
    const std::uint64_t wanted = kControlBytes + 2 * (static_cast<std::uint64_t>(world_size) - 1) * message;
    return std::clamp(wanted, smallest, largest);
}

} // namespace crossover
