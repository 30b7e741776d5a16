#pragma once
/// What host and device agree on: the arguments of a launch, the slots it uses, the state between launches. No CUDA.

#include "comm/peers.hpp"
#include "kernels/types.hpp"
#include "kernels/workspace.hpp"

#include <cstddef>
#include <cstdint>

namespace crossover::device {

/// A lane moves 16 bytes at a time.
inline constexpr int kVectorBytes = 16;
inline constexpr int kWarp = 32;
/// A unit is what one warp moves with one instruction: the grain of ownership and of the sum of squares.
inline constexpr int kUnitBytes = kWarp * kVectorBytes;
/// NVFP4 shares one scale among this many consecutive values of a row.
inline constexpr int kFp4Block = 16;
inline constexpr int kMaxThreads = 512;
inline constexpr int kMaxClusterSize = 16;
inline constexpr int kMaxUnitsPerRow = 512; // bounds the row sum's shared memory: rows up to 256 KiB
inline constexpr int kMaxUnitsPerWarp = 4;

/// CTAs of kMaxThreads that a multiprocessor holds at a time: a bound that kernels are compiled for, of their
/// registers. For two they have 64 a thread, which is enough for a unit a warp, and one row a cluster, of two or four
/// ranks (twoshot of four spills 28 to 40 bytes, sharded 4 to 8): then twice the rows find a cluster, 3 % at 2 MiB
/// (twoshot, 4 ranks). Oneshot of two ranks fits with many rows, too.
constexpr int oneshot_ctas_per_multiprocessor(int world_size, int units_per_warp, bool one_row) {
    return units_per_warp == 1 && world_size <= (one_row ? 4 : 2) ? 2 : 1;
}
constexpr int twoshot_ctas_per_multiprocessor(int world_size, int units_per_warp, bool one_row) {
    return units_per_warp == 1 && world_size <= 4 && one_row ? 2 : 1;
}
/// Threads that twoshot_sharded.cu's kernels are compiled for. fp4's of two ranks with a unit a warp has 90 registers:
/// two CTAs of 9 or 10 warps, or three of 6, lie beside each other then (2–8 %, 4 to 32 MiB).
constexpr int sharded_threads(int world_size, Quant quant, int units_per_warp, bool one_row) {
    return world_size == 2 && quant == Quant::fp4 && units_per_warp == 1 && !one_row ? 640 : kMaxThreads;
}
/// Of whatever size: each has 16 KiB of shared memory (row_sum.cuh), and a multiprocessor 228: 13 were seen on an H200.
/// (Those with 164 or 100 hold nine or five of the smallest; nothing was measured there.)
inline constexpr int kMaxCtasPerMultiprocessor = 12;

/// Bytes that a finished unit takes on its way (payload.cuh): fp4's codes, and four more for each two blocks.
constexpr int payload_bytes(DType dtype, Quant quant) {
    const int elements = kUnitBytes / static_cast<int>(element_size(dtype));
    return quant == Quant::none ? kUnitBytes : quant == Quant::fp8 ? elements : elements / 2 + elements / 8;
}

/// Byte strides of one generation of slots. The slots of a CTA hold its share of a row, `units_per_cta` units:
///   oneshot  [stage][sender but me][unit]
///   twoshot  [stage][sender but me][group of world_size units], then [stage][unit] for the gathered row
///   sharded  [stage][sender but me][unit], then [stage][owner but me][payload of a unit] for the finished rows
/// A stage is one row, sharded n of them, of which each rank owns one.
struct SlotLayout {
    static constexpr int kNoFence = 1 << 30;
    int push_stages = 1;        // ring of rows that are being sent
    int fence_rows = kNoFence;  // between fences; none where no slot is used twice in a launch
    int first_fence = kNoFence; // the least of the rows before which clusters fence first; the last is fence_rows
    int gather_stages = 0;      // ring of rows that are being gathered; 0 in oneshot
    std::size_t push_sender_bytes = 0;
    std::size_t push_stage_bytes = 0;
    std::size_t gather_offset = 0;
    std::size_t gather_owner_bytes = 0; // sharded
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

/// The start of a workspace, on every rank: the state that outlives a launch.
struct Control {
    /// Launches so far × kLaunch, plus arrivals of the launch in flight. Each CTA adds its arrival and gets
    /// the count before, and a launch's arrivals add up to kLaunch: so every CTA of a launch gets the same count /
    /// kLaunch, whatever the grid, and nobody waits for anybody.
    unsigned arrivals;
    unsigned timed_out; // set once, by the first thread that gave up
    int rank, peer, cta, iteration, thread;
    unsigned own_arrivals, peer_arrivals; // `arrivals` of both at that moment
};
inline constexpr unsigned kLaunch = 1u << 16;
static_assert(sizeof(Control) <= kControlBytes);

} // namespace crossover::device
