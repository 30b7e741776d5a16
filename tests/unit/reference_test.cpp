#include "kernels/input_pattern.hpp"
#include "kernels/reference.hpp"

#include <array>
#include <bit>
#include <cmath>
#include <doctest/doctest.h>
#include <limits>
#include <set>
#include <stdexcept>
#include <vector>

using namespace crossover;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// One row that is reduced and nothing else; by_rank[rank][column].
ReferenceCall reducing(DType dtype, std::vector<std::vector<double>> by_rank) {
    ReferenceCall call;
    call.pattern = Pattern::allreduce;
    call.dtype = dtype;
    call.world_size = static_cast<int>(by_rank.size());
    call.hidden_dim = static_cast<std::int64_t>(by_rank.front().size());
    call.input = [by_rank](int rank, std::int64_t, std::int64_t column) {
        return by_rank[static_cast<std::size_t>(rank)][static_cast<std::size_t>(column)];
    };
    return call;
}

/// Two ranks give 1/2 each and eps is 0, so r = 1, rstd = 1 and y = gamma: any y can be had.
ReferenceCall norming(Quant quant, std::vector<double> y) {
    ReferenceCall call;
    call.pattern = Pattern::allreduce_rmsnorm;
    call.dtype = DType::float32;
    call.quant = quant;
    call.world_size = 2;
    call.hidden_dim = static_cast<std::int64_t>(y.size());
    call.eps = 0;
    call.input = [](int, std::int64_t, std::int64_t) { return 0.5; };
    call.gamma = [y](std::int64_t column) { return y[static_cast<std::size_t>(column)]; };
    return call;
}

using Values = std::vector<double>;
using Codes = std::vector<std::uint32_t>;
using Scales = std::vector<std::uint8_t>;

} // namespace

TEST_CASE("the reduced row: a sum that is exactly predictable, rounded once after the residual") {
    ReferenceCall call = reducing(DType::bfloat16, {{1, 2, 256}, {10, 20, 0.5}, {100, 200, 0.5}, {1000, 2000, 0}});
    CHECK(reference_row(call, 0).reduced == Values{1112, 2224, 256}); // 8 bits: steps of 8, 16, 2; 257 is a tie
    CHECK(reference_row(call, 0).output == Values{1112, 2224, 256});

    call.pattern = Pattern::allreduce_residual_rmsnorm;
    call.gamma = [](std::int64_t) { return 1.0; };
    call.residual = [](std::int64_t, std::int64_t) { return 1.0; };
    // 257 + 1 = 258 is exact. Rounding the sum first would give 256 + 1 → 256.
    CHECK(reference_row(call, 0).reduced == Values{1112, 2224, 258});
}

TEST_CASE("tokens, columns and ranks are told apart") {
    ReferenceCall call;
    call.pattern = Pattern::allreduce;
    call.dtype = DType::float32;
    call.world_size = 4;
    call.hidden_dim = 3;
    call.input = [](int rank, std::int64_t token, std::int64_t column) {
        return std::pow(10.0, rank) * static_cast<double>(10 * token + column);
    };
    CHECK(reference_row(call, 7).reduced == Values{1111 * 70, 1111 * 71, 1111 * 72});
}

TEST_CASE("adversarial inputs") {
    const double subnormal = 0x1p-133; // bfloat16's smallest
    const ReferenceRow row = reference_row(
        reducing(DType::bfloat16, {{-0.0, 0.0, kInfinity, kInfinity, kNaN, -subnormal, subnormal, 0x1.FEp127},
                                   {-0.0, -0.0, 1.0, -kInfinity, 1.0, 0.0, subnormal, 0x1.FEp127}}),
        0);
    CHECK(row.codes == Codes{0x8000, 0x0000, 0x7F80, 0x7FFF, 0x7FFF, 0x8001, 0x0002, 0x7F80});
    CHECK(row.reduced[0] == 0);
    CHECK(std::signbit(row.reduced[0]));
    CHECK_FALSE(std::signbit(row.reduced[1]));
    CHECK(row.reduced[5] == -subnormal);
}

TEST_CASE("rank order in fp32 shows where float64 hides it") {
    const double big = 0x1p24;
    const ReferenceCall call =
        reducing(DType::float32, {{big, 1, big, 3e38}, {1, big, -big, 3e38}, {-big, -big, 1, -3e38}});
    CHECK(reference_row(call, 0).reduced == Values{1, 1, 1, rounded(kFloat32, 3e38)});
    const Values in_order = reduced_in_rank_order(call, 0);
    CHECK(in_order == Values{0, 0, 1, kInfinity});

    ReferenceCall with_residual = call;
    with_residual.pattern = Pattern::allreduce_residual_rmsnorm;
    with_residual.gamma = [](std::int64_t) { return 1.0; };
    with_residual.residual = [](std::int64_t, std::int64_t) { return 0x1p-24; };
    CHECK(reduced_in_rank_order(with_residual, 0)[2] == 1.0); // added last, in fp32: a tie, to even
    CHECK(reference_row(with_residual, 0).reduced[2] == 1.0);
}

TEST_CASE("the pattern of inputs reduces to the same bits in fp32 and float64") {
    for (const DType dtype : {DType::bfloat16, DType::float16, DType::float32}) {
        ReferenceCall call;
        call.dtype = dtype;
        call.world_size = 8;
        call.hidden_dim = 512;
        call.input = [](int rank, std::int64_t token, std::int64_t column) {
            return input_value(9, rank, token, column);
        };
        call.residual = [](std::int64_t token, std::int64_t column) { return residual_value(9, token, column); };
        call.gamma = [](std::int64_t column) { return gamma_value(9, column); };
        for (const std::int64_t token : {0, 5, 4095})
            CHECK(reference_row(call, token).reduced == reduced_in_rank_order(call, token));
    }
}

TEST_CASE("the norm: mean square over the row, eps inside the root, the rounded r read") {
    ReferenceCall call = reducing(DType::float32, {{3, 4, 0, 0}});
    call.pattern = Pattern::allreduce_rmsnorm;
    call.gamma = [](std::int64_t column) { return column == 1 ? -2.0 : 1.0; };
    call.eps = 2.75f; // 25/4 + 2.75 = 9
    CHECK(reference_row(call, 0).normed == Values{3 * (1 / 3.0), 4 * (1 / 3.0) * -2, 0, 0});
    CHECK(reference_row(call, 0).output[1] == static_cast<double>(static_cast<float>(-8 / 3.0)));

    // The sum 257 is 256 in bfloat16, so both elements are normed alike.
    ReferenceCall rounding = reducing(DType::bfloat16, {{256, 256}, {1, 0}});
    rounding.pattern = Pattern::allreduce_rmsnorm;
    rounding.gamma = [](std::int64_t) { return 1.0; };
    rounding.eps = 0;
    CHECK(reference_row(rounding, 0).normed == Values{1, 1});

    call.gamma = [](std::int64_t) { return 1.0; };
    call.eps = 1e-6f;
    call.input = [](int, std::int64_t, std::int64_t) { return 0.0; };
    CHECK(reference_row(call, 0).output == Values{0, 0, 0, 0}); // eps keeps a row of zeros finite
    call.input = [](int, std::int64_t, std::int64_t column) { return column == 2 ? kNaN : 1.0; };
    for (const double value : reference_row(call, 0).output) CHECK(std::isnan(value));
    call.input = [](int, std::int64_t, std::int64_t column) { return column == 2 ? kInfinity : 1.0; };
    const Values infinite = reference_row(call, 0).output; // rstd = 0: ∞ · 0 is NaN, the others vanish
    CHECK(std::isnan(infinite[2]));
    CHECK(infinite[0] == 0);
}

TEST_CASE("fp8 by hand: the static scale divides, codes round to even and saturate at 448") {
    // y / 0.5:                                     2     -1     17 tie 18 odd  19 → 20   890    -inf
    ReferenceCall call = norming(Quant::fp8, Values{1.0, -0.5, 8.5, 9.5, 445.0, -kInfinity, 0x1p-11, kNaN});
    call.fp8_scale = 0.5f;
    const ReferenceRow row = reference_row(call, 0);
    CHECK(row.codes == Codes{0x40, 0xB8, 0x58, 0x5A, 0x7E, 0xFE, 0x00, 0x7F});
    CHECK(row.scales.empty());
    Values values = row.output;
    CHECK(std::isnan(values.back()));
    values.pop_back();
    CHECK(values == Values{1, -0.5, 8, 10, 224, -224, 0}); // 2^-11 / 0.5 = 2^-10: half the smallest code, to even
}

TEST_CASE("fp4 by hand") {
    const auto block_of = [](Values values) {
        values.resize(kFp4BlockSize, 0.0);
        return values;
    };
    const auto codes_of = [](Codes codes) {
        codes.resize(kFp4BlockSize, 0u);
        return codes;
    };

    SUBCASE("max 6, global scale 1: block scale 1, ties to even") {
        const ReferenceRow row = reference_row(
            norming(Quant::fp4, block_of({6, -6, 0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5, -5, 0.5, -0.25, 4.99})), 0);
        CHECK(row.scales == Scales{0x38});
        CHECK(row.codes == codes_of({7, 15, 0, 2, 2, 4, 4, 6, 6, 14, 1, 8, 6}));
        CHECK(row.output == block_of({6, -6, 0, 1, 1, 2, 2, 4, 4, -4, 0.5, 0, 4}));
    }
    SUBCASE("each block has its own scale") {
        Values y = block_of({6, 1});
        const Values second = block_of({3, -1}), third = block_of({0x1p-11 * 6, 0x1p-12}), fourth = block_of({0, -0.0});
        y.insert(y.end(), second.begin(), second.end());
        y.insert(y.end(), third.begin(), third.end());
        y.insert(y.end(), fourth.begin(), fourth.end());
        const ReferenceRow row = reference_row(norming(Quant::fp4, y), 0);
        CHECK(row.scales == Scales{0x38, 0x30, 0, 0}); // 1, 1/2, 2^-11 vanishes in e4m3, 0
        CHECK(row.output[0] == 6);
        CHECK(row.output[16] == 3);
        CHECK(row.codes[17] == 0xC); // -1 / 0.5 = -2
        CHECK(row.output[17] == -1);
        for (std::size_t i = 32; i < 64; ++i) CHECK(row.codes[i] == 0);
    }
    SUBCASE("the global scale puts the block scales into e4m3's range, and is taken out again") {
        ReferenceCall call = norming(Quant::fp4, block_of({-12, -3, 1}));
        call.fp4_global_scale = 224; // 448 · 6 / 12
        const ReferenceRow row = reference_row(call, 0);
        CHECK(row.scales == Scales{0x7E});
        CHECK(row.codes == codes_of({0xF, 0xB, 1})); // y · 224 / 448
        CHECK(row.output == block_of({-12, -3, 1}));

        call.fp4_global_scale = 448; // twice too much: scale and codes saturate
        CHECK(reference_row(call, 0).scales == Scales{0x7E});
        CHECK(reference_row(call, 0).codes == codes_of({0xF, 0xD, 2}));
        CHECK(reference_row(call, 0).output == block_of({-6, -3, 1}));
    }
    SUBCASE("the rounded block scale, not the ideal one, divides") {
        // 2.2 / 6 = 0.3667 → e4m3 0.375; 2.2 / 0.375 = 5.87 → 6 → 2.25
        const ReferenceRow row = reference_row(norming(Quant::fp4, block_of({2.2, 0.9})), 0);
        CHECK(row.scales == Scales{0x2C});
        CHECK(row.codes == codes_of({7, 4})); // 0.9 / 0.375 = 2.4 → 2
        CHECK(row.output == block_of({2.25, 0.75}));
    }
}

TEST_CASE("a dispatched row is one rank's input, quantized and not normed") {
    ReferenceCall call = reducing(DType::bfloat16, {{1, 2, 0.5, -1}, {3, 3, 3, 3}});
    CHECK(dispatched_row(call, 0, 0).output == Values{1, 2, 0.5, -1});
    CHECK(dispatched_row(call, 1, 0).output == Values{3, 3, 3, 3});
    call.quant = Quant::fp8;
    call.fp8_scale = 0.5f;
    CHECK(dispatched_row(call, 0, 0).codes == Codes{0x40, 0x48, 0x38, 0xC0}); // 2, 4, 1, -2
    CHECK(dispatched_row(call, 0, 0).output == Values{1, 2, 0.5, -1});
    call.quant = Quant::fp4;
    CHECK_THROWS_AS(dispatched_row(call, 0, 0), std::invalid_argument); // 4 is no multiple of 16

    call = reducing(DType::float32, {Values(16, 3.0)});
    call.quant = Quant::fp4;
    call.fp4_global_scale = 4;
    const ReferenceRow row = dispatched_row(call, 0, 0); // sf = 4 · 3 / 6 = 2, code = e2m1(3 · 4 / 2)
    CHECK(row.scales == Scales{0x40});
    CHECK(row.codes == Codes(16, 7));
    CHECK(row.output == Values(16, 3.0));
}

TEST_CASE("codes in memory") {
    constexpr std::array bytes{std::byte{0x80}, std::byte{0x3F}, std::byte{0x21}, std::byte{0xF0}};
    CHECK(unpack_codes(kBFloat16, bytes) == Codes{0x3F80, 0xF021});
    CHECK(unpack_codes(kFloat32, bytes) == Codes{0xF0213F80});
    CHECK(unpack_codes(kE4M3, bytes) == Codes{0x80, 0x3F, 0x21, 0xF0});
    CHECK(unpack_codes(kE2M1, bytes) == Codes{0, 8, 0xF, 3, 1, 2, 0, 0xF});
    CHECK_THROWS_AS(unpack_codes(kFloat32, std::span(bytes).first(3)), std::invalid_argument);
}

TEST_CASE("swizzled scales: tiles of 128 rows by 4 blocks, a bijection into the padded tensor") {
    const auto at = [](std::int64_t row, std::int64_t block) {
        return scale_offset(ScaleLayout::swizzled, row, block, 6);
    };
    CHECK(at(0, 3) == 3);
    CHECK(at(1, 0) == 16);
    CHECK(at(31, 0) == 496);
    CHECK(at(32, 0) == 4); // rows 32 apart are neighbours
    CHECK(at(127, 3) == 511);
    CHECK(at(0, 4) == 512);                            // next tile to the right: 6 blocks are 2 tiles
    CHECK(at(128, 0) == 2 * 512);                      // next tile down
    CHECK(at(200, 5) == 3 * 512 + 8 * 16 + 2 * 4 + 1); // row 72 of its tile: 72 % 32 = 8, 72 / 32 = 2
    CHECK(scale_offset(ScaleLayout::linear, 200, 5, 6) == 1205);
    CHECK(scale_bytes(ScaleLayout::linear, 201, 6) == 1206);
    CHECK(scale_bytes(ScaleLayout::swizzled, 201, 6) == 2048);
    CHECK(scale_bytes(ScaleLayout::swizzled, 1, 1) == 512);

    std::set<std::size_t> offsets;
    for (int row = 0; row < 256; ++row)
        for (int block = 0; block < 8; ++block) offsets.insert(scale_offset(ScaleLayout::swizzled, row, block, 8));
    CHECK(offsets.size() == 256 * 8);
    CHECK(*offsets.rbegin() + 1 == scale_bytes(ScaleLayout::swizzled, 256, 8));
    // 2^31 bytes and more
    CHECK(scale_offset(ScaleLayout::swizzled, 1 << 23, 0, 512) == (std::size_t{1} << 16) * 128 * 512);
}

TEST_CASE("relative error") {
    RelativeError error;
    CHECK(error.value() == 0);
    error.add(Values{3, 4}, Values{3, 4});
    CHECK(error.value() == 0);
    error.add(Values{0, 13}, Values{0, 12}); // over all rows: 1 / sqrt(25 + 144)
    CHECK(error.value() == doctest::Approx(1.0 / 13));

    const auto of = [](const Values& out, const Values& ref) {
        RelativeError e;
        e.add(out, ref);
        return e.value();
    };
    CHECK(of({kNaN, kInfinity, 1}, {kNaN, kInfinity, 1}) == 0);
    CHECK(of({kNaN, 1}, {1, 1}) == kInfinity);
    CHECK(of({1, 1}, {kNaN, 1}) == kInfinity);
    CHECK(of({kInfinity}, {-kInfinity}) == kInfinity);
    CHECK(of({1}, {0}) == kInfinity);
    CHECK(of({-0.0}, {0.0}) == 0);
    CHECK_THROWS_AS(of({1, 2}, {1}), std::invalid_argument);
}

TEST_CASE("calls without meaning are refused") {
    const ReferenceCall good = norming(Quant::fp4, Values(16, 1.0));
    CHECK_NOTHROW(reference_row(good, 0));
    const auto refused = [&](auto&& change) {
        ReferenceCall call = good;
        change(call);
        CHECK_THROWS_AS(reference_row(call, 0), std::invalid_argument);
    };
    refused([](ReferenceCall& call) { call.world_size = 0; });
    refused([](ReferenceCall& call) { call.hidden_dim = 0; });
    refused([](ReferenceCall& call) { call.hidden_dim = 8; });
    refused([](ReferenceCall& call) { call.input = nullptr; });
    refused([](ReferenceCall& call) { call.gamma = nullptr; });
    refused([](ReferenceCall& call) { call.pattern = Pattern::allreduce; });
    refused([](ReferenceCall& call) { call.pattern = Pattern::allreduce_residual_rmsnorm; });
}
