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

__device__ __forceinline__ Vector empty_vector() { return {kEmpty, kEmpty, kEmpty, kEmpty}; }

__device__ __forceinline__ bool arrived(const Vector& v) { return max(max(v.x, v.y), max(v.z, v.w)) != kEmpty; }

/// `nan` is a quiet NaN of the element type in every element of a word.
__device__ __forceinline__ Vector sendable(Vector v, unsigned nan) {
    v.x = v.x == kEmpty ? nan : v.x;
    v.y = v.y == kEmpty ? nan : v.y;
    v.z = v.z == kEmpty ? nan : v.z;
    v.w = v.w == kEmpty ? nan : v.w;
    return v;
}

/// Tensors: plain cached accesses; nothing else writes them during the launch.
__device__ __forceinline__ Vector load_tensor(const void* base, std::int64_t vector) {
    return static_cast<const Vector*>(base)[vector];
}
__device__ __forceinline__ void store_tensor(void* base, std::int64_t vector, const Vector& v) {
    static_cast<Vector*>(base)[vector] = v;
}

} // namespace crossover::device
