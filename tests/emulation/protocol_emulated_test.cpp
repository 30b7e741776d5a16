// What launches of one workspace owe each other, and broken in every way that can be had from outside of the kernels:
// to see that the emulated machine finds it, that is, that the tests of the sound protocol can fail. Rings within a
// launch: rings_emulated_test.cpp.

#include "tests/emulation/emulated_world.hpp"

#include <doctest/doctest.h>

#include <deque>
#include <map>
#include <string>

using namespace crossover;
using namespace crossover::testing;
using device::Arguments;

namespace {

/// Four launches on one workspace, with other slots in the first than in the second, and in the third again.
struct Sequence {
    struct Kind {
        Fused algorithm;
        bool sharded = false; // fp4, of which lanes receive words together
    };
    std::vector<Kind> kinds; // in turn
    int world_size = 2;
    int ahead = 0; // push_ahead and consume_behind

    /// What goes wrong; empty if nothing does.
    std::string outcome(emulation::Options options) const {
        // The same for all algorithms and launches of the same kinds of calls.
        std::vector<int> key{world_size};
        for (const Kind& kind : kinds) key.push_back(kind.sharded);
        static std::map<std::vector<int>, std::deque<CallTensors>> known;
        std::deque<CallTensors>& expected = known[key];
        if (expected.empty()) {
            expected = results({.seed = 1});
            for (const CallTensors& tensors : expected) tensors.check_against_reference();
        }
        try {
            const std::deque<CallTensors> found = results(std::move(options));
            for (std::size_t i = 0; i < found.size(); ++i)
                if (found[i].ranks_that_differ(expected[i]) != 0) return "wrong results";
        } catch (const emulation::EmulationError& error) {
            return error.what();
        } catch (const WaitTimeout& timeout) {
            return to_string(timeout);
        }
        return "";
    }

    std::string first_failure(const emulation::Options& options, int count = 20) const {
        return first_failure_of([this](const emulation::Options& seeded) { return outcome(seeded); }, options, count);
    }

  private:
    std::deque<CallTensors> results(emulation::Options options) const {
        // Rings of some of the launches are shorter than these have rows.
        EmulatedWorld world(world_size, std::move(options),
                            kControlBytes + static_cast<std::size_t>(world_size - 1) * (std::size_t{24} << 10));
        std::deque<CallTensors> tensors;
        for (std::size_t i = 0; i < 4; ++i) {
            FusedAllReduce shape;
            shape.num_tokens = i % 2 ? 11 : 23;
            shape.hidden_dim = i % 2 ? 512 : 256;
            const Kind& kind = kinds[i % kinds.size()];
            if (kind.sharded) shape.pattern = Pattern::allreduce_residual_rmsnorm_sharded;
            if (kind.sharded) shape.quant = Quant::fp4;
            const LaunchParameters launch{
                .cluster_size = 1, .clusters = 1, .threads = 32, .push_ahead = ahead, .consume_behind = ahead};
            world.enqueue(kind.algorithm, tensors.emplace_back(shape, world_size, i), launch);
        }
        world.machine.run();
        if (const auto timeout = world.timeout()) throw *timeout;
        return tensors;
    }
};

const Sequence kOneshot{{{Fused::oneshot}}}, kTwoshot{{{Fused::twoshot}}}, kSharded{{{Fused::twoshot, true}}};
const Sequence kMixed{{{Fused::oneshot}, {Fused::twoshot}, {Fused::twoshot, true}, {Fused::oneshot}}};

} // namespace

TEST_CASE("the sound protocol holds however late stores land") {
    for (Sequence sequence : {kOneshot, kTwoshot, kSharded, kMixed})
        for (const int world_size : {2, 4})
            for (const int ahead : {0, 1, 2}) {
                sequence.world_size = world_size;
                sequence.ahead = ahead;
                CHECK(sequence.first_failure({}, 6 / CROSSOVER_EMULATED_SHARE) == "");
            }
}

// The count is read before the launch before has ended.
TEST_CASE("launches that begin before those of the one before are counted") {
    for (const Sequence& sequence : {kOneshot, kTwoshot, kSharded, kMixed})
        CHECK(sequence.first_failure({.without_trigger = true}) != ""); // they begin before it has triggered
}

TEST_CASE("one generation of slots is not enough") {
    const auto one_generation = [](Arguments& a) { a.slots.generation_bytes = 0; };
    for (Sequence sequence : {kOneshot, kTwoshot, kMixed}) {
        sequence.ahead = 2;
        CHECK(sequence.first_failure({.alter = one_generation}, 1000) != "");
    }
}

TEST_CASE("slots that are not emptied, and launches that do not wait for the one before") {
    for (const Sequence& sequence : {kOneshot, kTwoshot, kSharded, kMixed}) {
        CHECK(sequence.first_failure({.without_emptying = true}, 3) != "");
        CHECK(sequence.first_failure({.without_pdl_wait = true}, 3) != "");
    }
}
