// Rings of slots that come round many times in a launch: sound with the fences that launch_plan.cpp asks for, however
// late stores land; and found to be broken with fewer fences, or shorter by a row.

#include "tests/emulation/emulated_world.hpp"

#include <doctest/doctest.h>

#include <stdexcept>
#include <string>

using namespace crossover;
using namespace crossover::testing;
using device::Arguments;

namespace {

/// Two launches in the smallest workspace in which a launch fences before every `fence_rows`-th row only, or, sharded,
/// where rings grow by stages of n rows, more rarely.
struct Rings {
    Fused algorithm;
    bool sharded = false;
    Quant quant = Quant::none;
    int world_size = 2;
    int fence_rows = 1;
    int ahead = 0, behind = 0;
    int units = 1; // of the only warp

    FusedAllReduce shape() const {
        FusedAllReduce shape;
        shape.num_tokens = 30;
        shape.quant = quant;
        shape.hidden_dim = 256 * units - (quant == Quant::fp4 ? 16 : 8); // the last lanes of the row have nothing
        if (sharded) shape.pattern = Pattern::allreduce_residual_rmsnorm_sharded;
        return shape;
    }
    LaunchParameters launch() const {
        return {.cluster_size = 1, .clusters = 1, .threads = 32, .push_ahead = ahead, .consume_behind = behind};
    }
    std::size_t workspace_bytes() const {
        Workspace workspace;
        workspace.peers.world_size = world_size;
        for (workspace.bytes = kControlBytes;; workspace.bytes += std::size_t{2} * device::kUnitBytes) {
            const device::SlotLayout slots = slot_layout(algorithm, shape(), workspace, launch());
            if (slots.fence_rows == device::SlotLayout::kNoFence) throw std::logic_error("no workspace for " + text());
            if (slots.cta_bytes <= slots.generation_bytes && slots.fence_rows >= fence_rows) return workspace.bytes;
        }
    }

    /// What goes wrong; empty if nothing does.
    std::string outcome(emulation::Options options) const {
        EmulatedWorld world(world_size, std::move(options), workspace_bytes());
        CallTensors first(shape(), world_size, 1), second(shape(), world_size, 2);
        world.enqueue(algorithm, first, launch());
        world.enqueue(algorithm, second, launch());
        try {
            world.machine.run();
        } catch (const emulation::EmulationError& error) {
            return error.what();
        }
        if (const auto timeout = world.timeout()) return to_string(*timeout);
        for (const CallTensors* const tensors : {&first, &second}) {
            if (tensors->ranks_that_differ(*tensors) != 0 || tensors->relative_error() > tolerance(shape()))
                return "wrong results";
        }
        return "";
    }

    std::string first_failure(const emulation::Options& options, int count = 300) const {
        return first_failure_of([this](const emulation::Options& seeded) { return outcome(seeded); }, options, count);
    }

    std::string text() const {
        return std::string(name_of(algorithm)) + (sharded ? " sharded" : "") + ", world size " +
               std::to_string(world_size) + ", a fence before every row number " + std::to_string(fence_rows) +
               ", ahead " + std::to_string(ahead) + ", behind " + std::to_string(behind) + ", units " +
               std::to_string(units);
    }
};

const Rings kOneshot{.algorithm = Fused::oneshot}, kTwoshot{.algorithm = Fused::twoshot},
    kSharded{.algorithm = Fused::twoshot, .sharded = true, .quant = Quant::fp8};

} // namespace

TEST_CASE("rings hold with the fences that their rows ask for") {
    std::uint64_t seed = 0;
    for (Rings rings : {kOneshot, kTwoshot, kSharded})
        for (const int world_size : {2, 4, 8})
            for (const int fence_rows : {1, 2, 3})
                for (const auto& [ahead, behind] : {std::pair{0, 0}, {1, 1}, {2, 3}}) {
                    if (++seed % CROSSOVER_EMULATED_SHARE != 0) continue;
                    rings.world_size = world_size;
                    rings.fence_rows = fence_rows;
                    rings.ahead = ahead;
                    rings.behind = behind;
                    rings.units = world_size == 8 ? 1 : 1 << seed / 2 % 3;
                    INFO(rings.text());
                    CHECK(rings.first_failure({}, world_size == 2 ? 2 : 1) == "");
                }
}

// Four lanes look for the same side word, and one of them empties it: without the __syncwarp() of the kernel this
// fails.
TEST_CASE("rings hold for lanes that receive a word together") {
    for (const int fence_rows : {1, 2})
        for (const int ahead : {0, 3}) {
            Rings rings = kSharded;
            rings.quant = Quant::fp4;
            rings.fence_rows = fence_rows;
            rings.ahead = ahead;
            INFO(rings.text());
            CHECK(rings.first_failure({}, 20 / CROSSOVER_EMULATED_SHARE) == "");
        }
}

TEST_CASE("rings without fences are found") {
    const auto none = [](Arguments& a) { a.slots.fence_rows = device::SlotLayout::kNoFence; };
    for (Rings rings : {kOneshot, kTwoshot, kSharded})
        for (const int fence_rows : {1, 3}) {
            rings.fence_rows = fence_rows;
            INFO(rings.text());
            CHECK(rings.first_failure({.alter = none}) != "");
            rings.ahead = rings.behind = 2;
            CHECK(rings.first_failure({.alter = none}) != "");
        }
}

// Of the 2·F rows half are for the one that empties (a fence between that and what he stores next), half for the one
// that sends (a fence between the load of that and the next data): the latter not even of a GPU that stores nothing
// before it has what it waited for, but of the memory model. All are needed where F divides ahead and behind, and
// elsewhere as slot_rings_test.cpp of the unit tests says.
TEST_CASE("rings that are a row shorter are found, and fences that are a row farther apart") {
    const auto shorter_push = [](Arguments& a) { --a.slots.push_stages; };
    const auto shorter_gather = [](Arguments& a) { --a.slots.gather_stages; };
    const auto rarer_fences = [](Arguments& a) { ++a.slots.fence_rows; };
    for (const auto& [world_size, fence_rows] : {std::pair{2, 1}, {2, 2}, {2, 3}, {4, 1}, {4, 2}})
        for (Rings rings : {kOneshot, kTwoshot}) {
            rings.world_size = world_size;
            rings.fence_rows = fence_rows;
            rings.units = 2; // workspaces with an odd number of units hold any number of such stages
            INFO(rings.text());
            CHECK(rings.first_failure({.alter = shorter_push}) != "");
            if (rings.algorithm == Fused::twoshot) CHECK(rings.first_failure({.alter = shorter_gather}) != "");
            CHECK(rings.first_failure({.alter = rarer_fences}) != "");
        }
    CHECK(Rings{.algorithm = Fused::oneshot, .fence_rows = 2, .ahead = 2, .units = 2}.first_failure(
              {.alter = shorter_push}) != "");
    for (const Rings& rings :
         {Rings{.algorithm = Fused::twoshot, .fence_rows = 2, .ahead = 2, .behind = 2},
          Rings{.algorithm = Fused::twoshot, .world_size = 4, .ahead = 1, .behind = 2},
          Rings{.algorithm = Fused::twoshot, .sharded = true, .quant = Quant::fp8, .ahead = 1, .behind = 1},
          Rings{.algorithm = Fused::twoshot,
          .sharded = true,
          .quant = Quant::fp8,
          .world_size = 4,
          .ahead = 1,
          .behind = 1}}) {
        INFO(rings.text());
        CHECK(rings.first_failure({.alter = shorter_push}) != "");
        CHECK(rings.first_failure({.alter = shorter_gather}) != "");
    }
    const Rings sharded{.algorithm = Fused::twoshot, .sharded = true, .quant = Quant::fp4, .fence_rows = 2, .ahead = 1};
    CHECK(sharded.first_failure({.alter = shorter_push}) != "");
    CHECK(sharded.first_failure({.alter = rarer_fences}) != "");
}
