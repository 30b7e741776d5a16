#pragma once
/// The part of CUDA C++ that the kernels use, for a C++ compiler on a CPU: keywords, vector types, built-in variables
/// and functions. Those that make threads meet are in threads.cpp.

#include <math.h> // into the global namespace, as CUDA has them

#include <bit>
#include <cstdint>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(...)
#define __grid_constant__

struct float2 {
    float x, y;
};
struct float4 {
    float x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

/// Of the running thread; set whenever one goes on.
struct Index {
    unsigned x;
};
extern Index threadIdx, blockIdx, blockDim, gridDim;

inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a < b ? b : a; }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a < b ? b : a; }

inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) { // by less than 32
    return static_cast<unsigned>((std::uint64_t{high} << 32 | low) >> (32 - shift));
}
inline float __fmul_rn(float a, float b) { // a computed NaN has no sign on a GPU (PTX ISA, mul.f32), on a CPU it may
    const float product = a * b;
    return product == product ? product : std::bit_cast<float>(0x7FFFFFFFu);
}
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }

void __syncthreads();
int __syncthreads_and(int predicate);
void __syncwarp();
float __shfl_xor_sync(unsigned mask, float value, int lane_mask);
unsigned __shfl_xor_sync(unsigned mask, unsigned value, int lane_mask);
unsigned __ballot_sync(unsigned mask, int predicate);
unsigned atomicCAS(unsigned* address, unsigned compare, unsigned value);
