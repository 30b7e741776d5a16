#pragma once
/// The hardware's number conversions: round to nearest even, fp8 and fp4 saturating. Of a pair, `low` is in the low
/// bits. tests/emulation/kernels/device/convert.cuh has the same names for a CPU.

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

namespace crossover::device {

__device__ __forceinline__ unsigned bf16_pair(float low, float high) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return reinterpret_cast<const unsigned&>(pair);
}

__device__ __forceinline__ unsigned f16_pair(float low, float high) {
    const __half2 pair = __floats2half2_rn(low, high);
    return reinterpret_cast<const unsigned&>(pair);
}
__device__ __forceinline__ float2 f16_pair_to_floats(unsigned pair) {
    return __half22float2(reinterpret_cast<const __half2&>(pair));
}

__device__ __forceinline__ unsigned e4m3_pair(float low, float high) {
    return __nv_cvt_float2_to_fp8x2(make_float2(low, high), __NV_SATFINITE, __NV_E4M3);
}
__device__ __forceinline__ float e4m3_to_float(unsigned char code) {
    return __half2float(__half(__nv_cvt_fp8_to_halfraw(code, __NV_E4M3)));
}

/// 1/x within an ulp, x not subnormal: __fdividef() spends six instructions on those that are.
__device__ __forceinline__ float reciprocal(float x) {
    asm("rcp.approx.ftz.f32 %0, %0;" : "+f"(x));
    return x;
}

/// e2m1x2, where the GPU has the instruction; quantize.cuh does without elsewhere.
#if defined(__CUDA_ARCH_FEAT_SM100_ALL) || defined(__CUDA_ARCH_FEAT_SM103_ALL) || defined(__CUDA_ARCH_FEAT_SM120_ALL)
inline constexpr bool kHasE2m1Instruction = true;
#else
inline constexpr bool kHasE2m1Instruction = false;
#endif
__device__ __forceinline__ unsigned e2m1_instruction(float low, float high) {
    unsigned pair = 0;
    if constexpr (kHasE2m1Instruction)
        asm("{ .reg .b8 b; cvt.rn.satfinite.e2m1x2.f32 b, %1, %2; cvt.u32.u8 %0, b; }"
            : "=r"(pair)
            : "f"(high), "f"(low));
    return pair;
}

} // namespace crossover::device
