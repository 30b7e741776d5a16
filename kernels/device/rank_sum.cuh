#pragma once
/// Sums over ranks in rank order, in fp32: the one order that makes results the same on all ranks.

#include "kernels/device/element.cuh"
#include "kernels/device/protocol.cuh"

namespace crossover::device {

/// Of the other ranks' contributions, in rank order with this rank left out, the one of `rank`.
__host__ __device__ constexpr int without(int own_rank, int rank) { return rank - (rank > own_rank); }

/// Σ x_rank in rank order, not rounded: this rank's x at `own`, the peers' waited for in slot(without(rank, peer));
/// empty_slots() is to follow.
template <DType D, int N, class Slot>
__device__ __forceinline__ Floats<D> receive_sum(const Vector* own, Slot slot, int rank, int iteration,
                                                 Patience& patience) {
    if constexpr (N == 2) { // a + b = b + a
        // Unpacked after the wait: before it, float16 kernels had no registers for it (2–4 %).
        const Vector mine = load_tensor(own, 0);
        Vector other[1];
        receive<1>(
            other, slot, [](int) { return true; }, [&](int) { return 1 - rank; }, iteration, patience);
        Floats<D> sum = unpack<D>(mine);
        add<D>(sum, other[0]);
        return sum;
    } else {
        // This rank's x is looked at among the slots: to sort it in among what has arrived took 0.3 µs (8 ranks).
        const std::byte* at[N];
        Vector x[N];
#pragma unroll
        for (int peer = 0; peer < N; ++peer)
            at[peer] = peer == rank ? reinterpret_cast<const std::byte*>(own) : slot(without(rank, peer));
        receive<N>(
            x, [&](int peer) { return at[peer]; }, [&](int peer) { return peer != rank; },
            [](int peer) { return peer; }, iteration, patience);
        Floats<D> sum = unpack<D>(x[0]);
#pragma unroll
        for (int peer = 1; peer < N; ++peer) add<D>(sum, x[peer]);
        return sum;
    }
}

} // namespace crossover::device
