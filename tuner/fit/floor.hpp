#pragma once
/// The time that no fused all-reduce can be below: that of the link, by its latency and bandwidth, or of the work that
/// is left when nothing is sent, whichever is more. (Kernels do one beside the other: with both added up, oneshot of 2
/// H200s was 14 to 24 % below.) No CUDA.

#include "kernels/types.hpp"

#include <algorithm>
#include <cstdint>

namespace crossover {

/// What a link was measured to do, all ranks sending at once.
struct LinkSpeed {
    double hop_us = 0;       // from a store on one GPU to a poll on another that sees it
    double bytes_per_us = 0; // sent by one rank while it receives as many; 1000 = 1 GB/s
};

/// One hop; every rank's message to every other rank. `local_us`: the same kernel without communication.
constexpr double oneshot_floor_us(int world_size, std::uint64_t message_bytes, double local_us, const LinkSpeed& link) {
    return std::max(local_us, link.hop_us + (world_size - 1) * static_cast<double>(message_bytes) / link.bytes_per_us);
}

/// Two hops; of each rank's message all but its own share is sent, and of the sum all ranks' shares come back, in
/// `gathered` times their bytes: 1 in the message's dtype.
constexpr double twoshot_floor_us(int world_size, std::uint64_t message_bytes, double local_us, const LinkSpeed& link,
                                  double gathered = 1) {
    const double sent = (1 + gathered) * (world_size - 1) / world_size * static_cast<double>(message_bytes);
    return std::max(local_us, 2 * link.hop_us + sent / link.bytes_per_us);
}

/// The bytes of a finished row as a share of the row of dtype that it is made of.
constexpr double finished_share(DType dtype, Quant quant) {
    const double bytes = quant == Quant::fp8 ? 1 : 0.5 + 1.0 / 16; // an element's; fp4: with its part of a scale
    return quant == Quant::none ? 1 : bytes / static_cast<double>(element_size(dtype));
}

/// The lower of the two.
constexpr double floor_us(int world_size, std::uint64_t message_bytes, double local_us, const LinkSpeed& link) {
    return std::min(oneshot_floor_us(world_size, message_bytes, local_us, link),
                    twoshot_floor_us(world_size, message_bytes, local_us, link));
}

} // namespace crossover
