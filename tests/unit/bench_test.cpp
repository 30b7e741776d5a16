#include "output/bench_report.hpp"
#include "tests/support/command.hpp"
#include "tuner/fit/fit.hpp"
#include "tuner/fit/floor.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

using namespace crossover;

namespace {

Sample sample(std::int64_t tokens, const std::string& algorithm, double us, SampleStatus status = SampleStatus::ok) {
    Sample sample;
    sample.sku = "NVIDIA H200";
    sample.compute_capability = "9.0";
    sample.point = {{.quant = Quant::fp8, .world_size = 4}, 8192, tokens};
    sample.algorithm = algorithm;
    sample.status = status;
    sample.latency_us = us;
    sample.rel_error = 0.002;
    if (status != SampleStatus::ok) sample.note = "why";
    return sample;
}

/// 1 token: NCCL 20 and 12, oneshot 4, twoshot skipped. 64 tokens: no baseline ran.
std::vector<Sample> samples() {
    return {sample(1, "nccl_separate", 20), sample(1, "nccl_fused_norm", 12),
            sample(1, "oneshot", 4),        sample(1, "twoshot", 0, SampleStatus::skipped),
            sample(1, "floor", 2.5),        sample(64, "nccl_fused_norm", 0, SampleStatus::failed),
            sample(64, "oneshot", 8)};
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// The line that holds `part`.
std::string line(const std::string& text, const std::string& part) {
    std::size_t at = text.find(part);
    if (at == std::string::npos) return "";
    if (part.front() == '\n') ++at;
    const std::size_t begin = text.rfind('\n', at) + 1;
    return text.substr(begin, text.find('\n', at) - begin);
}

/// Runs of spaces as one: columns without their alignment.
std::string squeezed(std::string text) {
    const auto end = std::unique(text.begin(), text.end(), [](char a, char b) { return a == ' ' && b == ' '; });
    text.erase(end, text.end());
    return text;
}

} // namespace

TEST_CASE("speed-ups are against the faster unfused algorithm of the configuration") {
    std::vector<Sample> measured = samples();
    measured[2].note = "cluster=8; 66 of 132 SMs";
    const std::string text = bench_text(measured);
    CHECK(has(text, "num_tokens=1, hidden_dim=8192, world_size=4"));
    CHECK(has(text, "dtype=bfloat16, residual=yes, quant=fp8"));
    CHECK(has(line(text, "nccl_separate"), "0.60x"));
    CHECK(has(line(text, "nccl_fused_norm"), "baseline"));
    CHECK(has(line(text, "oneshot"), "3.00x"));
    CHECK(has(line(text, "oneshot"), "1.60x"));   // over the floor,
    CHECK_FALSE(has(line(text, "\nfloor"), "x")); // which is no baseline and no contender
    CHECK(has(line(text, "\nfloor"), "2.50"));
    CHECK(has(squeezed(line(text, "oneshot")), "2.0e-03 cluster=8; 66 of 132 SMs"));
    CHECK(has(line(text, "twoshot"), "skipped"));
    CHECK(has(line(text, "twoshot"), "why"));

    const std::string second = text.substr(text.find("num_tokens=64"));
    CHECK(has(line(second, "nccl_fused_norm"), "FAILED"));
    CHECK(has(line(second, "oneshot"), "8.00"));
    CHECK_FALSE(has(line(second, "oneshot"), "x")); // no speed-up over what did not run
}

TEST_CASE("Markdown has a table a configuration") {
    std::vector<Sample> measured = samples();
    measured[3].note = "needs a | b";
    const std::string text = squeezed(bench_markdown(measured));
    CHECK(has(text, "NVIDIA H200, compute capability 9.0"));
    CHECK(has(text, "## Configuration: num_tokens=64"));
    CHECK(has(text, "| oneshot | 4.00 | 3.00x | 1.60x |"));
    CHECK(has(text, "| nccl_fused_norm | FAILED | - | - | why |"));
    CHECK(has(text, "| twoshot | skipped | - | - | needs a \\| b |"));
}

TEST_CASE("JSON gives times only of what ran") {
    const std::string text = bench_json(samples(), {.warmup = 5, .trials = 20, .graph_calls = 10});
    for (const char* const setting : {"\"world_size\": 4", "\"warmup\": 5", "\"trials\": 20", "\"graph_calls\": 10"})
        CHECK(has(text, setting));
    for (const char* const asked : {"\"dtypes\": [\"bfloat16\"]", "\"hidden_dims\": [8192]", "\"num_tokens\": [1, 64]"})
        CHECK(has(text, asked));
    CHECK(has(text, "\"message_bytes\": 16384"));
    CHECK(has(text, "\"fastest\": \"oneshot\""));
    CHECK(has(text, "\"speedup\": 3"));
    CHECK(has(text, "\"baseline\": \"nccl_fused_norm\""));
    CHECK(has(text, "\"latency_us\": 4"));
    CHECK(has(text, "\"status\": \"failed\""));
    CHECK_FALSE(has(text, "\"latency_us\": 0"));
}

TEST_CASE("communicators are compared with plain NCCL, and the fastest is named") {
    std::vector<Sample> measured{sample(1, "nccl", 12), sample(1, "nccl_symm", 9), sample(1, "oneshot", 4),
                                 sample(1, "twoshot", 6)};
    for (Sample& each : measured) each.point.cell = {.pattern = Pattern::allreduce, .world_size = 4};
    const std::string text = bench_text(measured);
    CHECK(has(line(text, "nccl "), "baseline"));
    CHECK(has(line(text, "nccl_symm"), "1.33x")); // faster, and still not the baseline
    CHECK(has(text, "Fastest: oneshot (3.00x)"));
    CHECK(has(bench_markdown(measured), "Fastest: oneshot (3.00x)"));
}

TEST_CASE("bench measures all that it was asked for, and compares what suits the pattern") {
    const auto config = [](const std::string& options) {
        const auto result = test::run_command(std::string(CROSSOVER_BINARY) + " bench --print-config " + options);
        CHECK(result.status == 0);
        return result.output;
    };
    const std::string norm = config("--num-tokens 8 512 --hidden-dim 4096,8192 --quant-modes none,fp8");
    CHECK(has(norm, "search: grid")); // an adaptive search would leave most of it out
    CHECK(has(norm, "num_tokens: [8, 512]"));
    CHECK(has(norm, "hidden_dims: [4096, 8192]"));
    CHECK(has(norm, "quants: [none, fp8]"));
    CHECK(has(norm, "custom_fused_norm"));
    CHECK(has(norm, "graph_calls: 20"));
    CHECK(has(norm, "trials: 20"));
    const std::string alone = config("--pattern allreduce");
    CHECK(has(alone, "algorithms: [nccl, nccl_symm, oneshot, twoshot]"));
    CHECK(has(alone, "graph_calls: 10"));
    CHECK(has(alone, "trials: 50"));
    CHECK(has(alone, "num_tokens: [128, 512, 1024, 2048, 4096, 8192]"));
    CHECK(has(config("--pattern allreduce --trials 7 --num-tokens 16"), "trials: 7"));
    CHECK(has(config("--pattern allreduce --graph-calls 30 --no-oneshot"), "graph_calls: 30"));
    CHECK_FALSE(has(config("--no-oneshot"), "oneshot,"));
    CHECK(has(config("--quant-modes fp4 --scale-layout linear"), "scale_layout: linear"));
}

TEST_CASE("two libraries are two options") {
    const std::string option = " --candidate " CROSSOVER_PLUGIN_DIR "/";
    const auto result = test::run_command(std::string(CROSSOVER_BINARY) + " bench --print-config --pattern allreduce" +
                                          option + "good.so" + option + "other.so");
    INFO(result.output);
    CHECK(has(result.output, "algorithms: [nccl, nccl_symm, oneshot, twoshot, acme_oneshot, acme_unfused]"));
}

TEST_CASE("bench prints no config that could not be measured") {
    const auto refused = [](const std::string& options, const std::string& expected) {
        const auto result = test::run_command(std::string(CROSSOVER_BINARY) + " bench --print-config " + options);
        CHECK(result.status == 2);
        CHECK(result.output == "crossover: error: " + expected + "\n");
    };
    refused("--hidden-dim 7", "command line: `hidden_dims` has 7, not a multiple of 8 (16-byte vectors); write 8 or "
                              "another multiple");
    refused("--world-size 3", "command line: `world_sizes` has 3; write 2, 4 or 8");
    refused("--algorithms oneshot", "command line: no unfused algorithm to compare with; add nccl_fused_norm or "
                                    "another unfused one");
    refused("--trials 0", "command line: `trials` is 0; write a value from 1 to 100000");
}

TEST_CASE("the floor is local work or hops and bytes on the link") {
    const LinkSpeed link{.hop_us = 0.5, .bytes_per_us = 400'000};
    CHECK(oneshot_floor_us(2, 400'000, 1, link) == doctest::Approx(1.5)); // 0.5 + 1
    CHECK(oneshot_floor_us(2, 400'000, 2, link) == 2);                    // the local work takes longer
    CHECK(oneshot_floor_us(8, 400'000, 1, link) == doctest::Approx(7.5)); // seven messages
    CHECK(twoshot_floor_us(2, 400'000, 1, link) == doctest::Approx(2.0)); // two hops, half of it twice
    CHECK(twoshot_floor_us(8, 400'000, 1, link) == doctest::Approx(2.75));
    CHECK(twoshot_floor_us(8, 400'000, 3, link) == 3);
    CHECK(twoshot_floor_us(8, 400'000, 1, link, finished_share(DType::bfloat16, Quant::fp8)) ==
          doctest::Approx(2.3125)); // a half comes back
    CHECK(finished_share(DType::float32, Quant::fp4) == doctest::Approx(9.0 / 64));
    CHECK(finished_share(DType::float16, Quant::none) == 1);
    CHECK(floor_us(2, 400'000, 1, link) == doctest::Approx(1.5));
    CHECK(floor_us(8, 400'000, 1, link) == doctest::Approx(2.75));
}

TEST_CASE("no table is made of the floor") {
    std::vector<Sample> measured = samples();
    for (Sample& each : measured) each.session = 0;
    const std::vector<Cell> cells = fit_cells(measured, {});
    REQUIRE(cells.size() == 1);
    for (const Interval& interval : cells[0].intervals) CHECK(interval.algorithm != "floor");
    CHECK(cells[0].baseline == "nccl_fused_norm");
}

TEST_CASE("of a launch sweep the fastest of each shape is shown") {
    std::vector<Sample> sweep{sample(1, "oneshot", 4), sample(1, "oneshot[cluster=8]", 3.5),
                              sample(1, "oneshot[cluster=4]", 3.2), sample(1, "twoshot[cluster=4]", 6),
                              sample(1, "oneshot[cluster=2]", 0, SampleStatus::skipped)};
    const std::vector<Sample> kept = fastest_launches(sweep);
    REQUIRE(kept.size() == 3);
    CHECK(kept[0].algorithm == "oneshot"); // the default stays, to compare with
    CHECK(kept[1].algorithm == "oneshot[cluster=4]");
    CHECK(kept[2].algorithm == "twoshot[cluster=4]");
    for (Sample& each : sweep) each.point.num_tokens = 2;
    sweep.push_back(sample(1, "oneshot[cluster=16]", 9)); // another shape, so not beaten
    CHECK(fastest_launches(sweep).size() == 4);
}

TEST_CASE("bench says what is wrong with its options in one line") {
    const auto run = [](const std::string& options) {
        return test::run_command(std::string(CROSSOVER_BINARY) + " bench " + options);
    };
    for (const auto& wrong : std::vector<std::pair<std::string, std::string>>{
             {"--num-tokens 0", "`0` is no size"},
             {"--num-tokens 12x", "`12x` is no size"},
             {"--dtypes int8", "`int8`"},
             {"--quant-modes fp9", "`fp9`"},
             {"--pattern gather", "`gather`"},
             {"--cache warm", "write one of hot, cold"},
             {"--scale-layout tiled", "write one of swizzled, linear"},
             {"--print-config --launch x=1", "cannot read `x=1`"},
             {"--print-config --graph-calls 0", "`graph_calls` is 0"},
             {"--no-residual --pattern allreduce", "--no-residual: means nothing"},
             {"--quant-modes fp8 --pattern allreduce", "--quant-modes: mean nothing to pattern allreduce"},
             {"--world-size 0", "--world-size: 0 is no number of ranks"},
             {"--no-such-option", "no-such-option"}}) {
        const test::CommandResult result = run(wrong.first);
        INFO(wrong.first, ": ", result.output);
        CHECK(result.status == 2);
        CHECK(has(result.output, wrong.second));
        CHECK(result.output.find('\n') == result.output.size() - 1);
    }
    CHECK(run("--help").status == 0);
}

TEST_CASE("bench refuses files that it could not write before it measures") {
    const test::TemporaryFolder folder;
    for (const std::string option : {"--markdown", "--json", "--csv"}) {
        const std::string bench = CROSSOVER_BINARY " bench " + option + " none/file";
        test::check_only_refused(folder.run(bench), "none/file: cannot create a file in its folder: ");
        // Another rank's folders are its own.
        const std::string other = folder.run("CUDA_VISIBLE_DEVICES= RANK=1 WORLD_SIZE=2 LOCAL_RANK=1 " + bench).output;
        CHECK_FALSE(has(other, "none/file"));
    }
}
