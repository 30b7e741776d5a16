#pragma once
/// 16-byte vectors: how they are read, sent, and recognised as arrived.
///
/// A slot that holds no data holds 0xFFFFFFFF in every 32-bit word. A 16-byte store is not atomic as a whole but each
/// word is, so a vector has arrived when none of the four words of one load is the sentinel. The sender replaces a word
/// that happens to be the sentinel (two bf16/fp16 NaNs or one fp32 NaN) by another NaN; no other value changes.

#include <cuda_runtime.h>

#include <cstdint>

namespace crossover::device {

inline constexpr unsigned kEmpty = 0xFFFFFFFFu;
inline constexpr int kVectorBytes = 16;
inline constexpr int kWarp = 32;
/// A unit is what one warp moves with one instruction: the grain of ownership and of the sum of squares.
inline constexpr int kUnitBytes = kWarp * kVectorBytes;

using Vector = uint4;

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

/// Relaxed system-scope accesses: performed at the L2 of the memory's owner, never from a stale L1 line.
__device__ __forceinline__ Vector load_slot(const std::byte* slot) {
    Vector v;
    asm volatile("ld.relaxed.sys.global.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(slot)
                 : "memory");
    return v;
}
__device__ __forceinline__ void store_slot(std::byte* slot, const Vector& v) {
    asm volatile("st.relaxed.sys.global.v4.u32 [%0], {%1,%2,%3,%4};" ::"l"(slot), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
                 : "memory");
}

/// Tensors: plain cached accesses; nothing else writes them during the launch.
__device__ __forceinline__ Vector load_tensor(const void* base, std::int64_t vector) {
    return static_cast<const Vector*>(base)[vector];
}
__device__ __forceinline__ void store_tensor(void* base, std::int64_t vector, const Vector& v) {
    static_cast<Vector*>(base)[vector] = v;
}

/// Programmatic dependent launch. After wait(), everything the previous kernel in the stream wrote is visible.
/// trigger() lets the next kernel's blocks become resident; they still wait() for this kernel's end before they touch
/// anything.
__device__ __forceinline__ void pdl_wait() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
__device__ __forceinline__ void pdl_trigger() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

} // namespace crossover::device
