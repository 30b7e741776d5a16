// `crossover tune` and `bench` with kernels that are not ours, on 2 GPUs: the example is in the table, and its variants
// that fail lose nothing but what they fail at.
#define DOCTEST_CONFIG_IMPLEMENT

#include "output/emit.hpp"
#include "tests/support/command.hpp"
#include "tuner/plugins/library.hpp"
#include "tuner/samples/journal.hpp"
#include "tuner/table.hpp"

#include <cuda_runtime_api.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

using namespace crossover;
using test::CommandResult;

namespace {

const std::string kFolder = CROSSOVER_CANDIDATE_DIR "/lib";

/// A run of tune with candidates: pattern allreduce, 6 token counts.
struct Run {
    test::TemporaryFolder folder;
    CommandResult result;
    std::vector<Sample> samples;
    Table table;

    explicit Run(const std::vector<std::string>& candidates) {
        folder.write("small.yaml", "sweep:\n"
                                   "  world_sizes: [2]\n"
                                   "  patterns: [allreduce]\n"
                                   "  dtypes: [bfloat16]\n"
                                   "  quants: [none]\n"
                                   "  hidden_dims: [4096]\n"
                                   "  num_tokens: [1, 3, 16, 64, 256, 1024]\n"
                                   "  max_message_bytes: 8388608\n"
                                   "  algorithms: [nccl, oneshot, twoshot]\n"
                                   "measurement: {search: grid, sessions: 1, trials: 5}\n");
        std::string command = "cd " + folder.path().string() + " && " CROSSOVER_BINARY " tune --config small.yaml";
        for (const std::string& name : candidates) command += " --candidate " + kFolder + name + ".so";
        result = test::run_command(command);
        INFO(result.output);
        REQUIRE(result.status == 0);
        samples = read_samples(folder.path() / "out/samples.csv");
        table = read_table(folder.path() / "out/table.yaml");
        REQUIRE(table.cells.size() == 1);
    }
    std::vector<Sample> of(const std::string& algorithm) const {
        std::vector<Sample> found;
        std::ranges::copy_if(samples, std::back_inserter(found),
                             [&](const Sample& sample) { return sample.algorithm == algorithm; });
        REQUIRE(found.size() == 6);
        return found;
    }
    void check_all_ok(const std::string& algorithm) const {
        for (const Sample& sample : of(algorithm)) {
            CAPTURE(sample.note);
            CHECK(sample.status == SampleStatus::ok);
        }
    }
};

} // namespace

TEST_CASE("the example is measured, and is the table's twoshot") {
    const Run run({"pull_twoshot"});
    run.check_all_ok("pull_twoshot");
    run.check_all_ok("nccl");
    run.check_all_ok("oneshot");
    CHECK(std::ranges::count(run.samples, "twoshot", &Sample::algorithm) == 0); // ours is not measured
    CHECK(run.table.cells.front().twoshot.has_value());
    CHECK(run.table.provenance.extra.at("candidate pull_twoshot").starts_with("twoshot, version 1.0, "));
}

TEST_CASE("wrong numbers are failed samples of that candidate alone") {
    const Run run({"pull_wrong"});
    for (const Sample& sample : run.of("pull_wrong")) {
        CHECK(sample.status == SampleStatus::failed);
        CHECK(sample.note.find("relative error") != std::string::npos);
    }
    run.check_all_ok("oneshot");
    run.check_all_ok("nccl");
    CHECK_FALSE(run.table.cells.front().twoshot.has_value());
}

TEST_CASE("a crash costs the point at which it happens") {
    const Run run({"pull_crashing"});
    for (const Sample& sample : run.of("pull_crashing")) {
        CAPTURE(sample.note);
        CHECK(sample.status == (sample.point.num_tokens == 16 ? SampleStatus::failed : SampleStatus::ok));
        if (sample.point.num_tokens == 16) CHECK(sample.note.find("killed by signal 6") != std::string::npos);
    }
    run.check_all_ok("oneshot");
    run.check_all_ok("nccl");
}

TEST_CASE("a crash while ranks load it costs the candidate") {
    const Run run({"pull_unloadable"});
    for (const Sample& sample : run.of("pull_unloadable")) {
        CHECK(sample.status == SampleStatus::failed);
        CHECK(sample.note.starts_with("load: rank "));
    }
    run.check_all_ok("oneshot");
    run.check_all_ok("nccl");
}

TEST_CASE("bench shows candidates beside ours") {
    const CommandResult result = test::run_command(
        CROSSOVER_BINARY " bench --pattern allreduce --world-size 2 --num-tokens 32 --hidden-dim 4096 --candidate " +
        kFolder + "pull_twoshot.so");
    INFO(result.output);
    CHECK(result.status == 0);
    CHECK(result.output.find("\ntwoshot") != std::string::npos);
    CHECK(result.output.find("\npull_twoshot") != std::string::npos);
}

int main(int argc, char** argv) {
    int gpus = 0;
    if (cudaGetDeviceCount(&gpus) != cudaSuccess || gpus < 2) {
        // Without GPUs the libraries can still be loaded.
        for (const char* const name : {"pull_twoshot", "pull_wrong", "pull_crashing", "pull_unloadable"})
            if (inspect_library(kFolder + name + ".so", {}).front().name != name) return 1;
        std::printf("SKIPPED: needs 2 GPUs; the libraries load\n");
        return 77;
    }
    return doctest::Context(argc, argv).run();
}
