#pragma once
/// Stands for kernels/device/convert.cuh where the kernels are compiled for the CPU (see ptx.cuh), on the conversions
/// of number_formats.hpp.

#include "kernels/number_formats.hpp"
#include "tests/emulation/cuda_language.hpp"

namespace crossover::device {

inline unsigned bf16_pair(float low, float high) {
    return encode(kBFloat16, double{low}) | encode(kBFloat16, double{high}) << 16;
}
inline unsigned f16_pair(float low, float high) {
    return encode(kFloat16, double{low}) | encode(kFloat16, double{high}) << 16;
}
inline float2 f16_pair_to_floats(unsigned pair) {
    return {static_cast<float>(decode(kFloat16, pair & 0xFFFF)), static_cast<float>(decode(kFloat16, pair >> 16))};
}

inline unsigned e4m3_pair(float low, float high) {
    return encode(kE4M3, double{low}) | encode(kE4M3, double{high}) << 8;
}
inline float e4m3_to_float(unsigned char code) { return static_cast<float>(decode(kE4M3, code)); }

inline float reciprocal(float x) { return 1.0f / x; }

inline constexpr bool kHasE2m1Instruction = false; // so that the kernels' own conversion is tested
inline unsigned e2m1_instruction(float, float) { return 0; }

} // namespace crossover::device
