#pragma once
/// Which part of a launch a thread works on.

#include "kernels/device/arguments.hpp"
#include "kernels/device/ptx.cuh"

namespace crossover::device {

/// A thread's place: cluster c takes tokens c, c + clusters, …; its CTAs share the row; each warp has `units_per_warp`
/// consecutive units, each lane one vector of a unit. The same place on every rank serves the same vectors: a slot has
/// one sending and one receiving thread for the whole launch.
struct Place {
    int cluster, warp, lane;
    int first_unit; // of this warp, in the row
    int local_unit; // the same within the CTA
    int units;      // of this warp, 0…units_per_warp
    int vectors;    // of this lane: one less where the row ends within the last unit, before this lane
    int iterations; // tokens of this cluster

    __device__ explicit Place(const Arguments& a) {
        cluster = static_cast<int>(blockIdx.x) / a.cluster_size;
        const int cta = static_cast<int>(blockIdx.x) % a.cluster_size;
        warp = static_cast<int>(threadIdx.x) / kWarp;
        lane = held(static_cast<int>(threadIdx.x) % kWarp);
        local_unit = warp * a.units_per_warp;
        first_unit = cta * a.units_per_cta + local_unit;
        const int cta_end = min((cta + 1) * a.units_per_cta, a.units_per_row);
        units = held(max(0, min(a.units_per_warp, cta_end - first_unit)));
        vectors = held(min(units, (a.vectors_per_row - first_unit * kWarp - lane + kWarp - 1) / kWarp));
        iterations = (a.num_tokens - cluster + a.clusters - 1) / a.clusters;
    }
    /// Whether this thread has a vector in its k-th unit.
    __device__ bool has(int k) const { return k < vectors; }
    /// Index of the k-th unit's vector in a [num_tokens, vectors_per_row] tensor.
    __device__ std::int64_t vector(const Arguments& a, std::int64_t token, int k) const {
        return token * a.vectors_per_row + (first_unit + k) * kWarp + lane;
    }
};

/// A row of this thread's cluster, one after the other, and where the thread's first vector of it lies in a
/// [num_tokens, vectors_per_row] tensor; the k-th unit's is k · 32 further. A cursor: to compute the place from the
/// row's number took instructions where all else waits, after the data has arrived.
class Row {
  public:
    __device__ Row(const Arguments& a, const Place& place)
        : token(place.cluster),
          vector(held(std::int64_t{token} * a.vectors_per_row + place.first_unit * kWarp + place.lane)),
          stride(static_cast<std::int64_t>(a.clusters) * a.vectors_per_row), clusters_(a.clusters) {}
    __device__ __forceinline__ void advance() {
        token += clusters_;
        vector += stride;
    }
    __device__ __forceinline__ Row after(int rows) const {
        Row row = *this;
        row.token += rows * clusters_;
        row.vector += rows * stride;
        return row;
    }

    int token;
    std::int64_t vector;
    std::int64_t stride; // vectors to the next row

  private:
    int clusters_;
};

/// A place in a ring of slots; cheaper than a division a row.
class RingPosition {
  public:
    __device__ RingPosition(int stages, std::size_t stage_bytes)
        : bytes_(static_cast<unsigned>(stages * stage_bytes)), stage_bytes_(static_cast<unsigned>(stage_bytes)) {}
    __device__ std::size_t offset() const { return offset_; }
    __device__ void advance() {
        offset_ += stage_bytes_;
        if (offset_ == bytes_) offset_ = 0;
    }

  private:
    unsigned bytes_, stage_bytes_, offset_ = 0;
};

} // namespace crossover::device
