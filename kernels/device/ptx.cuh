#pragma once
/// What the kernels ask of the hardware beyond CUDA C++: all of their inline PTX on memory, clusters and launches, each
/// instruction under a name. tests/emulation/kernels/device/ptx.cuh has the same names for a CPU.

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

/// A variable that all threads of a block share.
#define CROSSOVER_SHARED(type, name) __shared__ type name

namespace crossover::device {

using Vector = uint4;

/// Relaxed system-scope accesses to 4, 8 or 16 bytes: performed at the L2 of the memory's owner, never from a stale L1
/// line. The words of a vector may be performed one by one, and stores to different addresses in any order.
template <class V = Vector>
__device__ __forceinline__ V load_slot(const std::byte* slot) {
    V v;
    if constexpr (sizeof(V) == 16)
        asm volatile("ld.relaxed.sys.global.v4.u32 {%0,%1,%2,%3}, [%4];"
                     : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                     : "l"(slot)
                     : "memory");
    else if constexpr (sizeof(V) == 8)
        asm volatile("ld.relaxed.sys.global.v2.u32 {%0,%1}, [%2];" : "=r"(v.x), "=r"(v.y) : "l"(slot) : "memory");
    else
        asm volatile("ld.relaxed.sys.global.u32 %0, [%1];" : "=r"(v) : "l"(slot) : "memory");
    return v;
}
template <class V = Vector>
__device__ __forceinline__ void store_slot(std::byte* slot, const V& v) {
    if constexpr (sizeof(V) == 16)
        asm volatile("st.relaxed.sys.global.v4.u32 [%0], {%1,%2,%3,%4};" ::"l"(slot), "r"(v.x), "r"(v.y), "r"(v.z),
                     "r"(v.w)
                     : "memory");
    else if constexpr (sizeof(V) == 8)
        asm volatile("st.relaxed.sys.global.v2.u32 [%0], {%1,%2};" ::"l"(slot), "r"(v.x), "r"(v.y) : "memory");
    else
        asm volatile("st.relaxed.sys.global.u32 [%0], %1;" ::"l"(slot), "r"(v) : "memory");
}

/// A flag is the first word of a slot. What a thread has done, and others before a barrier with it, comes before its
/// release; who sees the released value by an acquire, and others after a barrier with him, comes after it.
__device__ __forceinline__ void store_flag(std::byte* slot, unsigned value) { store_slot(slot, value); }
__device__ __forceinline__ void release_flag(std::byte* slot, unsigned value) {
    asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(slot), "r"(value) : "memory");
}
__device__ __forceinline__ unsigned acquire_flag(const std::byte* slot) {
    unsigned value;
    asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(value) : "l"(slot) : "memory");
    return value;
}

/// To a tensor of another rank, who reads it after a flag.
template <class T>
__device__ __forceinline__ void store_to_peer(T* address, const T& value) {
    *address = value;
}

/// After a look at `slot` that found no data. A GPU looks again at once; a CPU runs another thread.
template <class V = Vector>
__device__ __forceinline__ void between_looks(const std::byte*) {}
/// The same for a flag that was not far enough.
__device__ __forceinline__ void between_looks(const std::byte*, unsigned) {}

__device__ __forceinline__ unsigned load_relaxed_gpu(const unsigned* address) {
    unsigned value;
    asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(address) : "memory");
    return value;
}
/// Gives what was there before.
__device__ __forceinline__ unsigned fetch_add_gpu(unsigned* address, unsigned value) {
    unsigned before;
    asm volatile("atom.relaxed.gpu.global.add.u32 %0, [%1], %2;" : "=r"(before) : "l"(address), "r"(value) : "memory");
    return before;
}

/// Orders what this thread did before it, and what it has seen of others, before what it does after it.
__device__ __forceinline__ void fence_system() { asm volatile("fence.acq_rel.sys;" ::: "memory"); }

/// Has an address computed by now: the compiler likes to leave that until after the PDL wait, where it costs time. (No
/// address is null; nothing less than a branch on it holds the compiler.)
template <class T>
__device__ __forceinline__ void keep(T* address) {
    asm volatile("{ .reg .pred null; setp.eq.u64 null, %0, 0; @null trap; }" ::"l"(address) : "memory");
}

__device__ __forceinline__ std::uint64_t global_nanoseconds() {
    std::uint64_t time;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(time));
    return time;
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

/// A value in a register from here on. What can be computed again from a launch's arguments the compiler does compute
/// again where it is used, some 30 cycles for each load of an argument: seen by all where nothing else is left to do.
template <class T>
__device__ __forceinline__ T held(T value) {
    if constexpr (sizeof(T) == 8)
        asm volatile("" : "+l"(value));
    else
        asm volatile("" : "+r"(value));
    return value;
}

/// Where something lies in shared memory: a pointer would be made one again at every use.
using SharedAddress = unsigned;
__device__ __forceinline__ SharedAddress shared_address(const void* shared) {
    return static_cast<SharedAddress>(__cvta_generic_to_shared(shared));
}
__device__ __forceinline__ float4 load_shared(SharedAddress address) {
    float4 v;
    asm volatile("ld.shared.v4.f32 {%0,%1,%2,%3}, [%4];"
                 : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
                 : "r"(address)
                 : "memory");
    return v;
}
__device__ __forceinline__ void store_shared(SharedAddress address, float value) {
    asm volatile("st.shared.f32 [%0], %1;" ::"r"(address), "f"(value) : "memory");
}

// Clusters, from compute capability 9.0. Before, there are none, and nothing below does anything.

/// All threads of the cluster meet.
__device__ __forceinline__ void cluster_sync() {
#if __CUDA_ARCH__ >= 900
    asm volatile("barrier.cluster.arrive.release.aligned; barrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
}

/// An mbarrier's phase is over when one thread has arrived and all bytes that it expects have come. (The count is an
/// immediate: in a register it changed the schedule of nine kernels.)
__device__ __forceinline__ void mbarrier_init(SharedAddress barrier) {
#if __CUDA_ARCH__ >= 900
    asm volatile("mbarrier.init.shared.b64 [%0], 1;" ::"r"(barrier));
#endif
}
/// Makes initialized mbarriers known to the cluster; cluster_sync() is to follow.
__device__ __forceinline__ void fence_mbarrier_init() {
#if __CUDA_ARCH__ >= 900
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#endif
}
/// Arrives, and expects this many bytes more in this phase.
__device__ __forceinline__ void mbarrier_expect(SharedAddress barrier, int bytes) {
#if __CUDA_ARCH__ >= 900
    asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
#endif
}
/// Whether the phase of this parity is over; waits for a while. What came with the bytes it counts is then visible. (An
/// acquire by cluster would also empty the L1.)
__device__ __forceinline__ bool mbarrier_passed(SharedAddress barrier, unsigned parity) {
#if __CUDA_ARCH__ >= 900
    unsigned done;
    asm volatile("{ .reg .pred p;"
                 "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;"
                 "selp.u32 %0, 1, 0, p; }"
                 : "=r"(done)
                 : "r"(barrier), "r"(parity)
                 : "memory");
    return done != 0;
#else
    return true;
#endif
}
/// Where `address` lies in the shared memory of the cluster's CTA `cta`.
__device__ __forceinline__ SharedAddress address_in_cta(SharedAddress address, int cta) {
#if __CUDA_ARCH__ >= 900
    SharedAddress there;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(cta));
    return there;
#else
    return address;
#endif
}
/// Stores to a CTA's shared memory, and counts the bytes at its `barrier`: both by address_in_cta().
__device__ __forceinline__ void store_to_cta(SharedAddress slot, SharedAddress barrier, float value) {
#if __CUDA_ARCH__ >= 900
    asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %1, [%2];" ::"r"(slot),
                 "r"(__float_as_uint(value)), "r"(barrier)
                 : "memory");
#endif
}

} // namespace crossover::device
