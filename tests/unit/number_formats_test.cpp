#include "kernels/number_formats.hpp"

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <doctest/doctest.h>
#include <limits>
#include <random>
#include <vector>

using namespace crossover;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

struct NamedFormat {
    const char* name;
    NumberFormat format;
    double largest, smallest;
};
const std::array kSmallFormats{NamedFormat{"bfloat16", kBFloat16, 0x1.FEp127, 0x1p-133},
                               NamedFormat{"float16", kFloat16, 65504, 0x1p-24},
                               NamedFormat{"e4m3", kE4M3, 448, 0x1p-9}, NamedFormat{"e2m1", kE2M1, 6, 0.5}};

/// -0 and +0 differ.
bool same(double a, double b) { return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b); }

/// The finite values from 0 upwards, by code.
std::vector<double> magnitudes(NumberFormat format) {
    std::vector<double> values;
    for (std::uint32_t code = 0; code <= format.largest_finite_code(); ++code) values.push_back(decode(format, code));
    return values;
}

} // namespace

TEST_CASE("formats are usable in constant expressions") {
    static_assert(encode(kE4M3, 448) == 0x7E);
    static_assert(decode(kE2M1, 0xF) == -6);
    static_assert(rounded(kBFloat16, 1.0 / 3) == 0.333984375);
    static_assert(rounded(DType::float16, 65504) == 65504);
    CHECK(encode(kE4M3, 0.1) == 0x1D);
    CHECK(decode(kE4M3, 0x1D) == 0.1015625);
}

TEST_CASE("every code comes back from its value") {
    for (const NamedFormat& named : kSmallFormats) {
        CAPTURE(named.name);
        const NumberFormat format = named.format;
        int wrong = 0, nans = 0, infinities = 0;
        for (std::uint32_t code = 0; code < 2 * format.sign_bit(); ++code) {
            const double value = decode(format, code);
            if (std::isnan(value)) {
                ++nans;
                wrong += encode(format, value) != format.nan_code();
            } else {
                infinities += std::isinf(value);
                // Formats without infinity never decode to it, so this holds for all codes of all formats.
                wrong += encode(format, value) != code || std::signbit(value) != ((code & format.sign_bit()) != 0);
            }
        }
        CHECK(wrong == 0);
        CHECK(nans == (format.beyond == BeyondFinite::ieee       ? 2 * ((1 << format.mantissa_bits) - 1)
                       : format.beyond == BeyondFinite::nan_only ? 2
                                                                 : 0));
        CHECK(infinities == (format.beyond == BeyondFinite::ieee ? 2 : 0));
        CHECK(decode(format, format.largest_finite_code()) == named.largest);
        CHECK(decode(format, 1) == named.smallest);
    }
}

TEST_CASE("the values of the small formats, as their specifications list them") {
    CHECK(magnitudes(kE2M1) == std::vector<double>{0, 0.5, 1, 1.5, 2, 3, 4, 6});
    CHECK(decode(kE4M3, 0x38) == 1);
    CHECK(decode(kE4M3, 0x07) == 7 * 0x1p-9); // largest subnormal
    CHECK(decode(kE4M3, 0x08) == 0x1p-6);     // smallest normal
    CHECK(decode(kE4M3, 0x78) == 256);        // the top exponent is used for numbers
    CHECK(std::isnan(decode(kE4M3, 0x7F)));
    CHECK(std::isnan(decode(kE4M3, 0xFF)));
    CHECK(decode(kFloat16, 0x3555) == 0x1.554p-2);
    CHECK(decode(kBFloat16, 0x3F80) == 1);
    CHECK(decode(kBFloat16, 0x0080) == 0x1p-126);
}

TEST_CASE("values between two codes go to the nearer one, ties to the even code") {
    for (const NamedFormat& named : kSmallFormats) {
        CAPTURE(named.name);
        const NumberFormat format = named.format;
        const std::vector<double> values = magnitudes(format);
        int wrong = 0;
        for (std::uint32_t below = 0; below + 1 < values.size(); ++below) {
            const std::uint32_t above = below + 1;
            const double middle = (values[below] + values[above]) / 2; // exact in double
            const std::uint32_t even = below % 2 == 0 ? below : above;
            for (const double sign : {1.0, -1.0}) {
                const std::uint32_t bit = sign < 0 ? format.sign_bit() : 0;
                wrong += encode(format, sign * middle) != (even | bit);
                // One unit of the double, far below what fp32 can tell: a second rounding would lose it.
                wrong += encode(format, sign * std::nextafter(middle, 0)) != (below | bit);
                wrong += encode(format, sign * std::nextafter(middle, kInfinity)) != (above | bit);
                wrong += encode(format, sign * std::nextafter(values[below], kInfinity)) != (below | bit);
                wrong += encode(format, sign * std::nextafter(values[above], 0)) != (above | bit);
            }
        }
        CHECK(wrong == 0);
    }
}

TEST_CASE("too large: infinity in IEEE formats from half a step on, saturation in the others") {
    CHECK(encode(kFloat16, std::nextafter(65520.0, 0)) == 0x7BFF);
    CHECK(encode(kFloat16, 65520) == 0x7C00);
    CHECK(encode(kFloat16, -65520) == 0xFC00);
    CHECK(encode(kBFloat16, std::nextafter(0x1.FFp127, 0)) == 0x7F7F);
    CHECK(encode(kBFloat16, 0x1.FFp127) == 0x7F80);
    for (const double huge : {449.0, 464.0, 479.9, 480.0, 896.0, 1e5, std::numeric_limits<double>::max(), kInfinity}) {
        CAPTURE(huge);
        CHECK(encode(kE4M3, huge) == 0x7E);
        CHECK(encode(kE4M3, -huge) == 0xFE);
        CHECK(encode(kE2M1, huge) == 0x7);
        CHECK(encode(kE2M1, -huge) == 0xF);
    }
    for (const double large : {6.5, 7.0, 7.9, 8.0, 11.9, 12.0}) CHECK(encode(kE2M1, large) == 0x7);
    for (const NumberFormat format : {kBFloat16, kFloat16, kFloat32}) {
        CHECK(encode(format, kInfinity) == format.top_exponent());
        CHECK(encode(format, -kInfinity) == (format.top_exponent() | format.sign_bit()));
        CHECK(encode(format, std::numeric_limits<double>::max()) == format.top_exponent());
    }
}

TEST_CASE("too small: half the smallest subnormal is a tie with zero; the sign stays") {
    for (const NamedFormat& named : kSmallFormats) {
        CAPTURE(named.name);
        const NumberFormat format = named.format;
        CHECK(encode(format, named.smallest / 2) == 0);
        CHECK(encode(format, -named.smallest / 2) == format.sign_bit());
        CHECK(encode(format, std::nextafter(named.smallest / 2, 1)) == 1);
        CHECK(encode(format, std::numeric_limits<double>::denorm_min()) == 0);
        CHECK(encode(format, -std::numeric_limits<double>::denorm_min()) == format.sign_bit());
        CHECK(encode(format, 0.0) == 0);
        CHECK(encode(format, -0.0) == format.sign_bit());
        CHECK(same(rounded(format, -0.0), -0.0));
    }
}

TEST_CASE("NaN of either sign and any payload becomes CUDA's code") {
    for (const std::uint64_t bits : {0x7FF8000000000000ull, 0xFFF8000000000000ull, 0x7FF0000000000001ull,
                                     0xFFF0000000000001ull, 0x7FFFFFFFFFFFFFFFull, 0xFFFFFFFFFFFFFFFFull}) {
        const double nan = std::bit_cast<double>(bits);
        CHECK(encode(kBFloat16, nan) == 0x7FFF);
        CHECK(encode(kFloat16, nan) == 0x7FFF);
        CHECK(encode(kFloat32, nan) == 0x7FFFFFFF);
        CHECK(encode(kE4M3, nan) == 0x7F);
        CHECK(encode(kE2M1, nan) == 0x7); // e2m1 has no NaN: +6
    }
    CHECK(std::isnan(rounded(DType::bfloat16, kNaN)));
}

TEST_CASE("float32 rounds as the compiler's own conversion does") {
    std::mt19937_64 random(7);
    int wrong = 0, tested = 0;
    const auto check = [&](double x) {
        if (std::isnan(x) || std::abs(x) >= 0x1p128) return; // the conversion is undefined there
        ++tested;
        wrong += !same(rounded(DType::float32, x), static_cast<double>(static_cast<float>(x)));
    };
    for (int i = 0; i < 200'000; ++i) {
        check(std::bit_cast<double>(random()));
        // Exponents around those of float, subnormal ones among them, with ties (low 29 bits 0x10000000) and
        // neighbours.
        const std::uint64_t exponent = 1023 - 152 + random() % 280;
        const std::uint64_t bits = (random() & 0x800FFFFFE0000000ull) | exponent << 52;
        for (const std::uint64_t low : {0x0FFFFFFFull, 0x10000000ull, 0x10000001ull})
            check(std::bit_cast<double>(bits | low));
    }
    CHECK(tested > 500'000);
    CHECK(wrong == 0);
}

#if defined(__FLT16_MANT_DIG__) && !defined(__clang__)
TEST_CASE("float16 agrees with the compiler's _Float16") {
    using Half = _Float16;
    int wrong = 0;
    for (std::uint32_t code = 0; code < 0x10000; ++code) {
        const double value = static_cast<double>(std::bit_cast<Half>(static_cast<std::uint16_t>(code)));
        wrong += std::isnan(value) ? !std::isnan(decode(kFloat16, code)) : !same(value, decode(kFloat16, code));
    }
    CHECK(wrong == 0);

    std::mt19937_64 random(11);
    for (int i = 0; i < 500'000; ++i) {
        const std::uint64_t exponent = 1023 - 28 + random() % 48;
        std::uint64_t bits = (random() & 0x800FFFFFFFFFFFFFull) | exponent << 52;
        if (i % 2) bits &= ~((1ull << 41) - 1); // 11 bits of mantissa: exact or a tie in normal numbers
        const double x = std::bit_cast<double>(bits);
        wrong += std::bit_cast<std::uint16_t>(static_cast<Half>(x)) != encode(kFloat16, x);
    }
    CHECK(wrong == 0);
}
#endif
