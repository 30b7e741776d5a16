#pragma once
/// The number formats of tensors and quantized outputs, converted exactly: double to code in one rounding to nearest,
/// ties to even, and code to double without any. No CUDA.
///
///     encode(kE4M3, 0.1)          // 0x1D
///     decode(kE4M3, 0x1D)         // 0.1015625
///     rounded(kBFloat16, 1.0 / 3) // 0.333984375
///
/// A float converts to double exactly, so `encode(format, x)` also is the one rounding from fp32.
/// fp8 and fp4: OCP 8-bit Floating Point Specification 1.0 and OCP Microscaling Formats 1.0.

#include "kernels/types.hpp"

#include <bit>
#include <cstdint>
#include <limits>

namespace crossover {

/// What lies beyond the finite values: IEEE infinity and NaNs; one NaN pattern per sign and no infinity; nothing.
/// Formats without infinity saturate to their largest finite value, infinity included.
enum class BeyondFinite : std::uint8_t { ieee, nan_only, nothing };

/// A sign, `exponent_bits` with bias 2^(exponent_bits−1) − 1, `mantissa_bits`; subnormals where the exponent is 0.
struct NumberFormat {
    int exponent_bits;
    int mantissa_bits;
    BeyondFinite beyond;

    constexpr int bias() const { return (1 << (exponent_bits - 1)) - 1; }
    constexpr std::uint32_t sign_bit() const { return 1u << (exponent_bits + mantissa_bits); }
    /// All exponent bits set, mantissa 0: infinity in an IEEE format.
    constexpr std::uint32_t top_exponent() const { return sign_bit() - (1u << mantissa_bits); }
    /// The positive code that NaN becomes: what CUDA's conversions give.
    constexpr std::uint32_t nan_code() const { return sign_bit() - 1; }
    constexpr std::uint32_t largest_finite_code() const {
        switch (beyond) {
        case BeyondFinite::ieee:
            return top_exponent() - 1;
        case BeyondFinite::nan_only:
            return sign_bit() - 2;
        case BeyondFinite::nothing:
            break;
        }
        return sign_bit() - 1;
    }
};

inline constexpr NumberFormat kBFloat16{8, 7, BeyondFinite::ieee};
inline constexpr NumberFormat kFloat16{5, 10, BeyondFinite::ieee};
inline constexpr NumberFormat kFloat32{8, 23, BeyondFinite::ieee};
inline constexpr NumberFormat kE4M3{4, 3, BeyondFinite::nan_only}; // ±448
inline constexpr NumberFormat kE2M1{2, 1, BeyondFinite::nothing};  // ±0, 0.5, 1, 1.5, 2, 3, 4, 6

constexpr NumberFormat format_of(DType dtype) {
    switch (dtype) {
    case DType::bfloat16:
        return kBFloat16;
    case DType::float16:
        return kFloat16;
    case DType::float32:
        break;
    }
    return kFloat32;
}

namespace detail {
/// 2^exponent for the exponents of normal doubles.
constexpr double power_of_two(int exponent) {
    return std::bit_cast<double>(static_cast<std::uint64_t>(exponent + 1023) << 52);
}

/// To the nearest integer, ties to even; 0 ≤ x < 2^32.
constexpr std::uint32_t nearest_integer(double x) {
    const auto below = static_cast<std::uint32_t>(x);
    const double rest = x - below;
    return below + (rest > 0.5 || (rest == 0.5 && below % 2 == 1) ? 1u : 0u);
}
} // namespace detail

/// The value of a code; bits above the format's are ignored.
constexpr double decode(NumberFormat format, std::uint32_t code) {
    const double sign = code & format.sign_bit() ? -1.0 : 1.0;
    const std::uint32_t magnitude = code & (format.sign_bit() - 1);
    if (magnitude > format.largest_finite_code()) {
        const bool infinite = format.beyond == BeyondFinite::ieee && magnitude == format.top_exponent();
        return sign * (infinite ? std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN());
    }
    const std::uint32_t implicit_one = 1u << format.mantissa_bits;
    const int exponent = static_cast<int>(magnitude >> format.mantissa_bits);
    const std::uint32_t fraction = magnitude & (implicit_one - 1);
    const std::uint32_t steps = exponent == 0 ? fraction : fraction + implicit_one;
    const int step_exponent = (exponent == 0 ? 1 : exponent) - format.bias() - format.mantissa_bits;
    return sign * steps * detail::power_of_two(step_exponent);
}

/// The code nearest to x, ties to even. Too large: infinity, or the largest finite value in formats that have none.
/// NaN: the format's positive NaN; in e2m1, which has none, +6 as in CUDA.
constexpr std::uint32_t encode(NumberFormat format, double x) {
    if (x != x) return format.nan_code();
    const auto bits = std::bit_cast<std::uint64_t>(x);
    const std::uint32_t sign = bits >> 63 ? format.sign_bit() : 0;
    const double magnitude = x < 0 ? -x : x;

    const std::uint32_t largest = format.largest_finite_code();
    const std::uint32_t too_large = format.beyond == BeyondFinite::ieee ? format.top_exponent() : largest;
    if (magnitude >= 2 * decode(format, largest)) return sign | too_large;

    // Count in steps of the binade that x lies in. The exponent field is added one too low: the implicit one in
    // `steps`, and a carry out of the rounding, bring it up.
    const int exponent = static_cast<int>(bits >> 52 & 0x7FF) - 1023;
    const int lowest = 1 - format.bias();
    const int binade = exponent < lowest ? lowest : exponent;
    const std::uint32_t steps =
        detail::nearest_integer(magnitude * detail::power_of_two(format.mantissa_bits - binade));
    const std::uint32_t code = (static_cast<std::uint32_t>(binade - lowest) << format.mantissa_bits) + steps;
    return sign | (code > largest ? too_large : code);
}

/// x rounded once to the format.
constexpr double rounded(NumberFormat format, double x) { return decode(format, encode(format, x)); }
constexpr double rounded(DType dtype, double x) { return rounded(format_of(dtype), x); }

} // namespace crossover
