// The kernels' conversions and addresses that are plain arithmetic, against the definitions.

#include "kernels/device/quantize.cuh"
#include "kernels/number_formats.hpp"
#include "kernels/reference.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

using namespace crossover;

namespace {

template <int Count>
unsigned e2m1_codes(const std::array<float, Count>& values, float factor = 1) {
    float x[Count];
    std::copy(values.begin(), values.end(), x);
    return device::e2m1_codes(x, factor);
}

} // namespace

TEST_CASE("e2m1 without a conversion instruction: every code, every tie and its neighbours, and what saturates") {
    const auto check = [](float x) {
        for (const float value : {x, -x, std::nextafter(x, 10.0f), std::nextafter(x, -10.0f)}) {
            CAPTURE(value);
            CHECK(e2m1_codes<2>({value, 0.0f}) == encode(kE2M1, double{value}));
            CHECK(e2m1_codes<2>({0.0f, value}) == encode(kE2M1, double{value}) << 4);
        }
    };
    for (std::uint32_t code = 0; code < 8; ++code) {
        const double value = decode(kE2M1, code), next = code < 7 ? decode(kE2M1, code + 1) : 8;
        check(static_cast<float>(value));
        check(static_cast<float>((value + next) / 2));
        check(static_cast<float>(value + (next - value) / 3));
    }
    check(std::numeric_limits<float>::denorm_min());
    check(std::numeric_limits<float>::max());
    check(std::numeric_limits<float>::infinity());
    CHECK(e2m1_codes<2>({std::numeric_limits<float>::quiet_NaN(), 0.0f}) == 7); // +6
    for (float value = 0; value < 16; value += 1.0f / 1024) // every binade's steps, and between them
        CHECK(e2m1_codes<2>({value, -value}) == encode(kE2M1, double{value}) + (encode(kE2M1, double{-value}) << 4));
}

TEST_CASE("e2m1 codes lie in the order of their values, each that of a value times the factor") {
    CHECK(e2m1_codes<8>({0.0f, 0.5f, -1.0f, 1.5f, 2.0f, -3.0f, 4.0f, -6.0f}) == 0xF6D43A10u);
    CHECK(e2m1_codes<8>({-6.0f, 6.0f, -6.0f, 6.0f, -6.0f, 6.0f, -6.0f, 6.0f}) == 0x7F7F7F7Fu);
    CHECK(e2m1_codes<4>({1.0f, -2.0f, 3.0f, -6.0f}) == 0xF5C2u);
    CHECK(e2m1_codes<4>({1.0f, -2.0f, 3.0f, -6.0f}, 0.5f) == 0xD3A1u); // 0.5, −1, 1.5, −3
    CHECK(e2m1_codes<4>({1.0f, -2.0f, 3.0f, -0.0f}, 0.0f) == 0x8080u); // zeros keep their signs
}

TEST_CASE("fp4 scales lie where the reference has them") {
    for (const unsigned blocks : {1u, 4u, 5u, 21u, 4096u})
        for (const unsigned row : {0u, 1u, 31u, 32u, 127u, 128u, 300u, (1u << 30) - 1})
            for (unsigned block = 0; block < blocks; ++block)
                for (const ScaleLayout layout : {ScaleLayout::swizzled, ScaleLayout::linear})
                    CHECK(device::scale_offset(row, block, blocks, layout == ScaleLayout::swizzled) ==
                          scale_offset(layout, row, block, blocks));
}
