// Many launches on one workspace: other algorithms, shapes and configurations in turn, chained by programmatic
// dependent launch, with late and missing ranks.

#include "tests/emulation/emulated_world.hpp"

#include <doctest/doctest.h>

#include <deque>
#include <random>

using namespace crossover;
using namespace crossover::testing;

namespace {

struct Step {
    Fused algorithm;
    FusedAllReduce shape;
    LaunchParameters launch;
};

std::vector<Step> steps() {
    std::vector<Step> steps;
    const auto add = [&](Fused algorithm, std::int64_t tokens, std::int64_t hidden, const LaunchParameters& launch) {
        FusedAllReduce shape;
        shape.num_tokens = tokens;
        shape.hidden_dim = hidden;
        if (tokens % 3 == 0) shape.pattern = Pattern::allreduce;
        if (tokens % 3 == 1) shape.quant = Quant::fp8;
        steps.push_back({algorithm, shape, launch});
    };
    for (const Fused algorithm : {Fused::oneshot, Fused::twoshot}) {
        add(algorithm, 1, 512, {.cluster_size = 2, .clusters = 2, .threads = 32});
        add(algorithm, 7, 272, {.cluster_size = 1, .clusters = 1, .threads = 64, .push_ahead = 0, .consume_behind = 0});
        add(algorithm, 12, 64, {.cluster_size = 1, .clusters = 3, .threads = 32, .push_ahead = 2, .consume_behind = 2});
        add(algorithm, 8, 768, {.cluster_size = 4, .clusters = 1, .threads = 64, .pdl = false});
        add(algorithm, 5, 1024, {.cluster_size = 1, .clusters = 2, .threads = 64});
    }
    const auto sharded = [&](Quant quant, std::int64_t tokens, std::int64_t hidden, const LaunchParameters& launch) {
        add(Fused::twoshot, tokens, hidden, launch);
        steps.back().shape.pattern = Pattern::allreduce_residual_rmsnorm_sharded;
        steps.back().shape.quant = quant;
    };
    sharded(Quant::fp8, 1, 768, {.cluster_size = 2, .clusters = 2, .threads = 32});
    sharded(Quant::fp4, 19, 272, {.cluster_size = 2, .clusters = 1, .threads = 64, .push_ahead = 0});
    sharded(Quant::none, 12, 64, {.cluster_size = 1, .clusters = 4, .threads = 32, .push_ahead = 2});
    sharded(Quant::fp8, 11, 512, {.cluster_size = 1, .clusters = 1, .threads = 32, .consume_behind = 2});
    // Of one row a cluster, a unit a warp: kernels of their own. Rows end within a unit.
    add(Fused::oneshot, 4, 272, {.cluster_size = 2, .clusters = 4, .threads = 64});
    add(Fused::twoshot, 5, 1000, {.cluster_size = 4, .clusters = 5, .threads = 32});
    sharded(Quant::fp4, 3, 528, {.cluster_size = 2, .clusters = 3, .threads = 64});
    return steps;
}

/// `count` launches in random order, all enqueued at once; each must give what it gives alone.
void check_mixed(int size, int count, emulation::Options options) {
    const std::vector<Step> choices = steps();
    std::deque<CallTensors> alone;
    for (std::size_t i = 0; i < choices.size(); ++i) {
        alone.emplace_back(choices[i].shape, size, i);
        EmulatedWorld(size).run(choices[i].algorithm, alone.back(), choices[i].launch);
        alone.back().check_against_reference();
    }
    std::minstd_rand random(static_cast<unsigned>(options.seed));
    EmulatedWorld world(size, std::move(options));
    std::deque<std::pair<std::size_t, CallTensors>> mixed;
    for (int i = 0; i < count / CROSSOVER_EMULATED_SHARE; ++i) {
        const std::size_t choice = random() / 7 % choices.size();
        mixed.emplace_back(choice, CallTensors(choices[choice].shape, size, choice));
        world.enqueue(choices[choice].algorithm, mixed.back().second, choices[choice].launch);
    }
    world.machine.run();
    const auto timeout = world.timeout();
    INFO((timeout ? to_string(*timeout) : std::string()));
    CHECK_FALSE(timeout.has_value());
    int wrong = 0;
    for (const auto& [choice, tensors] : mixed) wrong += tensors.ranks_that_differ(alone[choice]);
    CHECK(wrong == 0);
}

} // namespace

TEST_CASE("hundreds of mixed launches in a row") {
    for (const std::uint64_t seed : {1, 2, 3}) check_mixed(2, 150, {.seed = seed});
    check_mixed(4, 100, {.seed = 4});
    check_mixed(8, 40, {.seed = 5});
}

TEST_CASE("mixed launches with a rank that is a hundred times slower") {
    check_mixed(2, 100, {.seed = 6, .rank_speed = {1, 0.01}});
    check_mixed(4, 60, {.seed = 7, .rank_speed = {0.01, 1, 0.1, 1}});
}

TEST_CASE("an all-reduce and a norm kernel in turn, chained") {
    for (const Fused algorithm : {Fused::oneshot, Fused::twoshot}) {
        FusedAllReduce shape;
        shape.num_tokens = 9;
        shape.hidden_dim = 512;
        EmulatedWorld world(4, {.seed = 8});
        std::deque<CallTensors> pairs;
        std::deque<Bytes> reduced;
        for (int i = 0; i < 30 / CROSSOVER_EMULATED_SHARE; ++i) {
            CallTensors& tensors = pairs.emplace_back(shape, 4, 9);
            for (int rank = 0; rank < 4; ++rank) {
                FusedAllReduce call = tensors.call_of(rank);
                call.pattern = Pattern::allreduce;
                call.output = reduced.emplace_back(output_bytes(call)).data();
                world.enqueue(algorithm, call, {.cluster_size = 2, .clusters = 2, .threads = 32}, rank);
                FusedAllReduce norm = tensors.call_of(rank);
                norm.input = call.output;
                unfused::fused_norm(norm, true, &world.streams[static_cast<std::size_t>(rank)]);
            }
        }
        world.machine.run();
        REQUIRE_FALSE(world.timeout().has_value());
        for (const CallTensors& tensors : pairs) CHECK(tensors.ranks_that_differ(pairs[0]) == 0);
        const ReferenceCall reference = reference_of(shape, 4, 9); // rounded once more, before the residual
        RelativeError error;
        const auto row = std::span(pairs[0].ranks[0].output).first(512 * 2);
        error.add(dequantized(reference, unpack_codes(kBFloat16, row), {}), reference_row(reference, 0).output);
        CHECK(error.value() < 1e-2);
    }
}

TEST_CASE("a missing rank ends in a time-out that names it, and a reset makes the workspace usable again") {
    FusedAllReduce shape;
    shape.num_tokens = 8;
    shape.hidden_dim = 528;
    for (const Variant& variant : kResidualVariants)
        for (const int clusters : {2, 8}) { // of four rows, and of one
            const Fused algorithm = variant.algorithm;
            const LaunchParameters launch{.cluster_size = 2, .clusters = clusters, .threads = 64};
            shape.pattern = variant.pattern;
            INFO(describe(algorithm, shape, 4) << " clusters " << clusters);
            EmulatedWorld world(4);
            CallTensors without(shape, 4, 3), with(shape, 4, 4);
            for (const int rank : {0, 1, 3}) world.enqueue(algorithm, without.call_of(rank), launch, rank);
            world.machine.run();
            const auto timeout = world.timeout();
            REQUIRE(timeout);
            CHECK(timeout->rank == 0);
            CHECK(timeout->launches == 1);
            if (algorithm == Fused::oneshot) {
                CHECK(timeout->peer == 2);
                CHECK(timeout->peer_launches == 0);
                CHECK(timeout->all_resident);
            }
            world.reset();
            world.run(algorithm, with, launch);
            with.check_against_reference();
        }
}
