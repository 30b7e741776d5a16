#pragma once
/// Flags between ranks: words in slots of their own, empty (0xFFFFFFFF) at the start and the end of a launch as all
/// slots are, so that generations (protocol.cuh) serve them, too.

#include "kernels/device/protocol.cuh"

namespace crossover::device {

/// Waits until the flag is at least `count` (from 1), acquires it, and gives what it is. 0: gave up.
__device__ __forceinline__ unsigned await_flag(const std::byte* slot, unsigned count, int peer, int iteration,
                                               Patience& patience) {
    for (unsigned looks = 1;; ++looks) {
        const unsigned seen = acquire_flag(slot);
        if (seen != kEmpty && seen >= count) return seen;
        if (!patience.allows(looks, peer, iteration)) return 0;
        between_looks(slot, seen);
    }
}

} // namespace crossover::device
