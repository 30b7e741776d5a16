// The contract of moe_dispatch and moe_combine on the emulated machine: float64, the bits of gathering first, any
// split. tests/gpu/moe_test.cu asks the same of GPUs, with larger shapes.

#include "tests/emulation/emulated_moe.hpp"

#include <doctest/doctest.h>

#include <random>

using namespace crossover;
using namespace crossover::testing;

namespace {

/// Runs the call on a world of its own; every rank must have what gathering and quantizing gives, padding untouched.
void check_dispatch(const MoeDispatch& shape, int size, const MoeLaunch& launch, std::uint64_t seed) {
    INFO(describe(shape, size) << " ctas " << launch.ctas << " threads " << launch.threads << " seed " << seed);
    DispatchTensors tensors(shape, size, seed);
    EmulatedWorld world(size, {.seed = seed});
    tensors.enqueue(world, launch);
    world.machine.run();
    if (const auto timeout = world.timeout()) FAIL(to_string(*timeout));
    tensors.check_against_reference();
    const auto expected = tensors.gathered_then_quantized();
    int wrong = 0;
    for (const auto& of_rank : tensors.ranks) wrong += of_rank != expected;
    CHECK(wrong == 0);
}

void check_combine(CombineTensors& tensors, const MoeLaunch& launch, std::uint64_t seed,
                   std::size_t workspace = 2 << 20) {
    const auto size = static_cast<int>(tensors.ranks.size());
    INFO(describe(tensors.shape, size) << " ctas " << launch.ctas << " threads " << launch.threads << " seed " << seed);
    EmulatedWorld world(size, {.seed = seed}, workspace);
    tensors.enqueue(world, launch);
    world.machine.run();
    if (const auto timeout = world.timeout()) FAIL(to_string(*timeout));
    CHECK(tensors.wrong() == 0);
}

} // namespace

TEST_CASE("dispatch: every dtype, quant mode, layout and split gives the bits of gather, then quantize") {
    std::uint64_t seed = 0;
    for (const int size : {2, 4, 8})
        for (const TokensPerRank& tokens : splits(size, 3))
            for (const auto& dtype : kDTypes)
                for (const auto& quant : kQuants) {
                    if (++seed % (size == 8 ? 3 : 1) != 0) continue;
                    const MoeDispatch shape{.dtype = dtype.value,
                                            .quant = quant.value,
                                            .scale_layout = seed % 2 ? ScaleLayout::swizzled : ScaleLayout::linear,
                                            .hidden_dim = 80, // no power of two, warps that span rows
                                            .tokens = tokens};
                    check_dispatch(shape, size, {.ctas = 2, .threads = 32}, seed);
                }
}

TEST_CASE("dispatch: tiles of the swizzled layout that ranks share, and many rounds of the grid") {
    for (const Quant quant : {Quant::none, Quant::fp4}) {
        const MoeDispatch shape{.quant = quant, .hidden_dim = 272, .tokens = {100, 31, 1, 40}};
        check_dispatch(shape, 4, {.ctas = 3, .threads = 64}, 3);
        check_dispatch(shape, 4, {.ctas = 1, .threads = 32, .pdl = false}, 4);
    }
}

TEST_CASE("dispatch: rows dealt in tiles, in every dtype, by any number of warps, from any first row") {
    std::uint64_t seed = 50;
    for (const auto& dtype : kDTypes)
        for (const int threads : {32, 96, 256, 512})
            for (const TokensPerRank& tokens : {TokensPerRank{0, 32}, TokensPerRank{129, 3}, TokensPerRank{37, 64}}) {
                const MoeDispatch shape{
                    .dtype = dtype.value, .quant = Quant::fp4, .hidden_dim = 208, .tokens = tokens}; // 13 blocks
                CHECK(deals_in_tiles(shape));
                check_dispatch(shape, 2, {.ctas = 2, .threads = threads}, ++seed);
            }
}

TEST_CASE("dispatch and combine as launched by default") {
    for (const std::int64_t tokens : {1, 6})
        for (const std::int64_t hidden : {16, 1024, 2880}) {
            const EmulatedWorld world(4);
            MoeDispatch dispatch{.quant = Quant::fp8, .hidden_dim = hidden, .tokens = {tokens, 0, 2, 1}};
            check_dispatch(dispatch, 4, default_launch(dispatch, world.workspaces[0], 4), 5);
            dispatch.quant = Quant::fp4;
            check_dispatch(dispatch, 4, default_launch(dispatch, world.workspaces[0], 4), 6);
            dispatch.tokens[2] = 33;
            if (hidden <= 1024) check_dispatch(dispatch, 4, default_launch(dispatch, world.workspaces[0], 4), 7);
            dispatch.tokens[2] = 2;
            const MoeCombine combine{.hidden_dim = hidden, .tokens = dispatch.tokens};
            CombineTensors tensors(combine, 4, 6);
            check_combine(tensors, default_launch(tensors.call_of(0), world.workspaces[0], 4), 6);
        }
}

TEST_CASE("default launches on 132 multiprocessors: rows of 7168, four ranks") {
    Workspace workspace;
    workspace.peers.world_size = 4;
    workspace.bytes = std::size_t{64} << 20;
    const auto is = [&](const auto& call, const MoeLaunch& expected) {
        const MoeLaunch launch = default_launch(call, workspace, 132);
        INFO(describe(call, 4) << ": ctas " << launch.ctas << " threads " << launch.threads << " relays "
                               << launch.relays);
        CHECK(launch == expected);
    };
    const auto combine = [](Distribution distribution, std::int64_t mean) {
        return MoeCombine{.hidden_dim = 7168, .tokens = tokens_of(distribution, 4, mean)};
    };
    is(combine(Distribution::even, 16), {.ctas = 112, .threads = 128});  // 448 units, one each
    is(combine(Distribution::even, 256), {.ctas = 132, .threads = 448}); // 7168 units in four turns of 1848
    is(combine(Distribution::even, 512), {.ctas = 132, .threads = 512});
    is(combine(Distribution::one_hot, 16), {.ctas = 128, .threads = 448});
    is(combine(Distribution::one_hot, 32), {.ctas = 75, .threads = 128, .relays = true}); // 1195 units: a third
    is(combine(Distribution::one_hot, 64), {.ctas = 132, .threads = 128, .relays = true});
    is(combine(Distribution::one_hot, 256), {.ctas = 132, .threads = 288, .relays = true});
    is(combine(Distribution::one_hot, 4096), {.ctas = 132, .threads = 352, .relays = true});
    CHECK_FALSE(default_launch(combine(Distribution::zipf, 32), workspace, 132).relays);
    CHECK(default_launch(combine(Distribution::zipf, 64), workspace, 132).relays);

    const auto dispatch = [](Distribution distribution, std::int64_t mean) {
        return MoeDispatch{.quant = Quant::fp4, .hidden_dim = 7168, .tokens = tokens_of(distribution, 4, mean)};
    };
    is(dispatch(Distribution::even, 4096), {.ctas = 132, .threads = 256});
    is(dispatch(Distribution::zipf, 256), {.ctas = 132, .threads = 256});
    is(dispatch(Distribution::one_hot, 128), {.ctas = 132, .threads = 256, .relays = true});
    is(dispatch(Distribution::one_hot, 1024), {.ctas = 132, .threads = 512, .relays = true});
}

TEST_CASE("combine: every dtype and split gives the sum in rank order, rounded once") {
    std::uint64_t seed = 100;
    for (const int size : {2, 4, 8})
        for (const TokensPerRank& tokens : splits(size, 3))
            for (const auto& dtype : kDTypes) {
                if (++seed % (size == 8 ? 2 : 1) != 0) continue;
                CombineTensors tensors({.dtype = dtype.value, .hidden_dim = 80, .tokens = tokens}, size, seed);
                check_combine(tensors, {.ctas = 2, .threads = 64}, seed);
                check_combine(tensors, {.ctas = 2, .threads = 64, .relays = true}, seed);
            }
}

TEST_CASE("combine: rows that do not fit into the ring travel on credit") {
    // Two stages and more, one channel and more, down to the smallest workspace that unsupported() allows.
    for (const int size : {2, 4, 8})
        for (const TokensPerRank& tokens : splits(size, size == 8 ? 4 : 8))
            for (const std::size_t stages : {2, 3}) {
                for (const bool relays : {false, true}) {
                    const MoeLaunch launch{.ctas = 1, .threads = 64, .relays = relays};
                    const std::size_t rings = relays ? 2 : 1, channel = stages * rings * (size - 1) + 2; // of two
                    const std::size_t generation =
                        device::kFlagsBytes * (1 + 2 * rings) + 2 * channel * device::kUnitBytes;
                    CombineTensors tensors({.hidden_dim = 512, .tokens = tokens}, size, stages);
                    check_combine(tensors, launch, stages + tokens[0],
                                  kControlBytes + 2 * (generation + device::kUnitBytes));
                }
            }
}

TEST_CASE("combine: bits do not depend on the launch") {
    std::minstd_rand random(9);
    for (const int size : {2, 4}) {
        CombineTensors tensors({.hidden_dim = 1160, .tokens = {5, 0, 9, 2}}, size, 7);
        if (size == 2) tensors = CombineTensors({.hidden_dim = 1160, .tokens = {3, 14}}, size, 7);
        for (const int ctas : {1, 2, 5})
            for (const int threads : {32, 64, 128})
                for (const bool relays : {false, true})
                    check_combine(tensors,
                                  {.ctas = ctas, .threads = threads, .pdl = random() % 2 == 0, .relays = relays},
                                  random());
    }
}

TEST_CASE("combine: NaNs with every payload, infinities, zeros and subnormals pass through the slots") {
    for (const auto& dtype : kDTypes) {
        CombineTensors tensors({.dtype = dtype.value, .hidden_dim = 512, .tokens = {4, 12}}, 2, 1);
        const std::size_t size = element_size(dtype.value);
        for (std::size_t rank = 0; rank < 2; ++rank)
            for (std::size_t i = 0; i < tensors.inputs[rank].size() / size; ++i) {
                auto code = static_cast<std::uint32_t>(i * 40503 + rank * 7) & 0xFFFFu;
                if (dtype.value == DType::float32) code = code << 16 | (code & 0xFFu);
                if (i % 64 < 2) code = 0xFFFFFFFFu; // the word of an empty slot
                std::memcpy(tensors.inputs[rank].data() + i * size, &code, size);
            }
        check_combine(tensors, {.ctas = 2, .threads = 64}, 11);
        CombineTensors four({.dtype = dtype.value, .hidden_dim = 512, .tokens = {4, 12, 0, 0}}, 4, 1);
        for (std::size_t rank = 0; rank < 4; ++rank) four.inputs[rank] = tensors.inputs[rank % 2];
        check_combine(four, {.ctas = 2, .threads = 64, .relays = true}, 12);
    }
}

TEST_CASE("scales that were gathered in the linear layout, swizzled") {
    const std::int64_t rows = 150, blocks = 18;
    Bytes linear(static_cast<std::size_t>(rows * blocks));
    for (std::size_t i = 0; i < linear.size(); ++i) linear[i] = static_cast<std::byte>(i * 7 % 251);
    Bytes swizzled(scale_bytes(ScaleLayout::swizzled, rows, blocks), kPoison), expected = swizzled;
    for (std::int64_t row = 0; row < rows; ++row)
        for (std::int64_t block = 0; block < blocks; ++block)
            expected[scale_offset(ScaleLayout::swizzled, row, block, blocks)] =
                linear[scale_offset(ScaleLayout::linear, row, block, blocks)];
    EmulatedWorld world(1);
    unfused::swizzle_scales(linear.data(), swizzled.data(), rows, blocks, true, &world.streams[0]);
    world.machine.run();
    CHECK(swizzled == expected);
}

TEST_CASE("what cannot run is refused before any launch, with the reason") {
    EmulatedWorld world(2);
    const Workspace& workspace = world.workspaces[0];
    DispatchTensors rows({.quant = Quant::fp4, .hidden_dim = 64, .tokens = {1, 2}}, 2, 1);
    CombineTensors sums({.hidden_dim = 64, .tokens = {1, 2}}, 2, 1);
    const MoeDispatch dispatch = rows.call_of(0, rows);
    const MoeCombine combine = sums.call_of(0);
    const auto reason = [&](auto call, auto change, MoeLaunch launch = {.ctas = 1, .threads = 32}) {
        change(call);
        return unsupported(call, workspace, launch).value_or("");
    };
    const auto nothing = [](auto&) {};
    const auto contains = [](const std::string& text, const char* part) {
        INFO(text);
        CHECK(text.find(part) != std::string::npos);
    };
    CHECK(reason(dispatch, nothing) == "");
    CHECK(reason(combine, nothing) == "");
    contains(reason(dispatch, [](auto& call) { call.hidden_dim = 72; }), "multiple of 16");
    contains(reason(combine, [](auto& call) { call.hidden_dim = 68; }), "multiple of 8");
    contains(reason(dispatch, [](auto& call) { call.tokens[2] = 1; }), "rank 2 of 2 has 1 tokens");
    contains(reason(combine, [](auto& call) { call.tokens[1] = -1; }), "has -1 tokens");
    contains(reason(dispatch, [](auto& call) { call.output[1] = nullptr; }), "rank 1 is null");
    contains(reason(dispatch, [](auto& call) { call.output_scales[1] = nullptr; }), "rank 1 is null");
    const auto misalign = [](auto& call) {
        call.output_scales[1] = static_cast<std::byte*>(call.output_scales[1]) + 2;
    };
    contains(reason(dispatch, misalign), "rank 1 are not aligned to 4 bytes");
    CHECK(reason(dispatch, [&](auto& call) { misalign(call), call.scale_layout = ScaleLayout::linear; }) == "");
    contains(reason(dispatch, [](auto& call) { call.quant_scale = nullptr; }), "quant_scale is null");
    contains(reason(dispatch, [](auto& call) { call.input = nullptr; }), "input is null");
    contains(reason(combine, [](auto& call) { call.output = nullptr; }), "output is null");
    contains(reason(combine, [](auto& call) { call.input = static_cast<const std::byte*>(call.input) + 8; }),
             "aligned");
    contains(reason(dispatch, [](auto& call) { call.tokens = {1 << 30, 1 << 30}; }), "32 GiB");
    contains(reason(dispatch, nothing, {.ctas = 1, .threads = 33}), "threads 33");
    contains(reason(combine, nothing, {.ctas = 0, .threads = 32}), "ctas 0");
    contains(reason(dispatch, nothing, {.ctas = 30000, .threads = 32}), "workspace");
    contains(reason(combine,
                    [](auto& call) {
                        call.tokens = {100000, 0};
                    },
                    {.ctas = 132, .threads = 512}),
             "workspace");
    CHECK_THROWS_AS(moe_combine(combine, workspace, {.ctas = 1, .threads = 33}, nullptr), std::invalid_argument);
    for (const int world_size : {1, 9}) {
        Workspace other = workspace;
        other.peers.world_size = world_size;
        contains(unsupported(combine, other, default_launch(combine, other, 132)).value_or(""), "is not 2, 4 or 8");
    }
    // A rank without tokens needs no input to dispatch and no output to combine into.
    CHECK(reason(dispatch, [](auto& call) { call.tokens = {0, 2}, call.input = nullptr; }) == "");
    CHECK(reason(combine, [](auto& call) { call.tokens = {0, 2}, call.output = nullptr; }) == "");
}
