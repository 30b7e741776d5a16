#pragma once
/// Stands for kernels/device/ptx.cuh where the kernels are compiled for the CPU: this folder comes first on the include
/// path. The same names; see there for what they mean. Defined in threads.cpp and memory.cpp.

#include "tests/emulation/cuda_language.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>

#define CROSSOVER_SHARED(type, name)                                                                                   \
    type& name = *static_cast<type*>(::crossover::emulation::shared_variable(__COUNTER__, sizeof(type)))

namespace crossover::emulation {
/// Of the running thread's block: the variable number `id`, 16-byte aligned.
void* shared_variable(int id, std::size_t bytes);
} // namespace crossover::emulation

namespace crossover::device {

using Vector = uint4;

Vector load_slot_bytes(const std::byte* slot, unsigned bytes); // the first of the vector's
template <class V = Vector>
V load_slot(const std::byte* slot) {
    const Vector loaded = load_slot_bytes(slot, sizeof(V));
    V v;
    std::memcpy(&v, &loaded, sizeof v);
    return v;
}
void store_slot(std::byte* slot, const unsigned* words, unsigned count);
template <class V = Vector>
void store_slot(std::byte* slot, const V& v) {
    unsigned words[sizeof(V) / 4];
    std::memcpy(words, &v, sizeof v);
    store_slot(slot, words, sizeof(V) / 4);
}
void store_flag(std::byte* slot, unsigned value);
void release_flag(std::byte* slot, unsigned value);
unsigned acquire_flag(const std::byte* slot);
void store_to_peer(void* address, const void* value, unsigned bytes);
template <class T>
void store_to_peer(T* address, const T& value) {
    store_to_peer(address, &value, sizeof value);
}
void between_looks_at(const std::byte* slot, unsigned words);
template <class V = Vector>
void between_looks(const std::byte* slot) {
    between_looks_at(slot, sizeof(V) / 4);
}
void between_looks(const std::byte* flag, unsigned seen);
unsigned load_relaxed_gpu(const unsigned* address);
unsigned fetch_add_gpu(unsigned* address, unsigned value);
void fence_system();
template <class T>
void keep(T*) {}
std::uint64_t global_nanoseconds();

void pdl_wait();
void pdl_trigger();

template <class T>
T held(T value) {
    return value;
}
using SharedAddress = std::byte*;
inline SharedAddress shared_address(const void* shared) {
    return const_cast<std::byte*>(static_cast<const std::byte*>(shared));
}
float4 load_shared(SharedAddress address);
void store_shared(SharedAddress address, float value);

void cluster_sync();
void mbarrier_init(SharedAddress barrier);
inline void fence_mbarrier_init() {}
void mbarrier_expect(SharedAddress barrier, int bytes);
bool mbarrier_passed(SharedAddress barrier, unsigned parity);
SharedAddress address_in_cta(SharedAddress address, int cta);
void store_to_cta(SharedAddress slot, SharedAddress barrier, float value);

} // namespace crossover::device
