#pragma once
/// Inputs that every rank can compute for every other rank: values from a counter-based hash, the same on host and
/// device. No CUDA.
///
/// All values are exact in bfloat16, float16 and float32: multiples of 2^-19 below 2 in magnitude, so that any sum of
/// up to 16 of them is exact in fp32, in whatever order. The reduced tensor (8 ranks and a residual) is thereby known
/// bit for bit; only the norm rounds.

#include "kernels/host_device.hpp"

#include <bit>
#include <cstdint>

namespace crossover {

namespace detail {
/// SplitMix64's step (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
CROSSOVER_HOST_DEVICE constexpr std::uint64_t mix(std::uint64_t x) {
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

CROSSOVER_HOST_DEVICE constexpr std::uint64_t hash(std::uint64_t seed, std::int64_t stream, std::int64_t token,
                                                   std::int64_t column) {
    std::uint64_t h = mix(seed);
    h = mix(h + static_cast<std::uint64_t>(stream));
    h = mix(h + static_cast<std::uint64_t>(token));
    return mix(h + static_cast<std::uint64_t>(column));
}

/// Uniform in (-2, 2): 7 bits of mantissa; the binades [1, 2), [1/2, 1), … down to 2^-12 each half as likely as the one
/// above.
CROSSOVER_HOST_DEVICE constexpr float uniform_in_two(std::uint64_t random) {
    const auto sign = static_cast<std::uint32_t>(random & 1);
    const auto mantissa = static_cast<std::uint32_t>(random >> 1 & 0x7F);
    std::uint32_t halvings = 0;
    while (halvings < 12 && (random >> (8 + halvings) & 1) == 0) ++halvings;
    return std::bit_cast<float>(sign << 31 | (127 - halvings) << 23 | mantissa << 16);
}
} // namespace detail

/// Element [token, column] of rank's all-reduce input.
CROSSOVER_HOST_DEVICE constexpr float input_value(std::uint64_t seed, int rank, std::int64_t token,
                                                  std::int64_t column) {
    return detail::uniform_in_two(detail::hash(seed, rank, token, column));
}

/// Element [token, column] of the residual, the same on every rank.
CROSSOVER_HOST_DEVICE constexpr float residual_value(std::uint64_t seed, std::int64_t token, std::int64_t column) {
    return detail::uniform_in_two(detail::hash(seed, -1, token, column));
}

/// Element of gamma: uniform in [0.5, 1.5) in steps of 1/128, as the weights of trained norms lie around 1.
CROSSOVER_HOST_DEVICE constexpr float gamma_value(std::uint64_t seed, std::int64_t column) {
    return static_cast<float>(64 + (detail::hash(seed, -2, 0, column) & 0x7F)) / 128;
}

} // namespace crossover
