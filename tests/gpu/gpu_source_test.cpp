// Who measures what, and who waits for whom. Five ranks: two groups of two and one rank that is in none. Needs 2 GPUs,
// which the ranks share.

#define DOCTEST_CONFIG_IMPLEMENT
#include "tests/gpu/on_ranks.hpp"

#include "tuner/measure/gpu_source.hpp"
#include "tuner/measure/plugin.hpp"
#include "tuner/plan/run_session.hpp"
#include "tuner/scratch_folder.hpp"

#include <chrono>

using namespace crossover;
using namespace crossover::testing;

TEST_CASE("every rank gets on with every trial and has the samples of all in their order") {
    const auto body = [](Communicator& world) {
        Config config;
        config.world_sizes = {2};
        config.patterns = {Pattern::allreduce};
        config.max_message_bytes = 1 << 20;
        config.warmup = 1;
        config.trials = 3;
        config.graph_calls = 1;
        config.timeout_ms = 20'000; // ranks that share a GPU take turns
        const ScratchFolder folder;
        PluginSession plugins(config, folder.path(), world.rank());
        int progress = 0;
        GpuSource source(world, config, read_topology(read_environment()), plugins, folder.path(),
                         [&progress] { ++progress; });
        std::vector<Trial> trials;
        for (const std::int64_t num_tokens : {1, 2, 3})
            trials.push_back({.point = {.cell = {.pattern = Pattern::allreduce, .world_size = 2},
                                        .hidden_dim = 4096,
                                        .num_tokens = num_tokens},
                              .algorithms = {"nccl", "oneshot"}});
        std::vector<Sample> samples;
        run_session(0, *make_plan_of(trials), source, samples, [](std::span<const Trial> round, auto) {
            CHECK(round.size() <= 2); // one of each group at most, before the next ones are begun
        });
        REQUIRE(samples.size() == 6);
        for (std::size_t i = 0; i < samples.size(); ++i) {
            INFO(samples[i].note);
            CHECK(samples[i].point == trials[i / 2].point);
            CHECK(samples[i].algorithm == trials[i / 2].algorithms[i % 2]);
            CHECK(samples[i].status == SampleStatus::ok);
        }
        // Two groups are looked at in four blocks, then there are two or three rounds of trials.
        CHECK(progress >= 6);
    };
    on_ranks(5, body, std::chrono::seconds(60), 2);
}
