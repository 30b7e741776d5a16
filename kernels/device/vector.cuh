#pragma once
/// 16-byte vectors: how they are read, sent, and recognised as arrived.
///
/// A slot that holds no data holds 0xFFFFFFFF in every 32-bit word. A 16-byte store is not atomic as a whole but each
/// word is, so a vector has arrived when none of the four words of one load is the sentinel. The sender replaces a word
/// that happens to be the sentinel (two bf16/fp16 NaNs or one fp32 NaN) by another NaN; no other value changes.

#include "kernels/device/arguments.hpp"
#include "kernels/device/ptx.cuh"

namespace crossover::device {

inline constexpr unsigned kEmpty = 0xFFFFFFFFu;

template <class V = Vector>
__device__ __forceinline__ V empty() {
    if constexpr (sizeof(V) == 16)
        return {kEmpty, kEmpty, kEmpty, kEmpty};
    else if constexpr (sizeof(V) == 8)
        return {kEmpty, kEmpty};
    else
        return kEmpty;
}

__device__ __forceinline__ unsigned largest_word(const Vector& v) { return max(max(v.x, v.y), max(v.z, v.w)); }
__device__ __forceinline__ unsigned largest_word(const uint2& v) { return max(v.x, v.y); }
__device__ __forceinline__ unsigned largest_word(unsigned v) { return v; }

/// The sentinel's neighbour is a NaN, too: two of them in bfloat16 and float16, one in float32.
__device__ __forceinline__ Vector sendable(const Vector& v) {
    constexpr unsigned kNan = kEmpty - 1;
    return {min(v.x, kNan), min(v.y, kNan), min(v.z, kNan), min(v.w, kNan)};
}

/// Tensors: plain cached accesses; nothing else writes them during the launch.
__device__ __forceinline__ Vector load_tensor(const void* base, std::int64_t vector) {
    return static_cast<const Vector*>(base)[vector];
}
__device__ __forceinline__ void store_tensor(void* base, std::int64_t vector, const Vector& v) {
    static_cast<Vector*>(base)[vector] = v;
}

} // namespace crossover::device
