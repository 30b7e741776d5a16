#pragma once
/// Element types: packing to and from fp32, one rounding each.

#include "kernels/device/convert.cuh"
#include "kernels/device/vector.cuh"
#include "kernels/types.hpp"

namespace crossover::device {

template <DType D>
struct Element;

template <>
struct Element<DType::bfloat16> {
    static constexpr int per_vector = 8;
    __device__ static float2 unpack(unsigned word) {
        return {__uint_as_float(word << 16), __uint_as_float(word & 0xFFFF0000u)};
    }
    __device__ static unsigned pack(float low, float high) { return bf16_pair(low, high); }
};

template <>
struct Element<DType::float16> {
    static constexpr int per_vector = 8;
    __device__ static float2 unpack(unsigned word) { return f16_pair_to_floats(word); }
    __device__ static unsigned pack(float low, float high) { return f16_pair(low, high); }
};

template <>
struct Element<DType::float32> {
    static constexpr int per_vector = 4;
    static constexpr unsigned nan_word = 0x7FFFFFFFu;
};

/// The elements of one vector in fp32.
template <DType D>
struct Floats {
    static constexpr int size = Element<D>::per_vector;
    float at[size];
};

template <DType D>
__device__ __forceinline__ Floats<D> unpack(const Vector& v) {
    Floats<D> f;
    const unsigned word[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        if constexpr (D == DType::float32) {
            f.at[i] = __uint_as_float(word[i]);
        } else {
            const float2 pair = Element<D>::unpack(word[i]);
            f.at[2 * i] = pair.x;
            f.at[2 * i + 1] = pair.y;
        }
    }
    return f;
}

/// Rounds to nearest even. Never gives the empty word: a NaN comes out as the canonical one.
template <DType D>
__device__ __forceinline__ Vector pack(const Floats<D>& f) {
    unsigned word[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        if constexpr (D == DType::float32)
            word[i] = f.at[i] != f.at[i] ? Element<D>::nan_word : __float_as_uint(f.at[i]);
        else
            word[i] = Element<D>::pack(f.at[2 * i], f.at[2 * i + 1]);
    }
    return {word[0], word[1], word[2], word[3]};
}

template <DType D>
__device__ __forceinline__ void add(Floats<D>& sum, const Vector& v) {
    const Floats<D> f = unpack<D>(v);
#pragma unroll
    for (int i = 0; i < Floats<D>::size; ++i) sum.at[i] += f.at[i];
}

} // namespace crossover::device
