// The kernels' conversions and addresses that are plain arithmetic, against the definitions.

#include "kernels/device/quantize.cuh"
#include "kernels/number_formats.hpp"
#include "kernels/reference.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

using namespace crossover;

TEST_CASE("e2m1 without a conversion instruction: every code, every tie and its neighbours, and what saturates") {
    const auto check = [](float x) {
        for (const float value : {x, -x, std::nextafter(x, 10.0f), std::nextafter(x, -10.0f)}) {
            CAPTURE(value);
            CHECK(device::e2m1_pair(value, 0.0f) == encode(kE2M1, double{value}));
            CHECK(device::e2m1_pair(0.0f, value) == encode(kE2M1, double{value}) << 4);
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
    CHECK(device::e2m1_pair(std::numeric_limits<float>::quiet_NaN(), 0.0f) == 7); // +6
}

TEST_CASE("fp4 scales lie where the reference has them") {
    for (const unsigned blocks : {1u, 4u, 5u, 21u, 4096u})
        for (const unsigned row : {0u, 1u, 31u, 32u, 127u, 128u, 300u, (1u << 30) - 1})
            for (unsigned block = 0; block < blocks; ++block)
                for (const ScaleLayout layout : {ScaleLayout::swizzled, ScaleLayout::linear})
                    CHECK(device::scale_offset(row, block, blocks, layout == ScaleLayout::swizzled) ==
                          scale_offset(layout, row, block, blocks));
}
