#pragma once
/// The state a workspace keeps between launches, and waits that end.
///
/// A workspace is a control block, then two generations of slots. Launch k uses generation k mod 2 and finds every slot
/// of it empty, on every rank: a rank touches slots only after its previous launch has ended (the PDL wait), and cannot
/// end launch k−1 before every rank has begun it, that is, has ended launch k−2 and with it the resets of that
/// generation. So launches of different algorithms, shapes and configurations may follow each other in any order.
///
/// Within a launch a ring of slots may be used again. Resets and data are relaxed stores to different memories, so a
/// reset could be performed after the peer's next data in that slot has landed, and erase it: seen at every ring that
/// left 1.5 µs between the two, when copies loaded the memory. So where a ring is shorter than the launch has rows,
/// every thread fences before each `fence_rows`-th row that it pushes, and slots come round again only after a fence
/// on either side (launch_plan.cpp has the arithmetic).

#include "kernels/device/arguments.hpp"
#include "kernels/device/vector.cuh"

namespace crossover::device {

/// Counts this CTA in and gives this launch's generation, 0 or 1. By all threads of the block, before pdl_wait() and
/// pdl_trigger(): a launch begins when all CTAs of the one before it have triggered, so they have been counted, and
/// 0.25 µs of waiting for the count lie in the shadow of that launch. One thread of each CTA counts: a thousand warps
/// at one address were seen to cost a microsecond.
__device__ __forceinline__ unsigned enter_launch(Control* control, unsigned& shared) {
    if (threadIdx.x == 0) {
        const unsigned share = blockIdx.x == 0 ? kLaunch - (gridDim.x - 1) : 1;
        shared = fetch_add_gpu(&control->arrivals, share) / kLaunch % 2;
    }
    __syncthreads();
    return shared;
}

/// Bounds every wait of one thread. After the first time-out (its own, or one that another thread recorded) the thread
/// waits for nothing any more: the launch ends with meaningless output, and the record says why.
class Patience {
  public:
    __device__ Patience(const Peers& peers, std::uint64_t timeout_ns) : peers_(peers), timeout_ns_(timeout_ns) {}

    /// To be called after the `looks`-th failed look (from 1) of one wait. False: give up.
    __device__ __forceinline__ bool allows(unsigned looks, int peer, int iteration) {
        // 64 looks are some 40 µs: waits of normal length never read the clock.
        if (looks % 64 == 0 && !gave_up_) {
            if (looks == 64) since_ = global_nanoseconds();
            gave_up_ = timed_out(peers_, since_ + timeout_ns_, peer, iteration);
        }
        return !gave_up_;
    }

  private:
    __device__ __noinline__ static bool timed_out(const Peers& peers, std::uint64_t deadline, int peer, int iteration) {
        Control* const control = reinterpret_cast<Control*>(peers.base[peers.rank]);
        const bool others_gave_up = load_relaxed_gpu(&control->timed_out) != 0;
        if (!others_gave_up && global_nanoseconds() < deadline) return false;
        if (atomicCAS(&control->timed_out, 0u, 1u) == 0) {
            const auto* const theirs = reinterpret_cast<const Control*>(peers.base[peer]);
            control->own_arrivals = load_relaxed_gpu(&control->arrivals);
            control->peer_arrivals = *static_cast<const volatile unsigned*>(&theirs->arrivals);
            control->thread = static_cast<int>(threadIdx.x);
            control->rank = peers.rank;
            control->peer = peer;
            control->cta = static_cast<int>(blockIdx.x);
            control->iteration = iteration;
        }
        return true;
    }

    const Peers& peers_;
    std::uint64_t timeout_ns_;
    std::uint64_t since_ = 0;
    bool gave_up_ = false;
};

/// Waits until slot(i) holds data for i < Count and reads it into v[i]; the thread empties the slots later. All loads
/// of a look are in flight together and none is conditional: branches around them cost more than loads that are not
/// needed. A thread that has no i-th vector says so by wanted(i). `peer(i)` names whom slot i waits for.
template <int Count, class V, class Slot, class Wanted, class Peer>
__device__ __forceinline__ void receive(V* v, Slot slot, Wanted wanted, Peer peer, int iteration, Patience& patience) {
    for (unsigned looks = 1;; ++looks) {
#pragma unroll
        for (int i = 0; i < Count; ++i) v[i] = load_slot<V>(slot(i));
        // One test for all: with one for each the compiler put tests between the loads, a trip to the L2 for each.
        unsigned largest = 0;
#pragma unroll
        for (int i = 0; i < Count; ++i) largest = max(largest, largest_word(v[i]));
        if (largest != kEmpty) break;
        int missing = -1;
#pragma unroll
        for (int i = 0; i < Count; ++i)
            if (wanted(i) && largest_word(v[i]) == kEmpty) missing = i;
        if (missing < 0 || !patience.allows(looks, peer(missing), iteration)) break;
        between_looks<V>(slot(missing));
    }
}
/// Those of a receive() of which this thread wanted all.
template <int Count, class Slot>
__device__ __forceinline__ void empty_slots(Slot slot) {
#pragma unroll
    for (int i = 0; i < Count; ++i) store_slot(slot(i), empty());
}

/// Before every row that is pushed, in order. Clusters may begin at different rows: a thread that fences waits until
/// all it has sent has arrived, and where all do so at a time, the link has nothing to carry (twoshot of 2 ranks: 2 %
/// at 64 MiB, 3 % at 32).
class PeriodicFence {
  public:
    __device__ PeriodicFence(const SlotLayout& slots, int cluster)
        : rows_(slots.fence_rows), left_(slots.first_fence + cluster % (rows_ - slots.first_fence + 1)) {}
    __device__ __forceinline__ void before_row() {
        if (left_ == 0) {
            fence_system();
            left_ = rows_;
        }
        --left_;
    }

  private:
    int rows_, left_;
};

} // namespace crossover::device
