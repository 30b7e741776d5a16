#pragma once
/// What a kernel needs to know of the other ranks, passed by value. No NCCL or CUDA types.

#include <cstddef>
#include <cstdint>

namespace crossover {

inline constexpr int kMaxWorldSize = 8;

/// The same symmetric buffer on every rank: base[r] is rank r's, mapped into this process; base[rank] is local.
struct Peers {
    int rank = 0;
    int world_size = 1;
    std::byte* base[kMaxWorldSize] = {};
};

} // namespace crossover
