#pragma once
/// The finished part of a row as it travels: a unit's outputs, packed into as few 16-byte vectors as they take, none of
/// whose words is the empty one.
///
///     none  the vectors of dtype, one a lane; a NaN is the canonical one
///     fp8   the codes, a half of bf16's bytes; e4m3's conversion makes every NaN 0x7F, never 0xFF
///     fp4   the codes, a quarter, then for each block of 16 values two bytes: its scale, and a bit for each of the
///           block's two words of codes. Eight codes of −6 are the empty word: it travels as 0, and its bit is set. So
///           10 bytes where the output has 9 and bf16 32; the scales' vectors are filled up to 16 bytes, as all are.

#include "kernels/device/epilogue.cuh"

namespace crossover::device {

/// By value and by word: a conditional between array elements would put the array into local memory.
__device__ __forceinline__ Vector select(bool first, Vector a, Vector b) {
    return {first ? a.x : b.x, first ? a.y : b.y, first ? a.z : b.z, first ? a.w : b.w};
}

/// Exchanges between a warp's lanes, by all of them.
__device__ __forceinline__ unsigned from_lane(unsigned x, int lane) { return __shfl_sync(~0u, x, lane); }
__device__ __forceinline__ unsigned from_neighbour(unsigned x, int distance) {
    return __shfl_xor_sync(~0u, x, distance);
}

/// A thread's share of the payload: in each unit the vector of its lane, if the unit has that many. Never more than the
/// lane has of the input: who reads a vector of the payload also has one to push.
template <DType D, Quant Q, int K>
class Payload {
  public:
    __device__ Payload(const Arguments& a, const Place& place) : a_(a), place_(place) {}

    /// Of a whole unit.
    static constexpr int kVectors = payload_vectors(D, Q);
    static constexpr int kBytes = kVectors * kVectorBytes;

    /// Whether this lane has a vector in the warp's k-th unit.
    __device__ bool has(int k) const { return k < place_.units && place_.lane < code_vectors(k) + side_vectors(k); }

    /// The vector of this lane, of the unit's finished values y.
    __device__ __forceinline__ Vector of(const Epilogue<D, Q, K>& epilogue, const Floats<D>& y, int k) const {
        const int lane = place_.lane;
        if constexpr (Q == Quant::none) {
            return pack<D>(y);
        } else if constexpr (Q == Quant::fp8 && kSize == 8) {
            const uint2 codes = epilogue.quantized(y).codes;
            return {from_lane(codes.x, 2 * lane), from_lane(codes.y, 2 * lane), from_lane(codes.x, 2 * lane + 1),
                    from_lane(codes.y, 2 * lane + 1)};
        } else if constexpr (Q == Quant::fp8) {
            return gathered(epilogue.quantized(y).codes, 4 * lane, 1);
        } else {
            const Quantized<D, Q> q = epilogue.quantized(y);
            unsigned codes = q.codes;
            if constexpr (kSize == 4) { // a word of codes is two lanes'
                const unsigned other = from_neighbour(codes, 1);
                codes = lane % 2 ? other | codes << 16 : codes | other << 16;
            }
            const int word = lane / kLanesPerWord;
            const bool looks_empty = codes == kEmpty;
            if (looks_empty) codes = 0;
            unsigned side = (static_cast<unsigned>(q.block_scale) | (looks_empty ? kFlag << word % 2 : 0u))
                            << (word % 4 < 2 ? 0 : 16);
            side |= from_neighbour(side, kLanesPerWord);
            side |= from_neighbour(side, 2 * kLanesPerWord);
            const Vector of_codes = gathered(codes, 4 * kLanesPerWord * lane, kLanesPerWord);
            const Vector of_sides = gathered(side, 16 * kLanesPerWord * (lane - code_vectors(k)), 4 * kLanesPerWord);
            return select(lane < code_vectors(k), of_codes, of_sides);
        }
    }

    /// Writes a received unit to the outputs; v is what has() says of this lane, anything else elsewhere.
    __device__ __forceinline__ void write(Vector v, std::int64_t token, int k) const {
        if constexpr (Q == Quant::none) {
            if (has(k)) store_tensor(a_.output, place_.vector(a_, token, k), v);
        } else {
            unsigned side = 0;
            if constexpr (Q == Quant::fp4) {
                side = my_side(v, k);
                v = {side & kFlag ? kEmpty : v.x, side & kFlag << 1 ? kEmpty : v.y, side & kFlag << 16 ? kEmpty : v.z,
                     side & kFlag << 17 ? kEmpty : v.w};
            }
            if (place_.lane >= code_vectors(k)) return;
            // In bytes. Rows are multiples of 8: the last vector may be half of one, and others not aligned to 16.
            const int row = a_.vectors_per_row * kSize / (Q == Quant::fp8 ? 1 : 2);
            const int at = (place_.first_unit + k) * kCodeVectors * kVectorBytes + place_.lane * kVectorBytes;
            std::byte* const to = static_cast<std::byte*>(a_.output) + token * row + at;
            if (row % kVectorBytes == 0) {
                *reinterpret_cast<Vector*>(to) = v;
            } else {
                *reinterpret_cast<uint2*>(to) = {v.x, v.y};
                if (at + 8 < row) *reinterpret_cast<uint2*>(to + 8) = {v.z, v.w};
            }
            if constexpr (Q == Quant::fp4) {
                const int blocks = a_.vectors_per_row * kSize / kFp4Block;
                const int block = at * 2 / kFp4Block; // of this vector's two the first
                auto* const scales = static_cast<unsigned char*>(a_.output_scales);
                scales[scale_offset(token, block, blocks, a_.swizzled_scales)] = side & 0xFF;
                if (block + 1 < blocks)
                    scales[scale_offset(token, block + 1, blocks, a_.swizzled_scales)] = side >> 16 & 0xFF;
            }
        }
    }

  private:
    static constexpr int kSize = Floats<D>::size;
    static constexpr int kLanesPerWord = 8 / kSize; // fp4
    static constexpr unsigned kFlag = 1u << 8;      // of a block's first word; the second's is the next bit
    /// Vectors of codes in a whole unit, and lanes of the input that one holds.
    static constexpr int kCodeVectors = kWarp * kSize / (Q == Quant::fp4 ? 32 : Q == Quant::fp8 ? 16 : kSize);
    static constexpr int kLanesPerVector = kWarp / kCodeVectors;

    /// Vectors of codes, or of dtype, in the warp's k-th unit; the last unit of a row may be partly filled.
    __device__ int code_vectors(int k) const {
        const int lanes = min(kWarp, a_.vectors_per_row - (place_.first_unit + k) * kWarp);
        return (lanes + kLanesPerVector - 1) / kLanesPerVector;
    }
    /// Vectors of scales and flags: four bytes for each vector of codes.
    __device__ int side_vectors(int k) const { return Q == Quant::fp4 ? (code_vectors(k) + 3) / 4 : 0; }

    __device__ static Vector gathered(unsigned x, int first_lane, int step) {
        return {from_lane(x, first_lane), from_lane(x, first_lane + step), from_lane(x, first_lane + 2 * step),
                from_lane(x, first_lane + 3 * step)};
    }

    /// Of what the lanes received, the scales and flags of this lane's vector of codes.
    __device__ unsigned my_side(const Vector& v, int k) const {
        const int holder = code_vectors(k) + place_.lane / 4;
        const Vector sides{from_lane(v.x, holder), from_lane(v.y, holder), from_lane(v.z, holder),
                           from_lane(v.w, holder)};
        const unsigned low = place_.lane % 2 ? sides.y : sides.x, high = place_.lane % 2 ? sides.w : sides.z;
        return place_.lane % 4 < 2 ? low : high;
    }

    const Arguments& a_;
    const Place& place_;
};

} // namespace crossover::device
