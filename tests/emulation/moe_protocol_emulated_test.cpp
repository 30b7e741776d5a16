// moe_dispatch and moe_combine in sequences with all-reduces on one workspace, with late and missing ranks; and broken
// in every way that can be had from outside of the kernels, to see that the emulated machine finds it.

#include "tests/emulation/emulated_moe.hpp"

#include <doctest/doctest.h>

#include <random>

using namespace crossover;
using namespace crossover::testing;
using device::MoeArguments;

namespace {

/// Room for rings of a few stages only.
std::size_t small_workspace(int world_size) { return std::size_t{world_size == 8 ? 128u : 64u} << 10; }

struct Sequence {
    int world_size = 2;
    int count = 12;
    bool all_reduces = true;
    bool dispatches = true, combines = true;
    std::vector<TokensPerRank> tokens = {};

    /// What goes wrong in `count` random calls; empty if nothing does.
    std::string outcome(emulation::Options options) const {
        std::minstd_rand random(static_cast<unsigned>(options.seed));
        const auto pick = [&](std::size_t choices) { return random() / 7 % choices; };
        const std::vector<TokensPerRank> choices = tokens.empty() ? splits(world_size, 3) : tokens;
        MoeSequence calls(world_size, std::move(options), small_workspace(world_size), std::size_t{128} << 10,
                          std::size_t{32} << 10);
        for (int i = 0; i < count; ++i) {
            const std::size_t kind = pick(5);
            const auto seed = static_cast<std::uint64_t>(i);
            const MoeLaunch launch{.ctas = 1 + static_cast<int>(pick(2)),
                                   .threads = 32 * (1 + static_cast<int>(pick(2))),
                                   .pdl = pick(4) != 0,
                                   .relays = world_size > 2 && pick(3) != 0};
            if (kind < 2 && dispatches)
                calls.dispatch(
                    {.quant = kQuants[pick(3)].value, .hidden_dim = 80, .tokens = choices[pick(choices.size())]}, seed,
                    launch);
            else if (kind < 4 && combines)
                calls.combine({.hidden_dim = 512, .tokens = choices[pick(choices.size())]}, seed, launch);
            else if (all_reduces)
                calls.all_reduce(i % 2 ? Fused::oneshot : Fused::twoshot);
        }
        return calls.outcome();
    }

    std::string first_failure(const emulation::Options& options, int tries = 12) const {
        return first_failure_of([this](const emulation::Options& seeded) { return outcome(seeded); }, options, tries);
    }
};

const Sequence kDispatches{.all_reduces = false, .combines = false};
const Sequence kCombines{.all_reduces = false, .dispatches = false};
/// One channel, two ranks, many more units than the ring has stages.
const Sequence kOnCredit{.all_reduces = false, .dispatches = false, .tokens = {{60, 0}, {0, 60}, {40, 20}}};
/// And four, whose sums travel on credit, too.
const Sequence kRelayed{.world_size = 4,
                        .all_reduces = false,
                        .dispatches = false,
                        .tokens = {{120, 0, 0, 0}, {0, 0, 90, 0}, {60, 1, 50, 2}, {30, 90, 30, 30}}};

} // namespace

TEST_CASE("hundreds of mixed launches in a row") {
    for (const int size : {2, 4, 8}) {
        Sequence sequence{.world_size = size, .count = 60 / size};
        CHECK(sequence.first_failure({}, 12 / CROSSOVER_EMULATED_SHARE) == "");
        CHECK(sequence.first_failure({}, 6 / CROSSOVER_EMULATED_SHARE) == "");
    }
    CHECK(kOnCredit.first_failure({}, 6 / CROSSOVER_EMULATED_SHARE) == "");
    CHECK(kRelayed.first_failure({}, 6 / CROSSOVER_EMULATED_SHARE) == "");
}

TEST_CASE("mixed launches with a rank that is a hundred times slower") {
    for (const int late : {0, 1, 3}) {
        std::vector<double> speed(4, 1.0);
        speed[static_cast<std::size_t>(late)] = 0.01;
        const Sequence sequence{.world_size = 4, .count = 20};
        CHECK(sequence.first_failure({.rank_speed = speed}, 6 / CROSSOVER_EMULATED_SHARE) == "");
    }
}

TEST_CASE("who gives up on one rank lets no other end a dispatch without its rows") {
    // Ranks 1 and 3 have heard all from rank 2 that there is to hear; rank 0 never does, and is the first to give up.
    EmulatedWorld world(4);
    for (const std::size_t rank : {1, 3}) world.workspaces[rank].timeout_ns *= 100;
    DispatchTensors rows({.quant = Quant::fp8, .hidden_dim = 64, .tokens = {2, 1, 3, 2}}, 4, 1);
    const std::uint32_t said = 1;
    for (const std::size_t rank : {1, 3})
        for (const std::size_t flag : {0, 1}) // begun and done, of the first launch's only CTA
            std::memcpy(world.workspaces[rank].peers.base[rank] + kControlBytes + flag * device::kFlagsBytes +
                            2 * device::kVectorBytes,
                        &said, sizeof said);
    for (const std::size_t rank : {0, 1, 3})
        moe_dispatch(rows.call_of(static_cast<int>(rank), rows), world.workspaces[rank], {.ctas = 1, .threads = 64},
                     &world.streams[rank]);
    world.machine.run();
    const auto timeout_at = [&](std::size_t rank) {
        return timeout_of(*reinterpret_cast<const device::Control*>(world.workspaces[rank].peers.base[rank]));
    };
    REQUIRE(timeout_at(0));
    CHECK(timeout_at(0)->peer == 2);
    for (const std::size_t rank : {1, 3}) {
        REQUIRE(timeout_at(rank));
        CHECK(timeout_at(rank)->peer == 0);
    }
}

TEST_CASE("a missing rank ends in a time-out that names it, and a reset makes the workspace usable again") {
    const TokensPerRank tokens{2, 1, 3, 2};
    const MoeLaunch launch{.ctas = 1, .threads = 64};
    for (const bool dispatch : {true, false}) {
        EmulatedWorld world(4);
        DispatchTensors rows({.quant = Quant::fp8, .hidden_dim = 64, .tokens = tokens}, 4, 1);
        CombineTensors sums({.hidden_dim = 64, .tokens = tokens}, 4, 1);
        for (const std::size_t rank : {0, 1, 3})
            if (dispatch)
                moe_dispatch(rows.call_of(static_cast<int>(rank), rows), world.workspaces[rank], launch,
                             &world.streams[rank]);
            else
                moe_combine(sums.call_of(static_cast<int>(rank)), world.workspaces[rank], launch, &world.streams[rank]);
        world.machine.run();
        const auto timeout = world.timeout();
        REQUIRE(timeout);
        CHECK(timeout->peer == 2);
        CHECK(timeout->launches == 1);
        CHECK(timeout->peer_launches == 0);
        CHECK(timeout->all_resident);
        // Rank 2 has not said that it has begun: its output may be in use.
        if (dispatch)
            for (const std::byte byte : rows.of(2).output) REQUIRE(byte == kPoison);
        world.reset();
        rows.enqueue(world, launch);
        sums.enqueue(world, launch);
        world.machine.run();
        REQUIRE_FALSE(world.timeout().has_value());
        CHECK(rows.of(0) == rows.gathered_then_quantized());
        CHECK(sums.wrong() == 0);
    }
}

TEST_CASE("broken dispatches are found") {
    CHECK(kDispatches.first_failure({}) == "");
    CHECK(kDispatches.first_failure({.without_flags = true}) != ""); // neither `begun` nor `done` is waited for
    CHECK(kDispatches.first_failure({.without_release = true}) != "");
    CHECK(kDispatches.first_failure({.without_emptying = true}) != "");
    CHECK(kDispatches.first_failure({.without_pdl_wait = true}) != "");
    CHECK(kDispatches.first_failure({.alter_moe = [](MoeArguments& a) { a.generation_bytes = 0; }}) != "");
}

TEST_CASE("broken combines are found") {
    for (const Sequence& sequence : {kCombines, kOnCredit, kRelayed}) {
        CHECK(sequence.first_failure({}) == "");
        CHECK(sequence.first_failure({.without_emptying = true}) != "");
        CHECK(sequence.first_failure({.without_pdl_wait = true}) != "");
        CHECK(sequence.first_failure({.alter_moe = [](MoeArguments& a) { a.generation_bytes = 0; }}) != "");
    }
    for (const Sequence& sequence : {kOnCredit, kRelayed}) {
        CHECK(sequence.first_failure({.without_flags = true}) != ""); // credits are not waited for
        CHECK(sequence.first_failure({.without_release = true}) != "");
        // One stage: a sum waits for a push that waits for it.
        CHECK(sequence.first_failure({.alter_moe = [](MoeArguments& a) { a.stages = 1; }}) != "");
    }
    // Ranks without rows wait for nobody but for `begun`: without it they are launches ahead.
    CHECK(kCombines.first_failure({.without_flags = true}) != "");
}
