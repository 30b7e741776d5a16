#pragma once
/// The finished part of a row as it travels. Each lane sends the codes of its own values, in 32-bit words none of which
/// is the empty one:
///
///     none  the vectors of dtype; a NaN is the canonical one
///     fp8   the codes, a byte a value; e4m3's conversion makes every NaN 0x7F, never 0xFF
///     fp4   words of eight codes, a lane's (of float32 two lanes'), and for each four of them, two blocks, a side
///     word:
///           the blocks' scales, then bits that say which words of codes look empty. Eight codes of −6 do: they travel
///           as 0. So 10 bytes where the output has 9 and bf16 32.
///
/// Of a CTA's share of a row all codes come first, then all side words: in whole lines of 128 bytes.

#include "kernels/device/epilogue.cuh"

namespace crossover::device {

/// A thread's share of the payload, in each unit kPieces of one load or store each.
template <DType D, Quant Q, int K>
class Payload {
  public:
    static constexpr int kPieces = Q == Quant::fp4 ? 2 : 1;
    using Piece = std::conditional_t<Q == Quant::fp4, unsigned, Codes<D, Q>>;
    struct Pieces {
        Piece at[kPieces];
    };
    __device__ Payload(const Arguments& a, const Place& place) : lane_(place.lane) {
        codes_at_ = place.local_unit * kCodesBytes + lane_ / kLanesPerWord * static_cast<int>(sizeof(Piece));
        side_at_ = a.units_per_cta * kCodesBytes + place.local_unit * kSideBytes + lane_ / kLanesPerSide * 4;
    }

    /// In the stage, of the warp's k-th unit. In bytes.
    __device__ int offset(int k, int piece) const {
        return piece == 0 ? codes_at_ + k * kCodesBytes : side_at_ + k * kSideBytes;
    }
    /// Whether this lane is the first of those that have this piece: it sends it and empties its slot.
    __device__ bool leads(int piece) const { return lane_ % (piece == 0 ? kLanesPerWord : kLanesPerSide) == 0; }

    /// What this lane sends of a unit, where it leads. By whole warps.
    __device__ __forceinline__ Pieces pieces(const Quantized<D, Q>& q) const {
        if constexpr (Q != Quant::fp4) {
            return {q.codes};
        } else {
            unsigned word = q.codes;
            if constexpr (kLanesPerWord == 2) {
                const unsigned other = __shfl_xor_sync(~0u, word, 1);
                word = lane_ % 2 ? other | word << 16 : word | other << 16;
            }
            const unsigned look_empty = __ballot_sync(~0u, word == kEmpty);
            const unsigned scale = q.block_scale, next_scale = __shfl_xor_sync(~0u, scale, kLanesPerSide / 2);
            const unsigned flags = look_empty >> (lane_ - place_in_side()) & ((1u << kLanesPerSide) - 1);
            return {word == kEmpty ? 0 : word, scale | next_scale << 8 | flags << 16};
        }
    }

    /// Of the kPieces that this lane has received of a unit, its own values.
    __device__ __forceinline__ Quantized<D, Q> quantized(const Piece* received) const {
        if constexpr (Q != Quant::fp4) {
            return {received[0], 0};
        } else {
            const unsigned side = received[1];
            unsigned word = side >> (16 + place_in_side()) & 1 ? kEmpty : received[0];
            if (kLanesPerWord == 2 && lane_ % 2 == 1) word >>= 16;
            const unsigned scale = place_in_side() < kLanesPerSide / 2 ? side : side >> 8;
            return {static_cast<Codes<D, Q>>(word), static_cast<unsigned char>(scale & 0xFF)};
        }
    }

  private:
    static constexpr int kSize = Floats<D>::size;
    static constexpr int kLanesPerWord = Q == Quant::fp4 ? 8 / kSize : 1, kLanesPerSide = 4 * kLanesPerWord;
    /// Of a whole unit.
    static constexpr int kCodesBytes = kWarp / kLanesPerWord * static_cast<int>(sizeof(Piece));
    static constexpr int kSideBytes = Q == Quant::fp4 ? kWarp / kLanesPerSide * 4 : 0;
    static_assert(kCodesBytes + kSideBytes == payload_bytes(D, Q));

    __device__ int place_in_side() const { return lane_ % kLanesPerSide; }

    int lane_, codes_at_, side_at_;
};

} // namespace crossover::device
