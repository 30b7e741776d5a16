#pragma once
/// fp8 (e4m3) and NVFP4 (e2m1 values, e4m3 block scales) conversions, round to nearest even, saturating.

#include "kernels/device/element.cuh"

#include <type_traits>

namespace crossover::device {

/// The e2m1 code (0…15) nearest to x, ties to even, |x| > 6 (and NaN, to +6) saturating: exact, with no conversion
/// instruction, in few others: a launch of one token runs through its code once, which costs by the instruction.
/// From 2^e on, e = 0…2, the grid's step is 2^(e−1), below 1 it is that of e = 0. Adding 2^(e+22), whose last bit is
/// worth a step, leaves the number of steps in the sum's low bits, rounded; the code is that and 2·e. A code is even
/// exactly when its number of steps is, so ties agree.
__device__ __forceinline__ unsigned e2m1_software(float x) {
    const float clamped = fmaxf(fminf(x, 6.0f), -6.0f); // in this order, which makes NaN +6
    const unsigned bits = __float_as_uint(clamped), kOne = 127u << 23;
    const unsigned power = max(bits & 0x7F800000u, kOne); // 2^e
    const unsigned sum = __float_as_uint(fabsf(clamped) + __uint_as_float(power + (22u << 23)));
    const unsigned code = sum + (sum >> 22) - 2 * (127 + 22);
    return (code & 7u) | (bits >> 28 & 8u);
}

/// Two codes in a byte, `low` in the low nibble.
__device__ __forceinline__ unsigned e2m1_pair(float low, float high) {
    if constexpr (kHasE2m1Instruction)
        return e2m1_instruction(low, high);
    else
        return e2m1_software(low) | e2m1_software(high) << 4;
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
        float largest = 0;
#pragma unroll
        for (int i = 0; i < kSize; ++i) largest = fmaxf(largest, fabsf(y.at[i]));
#pragma unroll
        for (int offset = 1; offset < kLanesPerBlock<D>; offset *= 2)
            largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, offset));
        result.block_scale =
            static_cast<unsigned char>(e4m3_pair(__fmul_rn(__fmul_rn(factor, largest), 1.0f / 6.0f), 0.0f) & 0xFF);
        const float scale_back = e4m3_to_float(result.block_scale);
        const float block_factor = scale_back == 0.0f ? 0.0f : __fdividef(factor, scale_back);
        unsigned codes = 0;
#pragma unroll
        for (int i = 0; i < kSize / 2; ++i)
            codes |= e2m1_pair(y.at[2 * i] * block_factor, y.at[2 * i + 1] * block_factor) << (8 * i);
        result.codes = static_cast<Codes<D, Q>>(codes);
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
