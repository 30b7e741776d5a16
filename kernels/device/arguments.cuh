#pragma once
/// What a fused kernel is launched with, and which part of it a thread works on.

#include "kernels/device/protocol.cuh"
#include "kernels/fused_allreduce.hpp"

namespace crossover::device {

/// NVFP4 shares one scale among this many consecutive values of a row.
inline constexpr int kFp4Block = 16;
inline constexpr int kMaxThreads = 512;
inline constexpr int kMaxClusterSize = 16;
inline constexpr int kMaxUnitsPerRow = 512; // bounds the row sum's shared memory: rows up to 256 KiB
inline constexpr int kMaxUnitsPerWarp = 4;

/// Byte strides of one generation of slots. The slots of a CTA hold its share of a row, `units_per_cta` units:
///   oneshot  [stage][sender but me][unit]
///   twoshot  [stage][sender but me][group of world_size units], then [stage][unit] for the gathered row
struct SlotLayout {
    int push_stages = 1;   // ring of rows that are being sent
    int gather_stages = 0; // ring of rows that are being gathered; 0 in oneshot
    std::size_t push_sender_bytes = 0;
    std::size_t push_stage_bytes = 0;
    std::size_t gather_offset = 0;
    std::size_t gather_stage_bytes = 0;
    std::size_t cta_bytes = 0;
    std::size_t generation_bytes = 0;
};

struct Arguments {
    Peers peers;
    const void* input;
    const void* residual_in;
    void* residual_out;
    const void* gamma;
    void* output;
    void* output_scales;
    const float* quant_scale;
    std::uint64_t timeout_ns;
    SlotLayout slots;
    int num_tokens;
    int vectors_per_row;
    int units_per_row;
    int units_per_cta;
    int units_per_warp;
    int cluster_size;
    int clusters;
    int push_ahead;
    int consume_behind;
    float eps;
    float one_over_hidden;
    bool has_residual;
    bool has_norm;
    bool swizzled_scales;
};

/// A thread's place: cluster c takes tokens c, c + clusters, …; its CTAs share the row; each warp has `units_per_warp`
/// consecutive units, each lane one vector of a unit. The same place on every rank serves the same vectors: a slot has
/// one sending and one receiving thread for the whole launch.
struct Place {
    int cluster, warp, lane;
    int first_unit; // of this warp, in the row
    int local_unit; // the same within the CTA
    int units;      // of this warp, 0…units_per_warp
    int iterations; // tokens of this cluster

    __device__ explicit Place(const Arguments& a) {
        cluster = static_cast<int>(blockIdx.x) / a.cluster_size;
        const int cta = static_cast<int>(blockIdx.x) % a.cluster_size;
        warp = static_cast<int>(threadIdx.x) / kWarp;
        lane = static_cast<int>(threadIdx.x) % kWarp;
        local_unit = warp * a.units_per_warp;
        first_unit = cta * a.units_per_cta + local_unit;
        const int cta_end = min((cta + 1) * a.units_per_cta, a.units_per_row);
        units = max(0, min(a.units_per_warp, cta_end - first_unit));
        iterations = (a.num_tokens - cluster + a.clusters - 1) / a.clusters;
    }
    __device__ std::int64_t token(const Arguments& a, int iteration) const {
        return cluster + static_cast<std::int64_t>(iteration) * a.clusters;
    }
    /// Whether this thread has a vector in its k-th unit (the last unit of a row may be partly filled).
    __device__ bool has(const Arguments& a, int k) const {
        return k < units && (first_unit + k) * kWarp + lane < a.vectors_per_row;
    }
    /// Index of the k-th unit's vector in a [num_tokens, vectors_per_row] tensor.
    __device__ std::int64_t vector(const Arguments& a, std::int64_t token, int k) const {
        return token * a.vectors_per_row + (first_unit + k) * kWarp + lane;
    }
};

/// A place in a ring of slots; cheaper than a division a row.
class RingPosition {
  public:
    __device__ RingPosition(int stages, std::size_t stage_bytes) : stages_(stages), stage_bytes_(stage_bytes) {}
    __device__ std::size_t offset() const { return offset_; }
    __device__ void advance() {
        offset_ = ++stage_ == stages_ ? 0 : offset_ + stage_bytes_;
        if (stage_ == stages_) stage_ = 0;
    }

  private:
    int stages_, stage_ = 0;
    std::size_t stage_bytes_, offset_ = 0;
};

} // namespace crossover::device
