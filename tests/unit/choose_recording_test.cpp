/// Which recording is replayed where none is named.

#include "tests/support/command.hpp"
#include "tests/support/recordings.hpp"
#include "tuner/error.hpp"
#include "tuner/samples/recording.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>

using namespace crossover;

namespace {

/// The small recordings' config, on two token counts.
Config tiny_config() {
    Config config = test::small_config();
    config.num_tokens = {1, 64};
    return config;
}

Config moe_config() {
    Config config = tiny_config();
    config.world_sizes = {2};
    config.patterns = {Pattern::moe_dispatch_even, Pattern::moe_dispatch_zipf};
    config.quants = {Quant::fp8};
    config.algorithms = {"nccl_allgather_quantize", "push"};
    return config;
}

/// Recordings in a folder, each by its name.
struct Shelf {
    test::TemporaryFolder folder;
    std::vector<std::filesystem::path> recordings;

    void add(const std::string& name, const Config& config, const std::function<void(RunRecord&)>& change = {}) {
        recordings.push_back(folder.path() / name);
        std::vector<Sample> samples = test::small_samples(config);
        if (is_moe(config.patterns.front()))
            for (Sample& sample : samples) // the algorithms that small_samples knows by other names
                sample.algorithm = sample.algorithm == "nccl_fused_norm" ? "nccl_allgather_quantize"
                                   : sample.algorithm == "oneshot"       ? "push"
                                                                         : "x_" + sample.algorithm;
        RunRecord record = test::small_record(config);
        record.gpus = std::ranges::max(config.world_sizes);
        record.provenance.samples = std::ssize(samples);
        if (change) change(record);
        std::filesystem::create_directories(recordings.back());
        write_provenance(recordings.back() / "provenance.yaml", record);
        write_samples(recordings.back() / "samples.csv", samples);
    }

    /// The name of the recording that is chosen, wherever in the list it comes; or the error, without the folder.
    std::string chosen(const Config& asked, Lenience lenience = {}) {
        std::string choice;
        std::ranges::sort(recordings);
        do {
            std::string now;
            try {
                now = choose_recording(recordings, asked, lenience).filename().string();
            } catch (const InputError& error) {
                now = std::string(error.what()).substr(folder.path().string().size() + 1);
            }
            if (choice.empty()) choice = now;
            CHECK(now == choice);
        } while (std::ranges::next_permutation(recordings).found);
        return choice;
    }
};

/// tiny_config() on two GPUs, with more of all else.
Config wide_config() {
    Config config = tiny_config();
    config.world_sizes = {2};
    config.patterns = {Pattern::allreduce, Pattern::allreduce_residual_rmsnorm};
    config.dtypes = {DType::float16, DType::bfloat16};
    config.hidden_dims = {1024, 2048, 4096};
    config.sessions = 3;
    return config;
}

void newer(RunRecord& record) { record.provenance.date = "2026-10-01"; }

} // namespace

TEST_CASE("the config decides which recording is replayed") {
    Shelf shelf;
    shelf.add("a-moe", moe_config(), newer);
    shelf.add("b-wide", wide_config(), newer);
    shelf.add("c-four", tiny_config());
    const auto chosen = [&](auto change) {
        Config config = tiny_config();
        change(config);
        return shelf.chosen(config);
    };
    // Most of the asked world sizes, whatever else there is more of elsewhere; not of those that nobody asked for.
    CHECK(chosen([](Config&) {}) == "c-four");
    CHECK(chosen([](Config& c) { c.world_sizes = {2, 4, 8}; }) == "c-four");
    CHECK(chosen([](Config& c) { c.world_sizes = {4}; }) == "c-four");
    CHECK(chosen([](Config& c) { c.world_sizes = {2}; }) == "b-wide");
    // One has it.
    CHECK(chosen([](Config& c) { c.hidden_dims = {1024}; }) == "b-wide");
    CHECK(chosen([](Config& c) { c.dtypes = {DType::float16}; }) == "b-wide");
    CHECK(chosen([](Config& c) { c.patterns = {Pattern::allreduce}; }) == "b-wide");
    CHECK(chosen([](Config& c) { c.sessions = 3; }) == "b-wide");
    CHECK(shelf.chosen(moe_config()) == "a-moe");
    // Any number of sessions will do: those of either.
    Config more = tiny_config();
    more.sessions = 4;
    CHECK(shelf.chosen(more, {.sessions = true}) == "c-four");
    CHECK(shelf.chosen(moe_config(), {.sessions = true}) == "a-moe");
}

TEST_CASE("a config that nobody named is cut to what was recorded, but not to nothing") {
    Shelf shelf;
    shelf.add("b-wide", wide_config(), newer);
    shelf.add("c-four", tiny_config());
    Config wider = wide_config();
    wider.world_sizes = {2, 4};
    wider.patterns = tiny_config().patterns;
    wider.hidden_dims.push_back(16384);
    wider.sessions = tiny_config().sessions;
    CHECK(shelf.chosen(wider, {.shapes = true}) == "c-four");
    CHECK(shelf.chosen(wider) != "c-four");
    const Config cut = replayable(wider, test::small_record(tiny_config()), {.shapes = true});
    CHECK(cut.dtypes == tiny_config().dtypes);
    CHECK(cut.hidden_dims == tiny_config().hidden_dims);
    CHECK(cut.sessions == wider.sessions);
    wider.hidden_dims = {16384};
    CHECK(replayable(wider, test::small_record(tiny_config()), {.shapes = true}).hidden_dims == wider.hidden_dims);
}

TEST_CASE("of recordings with the same world sizes: sessions, samples, the date, the name") {
    Shelf shelf;
    shelf.add("d", tiny_config());
    CHECK(shelf.chosen(tiny_config()) == "d");
    shelf.add("b", tiny_config());
    shelf.add("c", tiny_config());
    CHECK(shelf.chosen(tiny_config()) == "b");
    shelf.add("z", tiny_config(), newer);
    CHECK(shelf.chosen(tiny_config()) == "z");
    Config more = tiny_config();
    more.hidden_dims.push_back(8192);
    shelf.add("y-samples", more);
    CHECK(shelf.chosen(tiny_config()) == "y-samples");
    more = tiny_config();
    more.sessions = 3;
    shelf.add("x-sessions", more, [](RunRecord& record) { record.provenance.samples = 1; });
    CHECK(shelf.chosen(tiny_config()) == "x-sessions");
}

TEST_CASE("if none fits, the nearest one is told first, and what each has") {
    Shelf shelf;
    shelf.add("a-moe", moe_config(), newer);
    shelf.add("b-wide", wide_config(), newer);
    shelf.add("c-four", tiny_config());
    Config asked = tiny_config();
    asked.hidden_dims = {2048, 2880};
    const std::string remedy = "; ask for these in the config, or measure on GPUs";
    CHECK(shelf.chosen(asked) ==
          "c-four: hidden_dim 2880 was not recorded; recorded: 2048, 4096"
          "; nor is b-wide a choice: hidden_dim 2880 was not recorded; recorded: 1024, 2048, 4096"
          "; nor is a-moe a choice: pattern allreduce_residual_rmsnorm was not recorded; "
          "recorded: moe_dispatch_even, moe_dispatch_zipf" +
              remedy);
    asked = moe_config();
    asked.num_tokens = {1, 2};
    CHECK(shelf.chosen(asked).rfind("a-moe: num_tokens 2 was not recorded; recorded: 1, 64; nor is ", 0) == 0);
    // No machine had as many GPUs.
    asked = tiny_config();
    asked.world_sizes = {8};
    CHECK(shelf.chosen(asked).rfind("b-wide: world size 8 was not recorded; recorded: 2; "
                                    "nor is c-four a choice: world size 8 was not recorded; recorded: 2, 4; ",
                                    0) == 0);
    // Each has a part.
    asked = tiny_config();
    asked.patterns = {Pattern::allreduce_residual_rmsnorm, Pattern::moe_dispatch_even};
    asked.algorithms = {"nccl_fused_norm", "oneshot", "nccl_allgather_quantize", "push"};
    CHECK(shelf.chosen(asked).rfind("c-four: pattern moe_dispatch_even was not recorded", 0) == 0);
    // As much is lacking here as there.
    asked = tiny_config();
    asked.world_sizes = {4, 8};
    asked.hidden_dims = {1024};
    CHECK(shelf.chosen(asked).rfind("c-four: hidden_dim 1024 was not recorded; recorded: 2048, 4096; "
                                    "nor is b-wide a choice: world size 4 was not recorded; recorded: 2; ",
                                    0) == 0);
}

TEST_CASE("a hole does not fit, a recording that cannot be read is no reason to take another") {
    Shelf shelf;
    shelf.add("a-hole", wide_config(), newer);
    shelf.add("b-two", wide_config());
    Config asked = wide_config();
    CHECK(shelf.chosen(asked) == "a-hole"); // as yet
    const auto file = shelf.folder.path() / "a-hole" / "samples.csv";
    std::vector<Sample> samples = read_samples(file);
    samples.erase(samples.begin() + 10);
    write_samples(file, samples);
    CHECK(shelf.chosen(asked) == "b-two");
    shelf.folder.write("a-hole/samples.csv", "no samples");
    CHECK(shelf.chosen(asked).rfind("a-hole/samples.csv:1: ", 0) == 0);
    CHECK_THROWS_AS(choose_recording({}, asked, {}), InputError);
}

TEST_CASE("tune without GPUs and without a name") {
    const test::TemporaryFolder folder;
    const std::filesystem::path configs = CROSSOVER_SOURCE_DIR "/configs";
    // CUDA_VISIBLE_DEVICES: not on the GPUs of the machine that tests.
    const auto tune = [&](const std::string& arguments) {
        return folder.run("CUDA_VISIBLE_DEVICES= " CROSSOVER_BINARY " tune " + arguments);
    };
    for (const std::string& arguments :
         {std::string(), "--config " + (configs / "default.yaml").string(), std::string("--config default"),
          "--out quick --config " + (configs / "quick.yaml").string(),
          std::string("--out named --config quick")}) { // beside a folder of that name
        const test::CommandResult result = tune(arguments);
        // The default config, named or not, is cut to what was recorded.
        const bool cut = arguments.find("quick") == std::string::npos;
        for (const std::string line :
             {"float16: not in the recording, left out\n", "hidden_dim 6144: not in the recording, left out\n"})
            CHECK((result.output.find(line) != std::string::npos) == cut);
        CHECK(result.output.find("rmsnorm, float16") == std::string::npos); // nor are there cells of it
        CAPTURE(result.output);
        CHECK(result.status == 0);
        CHECK(result.output.rfind("no GPUs here: replaying the recording ", 0) == 0);
        // The only one of this pattern.
        CHECK(result.output.find("/configs/recordings/h200-4x (NVIDIA H200, ") < result.output.find('\n'));
    }
    const auto read = [&](const char* file) { return test::read_text(folder.path() / file); };
    CHECK(read("named/provenance.yaml") == read("quick/provenance.yaml"));
    test::check_refused(tune("--config slow"), "slow: cannot read the config: ");
    Config asked = tiny_config();
    asked.hidden_dims = {2888};
    asked.sessions = 1;
    folder.write("other.yaml", to_yaml(asked));
    const test::CommandResult refused = tune("--config other.yaml --out refused");
    CHECK(refused.output.find("/configs/recordings/h200-4x: hidden_dim 2888 was not recorded; recorded: 1024, ") !=
          std::string::npos);
    test::check_refused(refused, "");
    CHECK_FALSE(std::filesystem::exists(folder.path() / "refused"));
}
