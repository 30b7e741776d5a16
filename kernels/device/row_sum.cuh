#pragma once
/// The sum of squares of a row, with the same bits whatever the launch: each unit of 32 vectors is added up by one
/// warp's butterfly, then the units' sums are added in one fixed order. The units' sums of a row that is shared by a
/// cluster reach every CTA of it through distributed shared memory, counted by an mbarrier, so that no barrier of the
/// whole cluster is needed.

#include "kernels/device/arguments.hpp"
#include "kernels/device/ptx.cuh"

namespace crossover::device {

/// Adds over the warp; every lane gets the same bits, since a + b = b + a at each exchange.
__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
    for (int offset = kWarp / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(~0u, x, offset);
    return x;
}

class RowSum {
  public:
    struct Shared {
        float partial[2][kMaxUnitsPerRow]; // even and odd rows: a row is read while the next is written
        alignas(8) std::uint64_t complete[2];
    };

    /// By all threads of the block, before the first row. Ends with a barrier of the cluster.
    __device__ RowSum(Shared& shared, int units_per_row, int units_per_cta, int cluster_size)
        : shared_(shared), units_per_row_(units_per_row), cluster_size_(cluster_size),
          ctas_with_units_((units_per_row + units_per_cta - 1) / units_per_cta) {
        if (cluster_size_ == 1) return;
        if (threadIdx.x == 0) {
            for (auto& barrier : shared_.complete) mbarrier_init(&barrier);
            fence_mbarrier_init();
        }
        cluster_sync();
    }

    /// Gives the sum of unit `unit` of row `row`; by all lanes of one warp, with the same value.
    __device__ __forceinline__ void give(int row, int unit, float sum) {
        float* const slot = &shared_.partial[row % 2][unit];
        const int lane = static_cast<int>(threadIdx.x) % kWarp;
        if (cluster_size_ == 1) {
            if (lane == 0) *slot = sum;
            return;
        }
        if (lane < ctas_with_units_) store_to_cta(slot, &shared_.complete[row % 2], lane, sum);
    }

    /// Whether a warp takes part in total(). In a cluster only those that give: the others would be waited for by
    /// nobody, and one that falls two rows of a barrier's parity behind would never get away.
    __device__ bool takes_part(int units) const { return cluster_size_ == 1 || units > 0; }

    /// The row's sum, the same bits in every thread of every CTA that shares it. By all threads of the warps that take
    /// part, rows in order, after all of the warp's give().
    __device__ __forceinline__ float total(int row) {
        if (cluster_size_ == 1) {
            __syncthreads();
        } else {
            // This block expects 4 bytes from each unit. Others' may have come before: the count may run below zero.
            if (threadIdx.x == 0) mbarrier_expect(&shared_.complete[row % 2], units_per_row_ * 4);
            while (!mbarrier_passed(&shared_.complete[row % 2], row / 2 % 2)) {
            }
        }
        const int lane = static_cast<int>(threadIdx.x) % kWarp;
        float sum = 0;
        for (int unit = lane; unit < units_per_row_; unit += kWarp) sum += shared_.partial[row % 2][unit];
        return warp_sum(sum);
    }

  private:
    Shared& shared_;
    int units_per_row_;
    int cluster_size_;
    int ctas_with_units_; // the first ones; only they have a sum to wait for
};

} // namespace crossover::device
