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
/// moe_combine sums a row this many steps after it has sent the others' rows of that step.
inline constexpr int kCombineBehind = 1;
/// And takes the sum of a row that a peer has summed this many after: by then the peer has.
inline constexpr int kTakenBehind = kCombineBehind + 1;

/// Who sums which units (kUnitBytes, the last one partly filled) of whose rows in moe_combine: combine_shares.cpp.
///
/// Each rank sums one sequence of turns, all equally long. At place 0 are the first units of its own rows, at place i
/// some of rank (it + i) mod n, at place n more of its own. Where a place has fewer units than turns, some turns are
/// left out, evenly.
struct CombineShares {
    unsigned turns;                                   // of every sequence
    unsigned begin[kMaxWorldSize][kMaxWorldSize + 2]; // [who sums][place]: its first turn; then the end
    unsigned unit[kMaxWorldSize][kMaxWorldSize + 1];  // [who sums][place]: its first, among the owner's units
    unsigned pace[kMaxWorldSize][kMaxWorldSize + 1]; // [who sums][place]: 2^32 · units / turns, rounded up; 0: one each
    bool relays;                                     // whether any rank sums others' rows
    bool one_ring;                                   // no rank that sums has units summed by others
};

/// What moe_dispatch relays. A unit is what a CTA sends in a step; number(step) = CTA + step × CTAs.
struct DispatchRelay {
    unsigned units[kMaxWorldSize]; // of each rank's, the first ones
    unsigned piece_steps;          // of a CTA, from one count to the next
    unsigned pieces;               // of the rank with the most; 0: nothing is relayed
};

/// A generation of the workspace holds
///   moe_dispatch  [CTA][begun, done][rank] flags, [CTA][source] counts of pieces to relay
///   moe_combine   [rank] flags, [channel][rank] credits, [channel][stage][sender but me] units; a channel is a warp.
///                 One that relays has as many credits again for sums, and behind each channel's units as many for
///                 sums.
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
    int stages;             // moe_combine: of each ring
    unsigned channel_bytes; // moe_combine: of a channel's rings
    bool swizzled_scales;
    DispatchRelay dispatch_relay;
    CombineShares shares;

    /// Offset in a generation of moe_dispatch.
    constexpr std::size_t dispatch_counts(unsigned cta, unsigned ctas) const {
        return kFlagsBytes * (std::size_t{2} * ctas + cta);
    }
    /// Offsets in a generation of moe_combine. `channel`: those of sums are counted on from the last one's.
    constexpr std::size_t credits(unsigned channel) const { return kFlagsBytes * (std::size_t{1} + channel); }
};

} // namespace crossover::device
