#pragma once
/// What host and device agree on in the launches of moe.hpp. No CUDA.

#include "kernels/device/arguments.hpp"

#include <cstddef>
#include <cstdint>

namespace crossover::device {

/// Bytes for one flag from each rank.
inline constexpr int kFlagsBytes = kMaxWorldSize * kVectorBytes;
/// Vectors that a thread of moe_dispatch has in flight.
inline constexpr unsigned kBatch = 4;
/// From so many rows of one rank on moe_dispatch deals rows of fp4 with swizzled scales in tiles (dispatch_rows.cuh):
/// of fewer the tiles are mostly empty (16 rows of 7168: 4.4 µs in turns, 5.0 in tiles; 32: 5.5 and 5.1).
inline constexpr std::int64_t kFewestRowsInTiles = 32;
inline constexpr int kTileRows = 128;
/// moe_dispatch relays where the fullest link then carries so many bytes less: 2.3 µs of 450 GB/s, about what the
/// second hop takes.
inline constexpr std::int64_t kDispatchRelaySaves = std::int64_t{1} << 20;
/// What a CTA's share of a link, of 132, carries while a piece is released: some 2 µs.
inline constexpr std::int64_t kDispatchReleaseBytes = std::int64_t{6} << 10;
/// moe_combine sums a row this many steps after it has sent the others' rows of that step.
inline constexpr int kCombineBehind = 1;

/// What moe_dispatch relays. A unit is what a CTA sends in a step; number(step) = CTA + step × CTAs.
struct DispatchRelay {
    unsigned units[kMaxWorldSize]; // of each rank's, the first ones
    unsigned piece_steps;          // of a CTA, from one count to the next
    unsigned pieces;               // of the rank with the most; 0: nothing is relayed
};

/// A generation of the workspace holds
///   moe_dispatch  [CTA][begun, done][rank] flags, [CTA][source] counts of pieces to relay
///   moe_combine   [rank] flags, [channel][rank] credits, [channel][stage][sender but me] units; a channel is a warp
struct MoeArguments {
    Peers peers; // the workspaces
    const void* input;
    void* output[kMaxWorldSize]; // moe_combine: only this rank's
    void* output_scales[kMaxWorldSize];
    const float* quant_scale;
    std::uint64_t timeout_ns;
    std::size_t generation_bytes;
    unsigned first[kMaxWorldSize + 1]; // of the vectors of each rank's rows among all ranks'; then their end
    unsigned vectors_per_row;
    int stages; // moe_combine: of the ring
    bool swizzled_scales;
    DispatchRelay dispatch_relay;

    /// Offset in a generation of moe_dispatch.
    constexpr std::size_t dispatch_counts(unsigned cta, unsigned ctas) const {
        return kFlagsBytes * (std::size_t{2} * ctas + cta);
    }
    /// Offsets in a generation of moe_combine.
    constexpr std::size_t credits(unsigned channel) const { return kFlagsBytes * (std::size_t{1} + channel); }
    constexpr std::size_t units(unsigned channels) const { return kFlagsBytes * (std::size_t{1} + channels); }
};

} // namespace crossover::device
