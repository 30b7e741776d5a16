#pragma once
/// Sums over ranks in rank order, in fp32: the one order that makes results the same on all ranks.

#include "kernels/device/element.cuh"

namespace crossover::device {

/// By value and by word: a conditional between array elements would put the array into local memory.
__device__ __forceinline__ Vector select(bool first, Vector a, Vector b) {
    return {first ? a.x : b.x, first ? a.y : b.y, first ? a.z : b.z, first ? a.w : b.w};
}

/// Of the other ranks' contributions, in rank order with this rank left out, the one of `rank`.
__host__ __device__ constexpr int without(int own_rank, int rank) { return rank - (rank > own_rank); }

/// Σ x_rank in rank order, not rounded. others[without(rank, peer)] is the peer's x.
template <DType D, int N>
__device__ __forceinline__ Floats<D> sum_in_rank_order(const Vector (&others)[N], int rank, const Vector& own) {
    // The last element of `others` is padding: no rank but the own one could be there.
    Floats<D> sum = unpack<D>(select(rank == 0, own, others[0]));
#pragma unroll
    for (int peer = 1; peer < N; ++peer)
        add<D>(sum, select(peer == rank, own, select(peer > rank, others[peer - 1], others[peer])));
    return sum;
}

} // namespace crossover::device
