#pragma once
/// Which rank sums which rows of a moe_combine. No CUDA.

#include "kernels/device/moe_arguments.hpp"
#include "kernels/moe.hpp"

namespace crossover {

/// Without `relays` each rank sums its own rows. With it, what ranks have beyond the others is summed by their peers.
device::CombineShares combine_shares(const MoeCombine& call, int world_size, bool relays);

/// Units that come into the rank that most come into: from n − 1 peers each that it sums, and the sums of others.
std::int64_t units_into_fullest(const MoeCombine& call, int world_size, bool relays);

} // namespace crossover
