// The C API's MoE operations on an emulated machine: they hand on every field, and say what cannot be run.

#include "kernels/c_api.hpp"
#include "tests/measure/moe_world.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace crossover;
using testing::MoeWorld;

namespace {

crossover_workspace workspace_of(const MoeWorld& world, std::size_t rank) {
    crossover_workspace made;
    made.workspace = world.emulated.workspaces[rank];
    made.multiprocessors = 2; // as MoeWorld::run() says
    made.compute_capability_major = 9;
    return made;
}

crossover_moe_dispatch_call dispatch_of(const MoeWorld& world, std::size_t rank) {
    const CallTensors& tensors = world.tensors[rank];
    crossover_moe_dispatch_call call{};
    call.dtype = static_cast<crossover_dtype>(tensors.call.dtype);
    call.quant = static_cast<crossover_quant>(tensors.call.quant);
    call.scale_layout = static_cast<crossover_scale_layout>(tensors.call.scale_layout);
    call.hidden_dim = tensors.call.hidden_dim;
    std::ranges::copy(tensors.moe.tokens, call.tokens);
    call.input = tensors.call.input;
    std::ranges::copy(tensors.moe.outputs, call.output);
    std::ranges::copy(tensors.moe.output_scales, call.output_scales);
    call.quant_scale = tensors.call.quant_scale;
    return call;
}

crossover_moe_combine_call combine_of(const MoeWorld& world, std::size_t rank) {
    const CallTensors& tensors = world.tensors[rank];
    crossover_moe_combine_call call{};
    call.dtype = static_cast<crossover_dtype>(tensors.call.dtype);
    call.hidden_dim = tensors.call.hidden_dim;
    std::ranges::copy(tensors.moe.tokens, call.tokens);
    call.input = tensors.call.input;
    call.output = tensors.call.output;
    return call;
}

/// The operation of the world's pattern, by the C API, on all ranks.
void run_c_api(MoeWorld& world, const crossover_moe_launch* launch) {
    for (std::size_t rank = 0; rank < world.ranks.size(); ++rank) {
        const crossover_workspace workspace = workspace_of(world, rank);
        cudaStream_t const stream = &world.emulated.streams[rank];
        crossover_status status;
        if (is_moe_dispatch(world.tensors[rank].call.pattern)) {
            const crossover_moe_dispatch_call call = dispatch_of(world, rank);
            status = crossover_moe_dispatch(&workspace, &call, launch, stream);
        } else {
            const crossover_moe_combine_call call = combine_of(world, rank);
            status = crossover_moe_combine(&workspace, &call, launch, stream);
        }
        INFO(c_api::last_error);
        REQUIRE(status == CROSSOVER_OK);
    }
    world.emulated.machine.run();
    REQUIRE_FALSE(world.emulated.timeout().has_value());
}

} // namespace

TEST_CASE("dispatch and combine give what those of C++ give, by default launches and by others") {
    std::uint64_t seed = 0;
    for (const int size : {2, 4})
        for (const TokensPerRank& tokens : testing::splits(size, 3))
            for (const Pattern pattern : {Pattern::moe_dispatch_even, Pattern::moe_combine_even})
                for (const auto& quant : kQuants) {
                    if (!is_moe_dispatch(pattern) && quant.value != Quant::none) continue;
                    ++seed;
                    const DType dtype = kDTypes[seed % kDTypes.size()].value;
                    const ScaleLayout layout = seed / 4 % 2 ? ScaleLayout::swizzled : ScaleLayout::linear;
                    const crossover_moe_launch other{.ctas = 3, .threads = 64, .pdl = 0, .relays = 1};
                    const auto make = [&] {
                        return MoeWorld(pattern, dtype, quant.value, layout, 96, tokens, size, seed);
                    };
                    MoeWorld expected = make(), world = make();
                    REQUIRE(expected.run(algorithm::push, 0));
                    run_c_api(world, seed % 5 == 0 ? &other : nullptr);
                    for (std::size_t rank = 0; rank < world.ranks.size(); ++rank) {
                        CHECK(world.ranks[rank].output == expected.ranks[rank].output);
                        CHECK(world.ranks[rank].scales == expected.ranks[rank].scales);
                    }
                }
}

TEST_CASE("default launches are those of C++") {
    const auto check = [](const crossover_moe_launch& got, const MoeLaunch& expected) {
        CHECK(got.ctas == expected.ctas);
        CHECK(got.threads == expected.threads);
        CHECK(got.pdl == 1);
        CHECK(got.relays == (expected.relays ? 1 : 0));
    };
    crossover_moe_launch launch{};
    const TokensPerRank tokens{5, 300, 0, 0};
    const MoeWorld dispatch(Pattern::moe_dispatch_even, DType::bfloat16, Quant::fp4, ScaleLayout::linear, 4096, tokens,
                            4, 1);
    const crossover_workspace of_dispatch = workspace_of(dispatch, 1);
    const auto out = dispatch_of(dispatch, 1);
    REQUIRE(crossover_moe_dispatch_default_launch(&of_dispatch, &out, &launch) == CROSSOVER_OK);
    check(launch, default_launch(MoeDispatch{.dtype = DType::bfloat16,
                                             .quant = Quant::fp4,
                                             .scale_layout = ScaleLayout::linear,
                                             .hidden_dim = 4096,
                                             .tokens = tokens},
                                 of_dispatch.workspace, 2));
    const MoeWorld combine(Pattern::moe_combine_even, DType::bfloat16, Quant::none, ScaleLayout::linear, 4096, tokens,
                           4, 1);
    const crossover_workspace of_combine = workspace_of(combine, 1);
    const auto back = combine_of(combine, 1);
    REQUIRE(crossover_moe_combine_default_launch(&of_combine, &back, &launch) == CROSSOVER_OK);
    check(launch, default_launch(MoeCombine{.dtype = DType::bfloat16, .hidden_dim = 4096, .tokens = tokens},
                                 of_combine.workspace, 2));
    CHECK(crossover_moe_combine_default_launch(&of_combine, &back, nullptr) == CROSSOVER_INVALID);
    CHECK(c_api::last_error == "launch is null");
}

TEST_CASE("what cannot be run is said before anything is enqueued") {
    MoeWorld world(Pattern::moe_dispatch_even, DType::bfloat16, Quant::fp8, ScaleLayout::linear, 64, {1, 2}, 2, 1);
    const crossover_workspace workspace = workspace_of(world, 0);
    cudaStream_t const stream = &world.emulated.streams[0];
    const auto status_of = [&](auto change) {
        crossover_moe_dispatch_call call = dispatch_of(world, 0);
        change(call);
        return crossover_moe_dispatch(&workspace, &call, nullptr, stream);
    };
    const auto says = [](const std::string& text) { return c_api::last_error.find(text) != std::string::npos; };
    for (const std::int64_t hidden : {std::int64_t{0}, std::int64_t{-8}, std::int64_t{12}, INT64_MAX - 7}) {
        CHECK(status_of([&](auto& call) { call.hidden_dim = hidden; }) == CROSSOVER_UNSUPPORTED);
        CHECK(says("is not a positive multiple of 8"));
    }
    for (const std::int64_t tokens : {std::int64_t{-1}, INT64_MAX}) {
        CHECK(status_of([&](auto& call) { call.tokens[1] = tokens; }) == CROSSOVER_UNSUPPORTED);
        CHECK(says("rank 1 of 2 has "));
    }
    CHECK(status_of([](auto& call) { call.tokens[2] = 1; }) == CROSSOVER_UNSUPPORTED);
    CHECK(status_of([](auto& call) { call.output[1] = nullptr; }) == CROSSOVER_UNSUPPORTED);
    CHECK(says("of rank 1 is null"));
    CHECK(status_of([](auto& call) { call.dtype = static_cast<crossover_dtype>(3); }) == CROSSOVER_INVALID);
    CHECK(crossover_moe_dispatch(nullptr, nullptr, nullptr, nullptr) == CROSSOVER_INVALID);
    CHECK(crossover_moe_combine(&workspace, nullptr, nullptr, nullptr) == CROSSOVER_INVALID);
    CHECK(says("call is null"));

    crossover_moe_combine_call combine{};
    combine.hidden_dim = -8;
    combine.tokens[0] = 1;
    CHECK(crossover_moe_combine(&workspace, &combine, nullptr, stream) == CROSSOVER_UNSUPPORTED);
}
