#pragma once
/// The sum of squares of a row, with the same bits whatever the launch: the lanes of a unit of 32 vectors are added up
/// as a tree, then the units' sums in one fixed order. What reaches every CTA of a cluster that shares the row, through
/// distributed shared memory and counted by an mbarrier (so no barrier of the whole cluster is needed), are the sums of
/// eight lanes each: the upper part of the tree costs the reader less than two more exchanges cost the giver.

#include "kernels/device/place.cuh"

namespace crossover::device {

/// Adds over groups of lanes that differ in the bits from `first` to `last`; each lane of a group gets the same bits,
/// since a + b = b + a at each exchange.
template <int first, int last>
__device__ __forceinline__ float lanes_sum(float x) {
#pragma unroll
    for (int offset = first; offset <= last; offset *= 2) x += __shfl_xor_sync(~0u, x, offset);
    return x;
}

class RowSum {
  public:
    struct Shared {
        float4 partial[2][kMaxUnitsPerRow]; // even and odd rows: a row is read while the next is written
        alignas(8) std::uint64_t complete[2];
    };

    /// By all threads of the block, before the first row. Ends with a barrier of the cluster.
    __device__ RowSum(Shared& shared, const Arguments& a, const Place& place)
        : lane_(place.lane), units_per_row_(held(a.units_per_row)),
          in_cluster_(held(static_cast<int>(a.cluster_size > 1))),
          takes_part_(held(static_cast<int>(!in_cluster_ || place.units > 0))),
          partial_(held(shared_address(&shared))) {
        // Lane i gives to CTA i mod 8, or to the own one. Only the first CTAs have units, and a sum to wait for.
        const int ctas = in_cluster_ ? (a.units_per_row + a.units_per_cta - 1) / a.units_per_cta : 1;
        gives_ = lane_ % kGroup < ctas;
        gives_more_ = lane_ % kGroup + kGroup < ctas;
        if (in_cluster_) {
            if (threadIdx.x == 0) {
                for (const unsigned parity : {0u, 1u}) mbarrier_init(partial_ + kComplete + parity * kBarrierBytes);
                fence_mbarrier_init();
            }
            if (gives_) partial_there_ = address_in_cta(partial_, lane_ % kGroup);
            cluster_sync();
        }
    }

    /// The next row. By all threads, before its first give().
    __device__ __forceinline__ void begin() {
        ++row_;
        // This block expects these bytes from each unit. Others' may come before: the count may run below zero.
        if (in_cluster_ && takes_part_ && threadIdx.x == 0)
            mbarrier_expect(partial_ + complete(), units_per_row_ * kUnitSums);
    }

    /// Gives a unit, of which each lane of a warp has its share.
    __device__ __forceinline__ void give(int unit, float share) {
        const float sum = lanes_sum<1, kGroup / 2>(share);
        const unsigned slot = of_row() + unit * kUnitSums + lane_ / kGroup * static_cast<unsigned>(sizeof sum);
        if (!gives_) return;
        if (in_cluster_)
            store_to_cta(partial_there_ + slot, partial_there_ + complete(), sum);
        else
            store_shared(partial_ + slot, sum);
        if (!gives_more_) return;
        const SharedAddress there = address_in_cta(partial_, lane_ % kGroup + kGroup);
        store_to_cta(there + slot, there + complete(), sum);
    }

    /// Whether this warp takes part in total(). In a cluster only those that give: the others would be waited for by
    /// nobody, and one that falls two rows of a barrier's parity behind would never get away.
    __device__ bool takes_part() const { return takes_part_; }

    /// The row's sum, the same bits in every thread of every CTA that shares it. By all threads of the warps that take
    /// part, after all of the warp's give().
    __device__ __forceinline__ float total() {
        if (!in_cluster_) {
            __syncthreads();
        } else {
            while (!mbarrier_passed(partial_ + complete(), row_ / 2 % 2)) {
            }
        }
        const SharedAddress mine = partial_ + of_row() + lane_ * kUnitSums;
        float sum = lane_ < units_per_row_ ? unit_sum(mine) : 0.0f;
#pragma unroll 1 // few rows are that long, and every row pays for long code
        for (int unit = lane_ + kWarp; unit < units_per_row_; unit += kWarp)
            sum += unit_sum(mine + (unit - lane_) * kUnitSums);
        return lanes_sum<1, kWarp / 2>(sum);
    }

  private:
    static constexpr int kGroup = 8; // lanes: as many as a cluster has CTAs, but for the largest
    static constexpr int kUnitSums = sizeof(Shared::partial[0][0]);
    static constexpr unsigned kComplete = offsetof(Shared, complete), kBarrierBytes = sizeof(std::uint64_t);
    __device__ static float unit_sum(SharedAddress sums) {
        const float4 groups = load_shared(sums);
        return (groups.x + groups.y) + (groups.z + groups.w);
    }
    __device__ unsigned of_row() const { return row_ % 2 * static_cast<unsigned>(sizeof(Shared::partial[0])); }
    __device__ unsigned complete() const { return kComplete + row_ % 2 * kBarrierBytes; }

    int lane_, units_per_row_, in_cluster_, takes_part_;
    bool gives_, gives_more_;                 // to the lane's CTA of the cluster, and to the eighth after it
    SharedAddress partial_, partial_there_{}; // of this block, and of that CTA
    unsigned row_ = ~0u;                      // before the first
};

} // namespace crossover::device
