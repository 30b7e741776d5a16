#pragma once
/// How fast the link between the ranks of a group is, with the stores that the fused kernels use.

#include "comm/communicator.hpp"
#include "comm/peers.hpp"
#include "tuner/fit/floor.hpp"

#include <cstddef>

namespace crossover {

class DeviceBarrier;

/// Collective. Overwrites `bytes` of every rank's memory from `offset` on: reset what lies there afterwards. The
/// slowest rank's bandwidth and the slowest pair's latency, the same on all ranks.
/// @throws std::runtime_error if a pair of ranks did not answer each other within `timeout_ns`
LinkSpeed probe_link(Communicator& comm, const Peers& peers, std::size_t offset, std::size_t bytes,
                     DeviceBarrier& barrier, std::uint64_t timeout_ns, cudaStream_t stream);

} // namespace crossover
