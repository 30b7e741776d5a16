#pragma once
/// fp8 (e4m3) and NVFP4 (e2m1 values, e4m3 block scales) conversions, round to nearest even, saturating.

#include "kernels/device/element.cuh"

#include <type_traits>

namespace crossover::device {

/// The e2m1 codes (0…15) nearest to x·factor, factor ≥ 0, four bits each, the first lowest; ties to even, beyond ±6
/// (and NaN, to +6: a NaN that was computed has no sign on a GPU) saturating. Without a conversion instruction exact
/// all the same, and in few others, half of them multiplications and additions, of which a multiprocessor does twice as
/// many as of the rest: 1–3 % of a launch less than with integers.
template <int Count>
__device__ __forceinline__ unsigned e2m1_codes(const float (&x)[Count], float factor) {
    unsigned codes = 0;
    if constexpr (kHasE2m1Instruction) {
#pragma unroll
        for (int i = 0; i < Count; i += 2) codes |= e2m1_instruction(x[i] * factor, x[i + 1] * factor) << (4 * i);
        return codes;
    } else {
        // The grid's steps are 1/2 up to 2, 1 up to 4, 2 up to 6. A sum of kWhole or more is rounded to an integer,
        // ties to even; so the three sums are kWhole and the code's number as each grid would go on, and the smallest
        // is right: a grid of larger steps begins above the one before, whose steps are worth more beyond its end.
        constexpr float kWhole = 1 << 23;
        unsigned signs = 0;
#pragma unroll
        for (int i = Count - 1; i >= 0; --i) {
            const float size = __fmul_rn(fabsf(x[i]), factor);
            const float halves = __fmaf_rn(size, 2.0f, kWhole), wholes = size + (kWhole + 2);
            const float twos = __fmaf_rn(size, 0.5f, kWhole + 4);
            codes = (codes << 4) + __float_as_uint(fminf(fminf(halves, wholes), fminf(twos, kWhole + 7)));
            signs = __funnelshift_l(__float_as_uint(x[i]), signs, 4);
        }
        static_assert(Count >= 2); // of further ones kWhole's bits have been shifted out
        constexpr unsigned kWholes = 0x4B000000u + (0x4B000000u << 4);
        return (codes - kWholes) | (signs & 0x88888888u);
    }
}

/// The elements of one vector as they lie in an output: values of D, or codes.
template <DType D, Quant Q>
using Codes =
    std::conditional_t<Q == Quant::none, Vector,
                       std::conditional_t<Q == Quant::fp8, std::conditional_t<Floats<D>::size == 8, uint2, unsigned>,
                                          std::conditional_t<Floats<D>::size == 8, unsigned, unsigned short>>>;

template <DType D, Quant Q>
struct Quantized {
    Codes<D, Q> codes;
    unsigned char block_scale; // fp4: of the block that the vector is a part of; the same in all of its lanes
};
template <DType D>
inline constexpr int kLanesPerBlock = kFp4Block / Floats<D>::size;

/// The factor of quantized(): fp8 divides by the tensor's scale, fp4 multiplies with it.
template <Quant Q>
__device__ __forceinline__ float quant_factor(const float* quant_scale) {
    if constexpr (Q == Quant::fp8) return 1.0f / *quant_scale;
    if constexpr (Q == Quant::fp4) return *quant_scale;
    return 1;
}

/// y as an output holds it. By whole warps: fp4 blocks span lanes.
template <DType D, Quant Q>
__device__ __forceinline__ Quantized<D, Q> quantized(const Floats<D>& y, float factor) {
    constexpr int kSize = Floats<D>::size;
    Quantized<D, Q> result{};
    if constexpr (Q == Quant::none) {
        result.codes = pack<D>(y);
    } else if constexpr (Q == Quant::fp8) {
        unsigned word[kSize / 4];
#pragma unroll
        for (int i = 0; i < kSize / 4; ++i)
            word[i] = e4m3_pair(y.at[4 * i] * factor, y.at[4 * i + 1] * factor) |
                      e4m3_pair(y.at[4 * i + 2] * factor, y.at[4 * i + 3] * factor) << 16;
        if constexpr (kSize == 8)
            result.codes = {word[0], word[1]};
        else
            result.codes = word[0];
    } else {
        float sizes[kSize]; // the largest by a tree: a chain took registers (oneshot, 2 ranks: 1–2 %)
#pragma unroll
        for (int i = 0; i < kSize; ++i) sizes[i] = fabsf(y.at[i]);
#pragma unroll
        for (int width = 1; width < kSize; width *= 2)
#pragma unroll
            for (int i = 0; i < kSize; i += 2 * width) sizes[i] = fmaxf(sizes[i], sizes[i + width]);
        float largest = fmaxf(sizes[0], 0.0f); // where all are NaN
#pragma unroll
        for (int offset = 1; offset < kLanesPerBlock<D>; offset *= 2)
            largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, offset));
        result.block_scale =
            static_cast<unsigned char>(e4m3_pair(__fmul_rn(__fmul_rn(factor, largest), 1.0f / 6.0f), 0.0f) & 0xFF);
        const float scale_back = e4m3_to_float(result.block_scale);
        const float block_factor = scale_back == 0.0f ? 0.0f : factor * reciprocal(scale_back);
        result.codes = static_cast<Codes<D, Q>>(e2m1_codes(y.at, block_factor));
    }
    return result;
}

/// Where the scale of block `block` of row `row` lies, in bytes. Swizzled: tiles of 128 rows × 4 blocks, as
/// block-scaled GEMMs read them (cuBLAS, "1D block scaling factors layout").
__device__ __forceinline__ std::uint64_t scale_offset(unsigned row, unsigned block, unsigned blocks_per_row,
                                                      bool swizzled) {
    if (!swizzled) return std::uint64_t{row} * blocks_per_row + block;
    const std::uint64_t tile = std::uint64_t{row / 128} * ((blocks_per_row + 3) / 4) + block / 4;
    return tile * 512 + row % 32 * 16 + row % 128 / 32 * 4 + block % 4;
}

} // namespace crossover::device
