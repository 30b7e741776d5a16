#pragma once
/// fp8 (e4m3) and NVFP4 (e2m1 values, e4m3 block scales) conversions, round to nearest even, saturating.

#include "kernels/device/arguments.cuh"
#include "kernels/device/element.cuh"

#include <cuda_fp8.h>

namespace crossover::device {

__device__ __forceinline__ unsigned e4m3_pair(float low, float high) {
    return __nv_cvt_float2_to_fp8x2(make_float2(low, high), __NV_SATFINITE, __NV_E4M3);
}

__device__ __forceinline__ float e4m3_to_float(unsigned char code) {
    return __half2float(__half(__nv_cvt_fp8_to_halfraw(code, __NV_E4M3)));
}

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
#if defined(__CUDA_ARCH_FEAT_SM100_ALL) || defined(__CUDA_ARCH_FEAT_SM103_ALL) || defined(__CUDA_ARCH_FEAT_SM120_ALL)
    unsigned pair;
    asm("{ .reg .b8 b; cvt.rn.satfinite.e2m1x2.f32 b, %1, %2; cvt.u32.u8 %0, b; }" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
#else
    return e2m1_software(low) | e2m1_software(high) << 4;
#endif
}

/// Where the scale of block `block` of row `row` lies, in bytes. Swizzled: tiles of 128 rows × 4 blocks, as
/// block-scaled GEMMs read them (cuBLAS, "1D block scaling factors layout").
__device__ __forceinline__ std::int64_t scale_offset(std::int64_t row, int block, int blocks_per_row, bool swizzled) {
    if (!swizzled) return row * blocks_per_row + block;
    const std::int64_t tile = row / 128 * ((blocks_per_row + 3) / 4) + block / 4;
    return tile * 512 + row % 32 * 16 + row % 128 / 32 * 4 + block % 4;
}

} // namespace crossover::device
