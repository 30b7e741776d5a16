#pragma once
/// fp8 (e4m3) and NVFP4 (e2m1 values, e4m3 block scales) conversions, round to nearest even, saturating.

#include "kernels/device/element.cuh"

namespace crossover::device {

/// The e2m1 code (0…15) nearest to x, ties to even, |x| > 6 (and NaN, to +6) saturating: exact, with no conversion
/// instruction. The grid's step is 1/2 below 2, 1 below 4 and 2 up to 6; adding 2²³ rounds to a whole number of steps,
/// and a code is even exactly when its step count is, so ties agree.
__device__ __forceinline__ unsigned e2m1_software(float x) {
    const float magnitude = fminf(fabsf(x), 6.0f);
    const float steps_per_one = magnitude < 2.0f ? 2.0f : magnitude < 4.0f ? 1.0f : 0.5f;
    const unsigned first = magnitude < 2.0f ? 0u : magnitude < 4.0f ? 2u : 4u;
    const unsigned steps = __float_as_uint(__fmaf_rn(magnitude, steps_per_one, 8388608.0f)) & 0xFu;
    const unsigned sign = x < 0.0f || (x == 0.0f && signbit(x)) ? 8u : 0u;
    return sign | (first + steps);
}

/// Two codes in a byte, `low` in the low nibble.
__device__ __forceinline__ unsigned e2m1_pair(float low, float high) {
    if constexpr (kHasE2m1Instruction)
        return e2m1_instruction(low, high);
    else
        return e2m1_software(low) | e2m1_software(high) << 4;
}

/// Where the scale of block `block` of row `row` lies, in bytes. Swizzled: tiles of 128 rows × 4 blocks, as
/// block-scaled GEMMs read them (cuBLAS, "1D block scaling factors layout").
__device__ __forceinline__ std::int64_t scale_offset(std::int64_t row, int block, int blocks_per_row, bool swizzled) {
    if (!swizzled) return row * blocks_per_row + block;
    const std::int64_t tile = row / 128 * ((blocks_per_row + 3) / 4) + block / 4;
    return tile * 512 + row % 32 * 16 + row % 128 / 32 * 4 + block % 4;
}

} // namespace crossover::device
