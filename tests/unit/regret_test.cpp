#include "output/emit.hpp"
#include "tests/support/command.hpp"
#include "tests/support/synthetic.hpp"
#include "tests/support/tables.hpp"
#include "tuner/error.hpp"
#include "tuner/fit/fit.hpp"
#include "tuner/fit/incumbent.hpp"
#include "tuner/fit/regret.hpp"
#include "tuner/samples/journal.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace crossover;
using doctest::Approx;

namespace {

const CellKey kCell{.world_size = 8};

Sample sample(std::int64_t tokens, const std::string& algorithm, double us, CellKey cell = kCell) {
    Sample sample;
    sample.sku = "NVIDIA H200";
    sample.compute_capability = "9.0";
    sample.point = {cell, 8192, tokens};
    sample.algorithm = algorithm;
    sample.latency_us = us;
    sample.p10_us = 0.99 * us;
    sample.p90_us = 1.02 * us;
    sample.replays = 15;
    return sample;
}

/// 1 token (16 KiB): oneshot 10, twoshot 20, NCCL 15 and 12. 64 tokens (1 MiB): oneshot 40, twoshot 25, NCCL 29 and 50.
std::vector<Sample> samples() {
    return {sample(1, "oneshot", 10),         sample(1, "twoshot", 20),         sample(1, "nccl_separate", 15),
            sample(1, "nccl_fused_norm", 12), sample(64, "oneshot", 40),        sample(64, "twoshot", 25),
            sample(64, "nccl_separate", 29),  sample(64, "nccl_fused_norm", 50)};
}

Choice always(const std::string& name) {
    return [name](const std::string&, const Point&) { return name; };
}

Incumbent read(const std::string& name) {
    return read_incumbent(std::string(CROSSOVER_SOURCE_DIR) + "/configs/incumbents/" + name + ".yaml");
}

std::string chosen(const Incumbent& incumbent, const std::string& capability, int world_size, std::uint64_t bytes,
                   std::int64_t hidden_dim = 8192) {
    const auto tokens = static_cast<std::int64_t>(bytes / 2) / hidden_dim;
    return choose(incumbent, capability, {{.world_size = world_size}, hidden_dim, tokens});
}

constexpr std::uint64_t kMiB = 1 << 20;

} // namespace

TEST_CASE("regret is time over the best time at each point, worst first") {
    const std::vector<Sample> measured = samples();
    const RegretReport report = regret_report(measured, always("oneshot"));
    REQUIRE(report.points.size() == 2);
    CHECK(report.points[0].point.num_tokens == 64);
    CHECK(report.points[0].chosen == "oneshot");
    CHECK(report.points[0].best == "twoshot");
    CHECK(report.points[0].regret() == Approx(40.0 / 25 - 1));
    CHECK(report.points[1].regret() == Approx(0));
    const Regret regret = summary(report.points);
    CHECK(regret.points == 2);
    CHECK(regret.mean == Approx(0.3));
    CHECK(regret.max == Approx(0.6));
}

TEST_CASE("unfused is the fastest unfused algorithm of each point") {
    const RegretReport report = regret_report(samples(), always(std::string(kUnfused)));
    REQUIRE(report.points.size() == 2);
    CHECK(report.points[0].chosen == "nccl_fused_norm"); // 12 against 10
    CHECK(report.points[0].regret() == Approx(0.2));
    CHECK(report.points[1].chosen == "nccl_separate"); // 29 against 25
    CHECK(report.points[1].chosen_us == Approx(29));
}

TEST_CASE("nccl is the fastest of NCCL's algorithms, whatever our own all-reduce takes") {
    std::vector<Sample> measured = samples();
    measured.push_back(sample(1, "custom_fused_norm", 0.5));
    const RegretReport report = regret_report(measured, always(std::string(kNccl)));
    REQUIRE(report.points.size() == 2);
    for (const PointRegret& point : report.points) CHECK(point.chosen.starts_with("nccl_"));
}

TEST_CASE("rules for all-reduces say nothing of MoE patterns") {
    const Point point{{.pattern = Pattern::moe_dispatch_even, .quant = Quant::fp4, .world_size = 8}, 4096, 8};
    for (const char* const name : {"vllm", "always-nccl"})
        CHECK(choose(read(name), "9.0", point) == algorithm::not_measured);
}

TEST_CASE("points that nothing can be said about are counted, not skipped silently") {
    std::vector<Sample> measured = samples();
    measured[4].status = SampleStatus::failed; // oneshot at 64 tokens
    measured[4].latency_us = 0;
    const RegretReport report = regret_report(measured, always("oneshot"));
    CHECK(report.points.size() == 1);
    CHECK(report.not_sampled == 1);
    CHECK(report.missing == std::vector<std::string>{"oneshot"});
    const RegretReport unknown = regret_report(measured, always("another"));
    CHECK(unknown.not_sampled == 2);
    CHECK(unknown.missing == std::vector<std::string>{"another"}); // once
    const RegretReport silent = regret_report(measured, always(std::string(algorithm::not_measured)));
    CHECK(silent.points.empty());
    CHECK(silent.not_covered == 2);
    CHECK(regret_report(measured, always("a_plugin")).not_sampled == 2);
}

TEST_CASE("sessions are pooled, and neither a disturbed session nor a disturbed sample is a best time") {
    std::vector<Sample> measured;
    for (int session = 0; session < 4; ++session)
        for (Sample each : samples()) {
            each.session = session;
            each.latency_us *= 1 + 0.002 * session;
            if (session == 2 && each.algorithm == "twoshot") each.latency_us *= 3; // all of the session
            if (session == 3 && each.algorithm == "oneshot" && each.point.num_tokens == 64) each.latency_us *= 0.5;
            measured.push_back(each);
        }
    const RegretReport report = regret_report(measured, always("twoshot"));
    REQUIRE(report.points.size() == 2);
    CHECK(report.points[0].regret() == Approx(1).epsilon(0.01));
    CHECK(report.points[1].regret() == Approx(0));
}

TEST_CASE("groups: a world size's total, then its quant modes") {
    std::vector<Sample> measured = samples();
    for (Sample each : samples()) {
        each.point.cell.quant = Quant::fp8;
        each.latency_us *= each.algorithm == "oneshot" ? 1 : 2; // oneshot best at both
        measured.push_back(each);
    }
    for (Sample each : samples()) {
        each.point.cell.world_size = 2;
        measured.push_back(each);
    }
    const auto groups = by_world_size_and_quant(regret_report(measured, always("oneshot")).points);
    REQUIRE(groups.size() == 5);
    CHECK(groups[0].world_size == 2);
    CHECK_FALSE(groups[0].quant);
    CHECK(groups[2].world_size == 8);
    CHECK_FALSE(groups[2].quant);
    CHECK(groups[2].regret.points == 4);
    CHECK(groups[2].regret.mean == Approx(0.15));
    CHECK(groups[2].regret.max == Approx(0.6));
    CHECK(groups[2].lost_us == Approx(15));
    CHECK(groups[2].best_us == Approx(10 + 25 + 10 + 40));
    CHECK(groups[3].quant == Quant::none);
    CHECK(groups[4].quant == Quant::fp8);
    CHECK(groups[4].regret.max == Approx(0));
}

TEST_CASE("a fitted table's own regret is what it says, on its samples") {
    synthetic::Machine machine;
    const synthetic::Curve nccl = synthetic::alpha_beta(12, 20);
    machine.curves = {{"nccl_fused_norm", nccl}, {"oneshot", synthetic::crossing(nccl, {256 * 1024.0})}};
    const std::vector<Sample> measured = synthetic::measure(machine);
    const std::vector<Cell> cells = fit_cells(measured, {});
    REQUIRE(cells.front().regret);
    const auto regret_on = [&](const std::vector<Sample>& of) { return summary(regret_report(of, cells).points); };
    const Regret regret = regret_on(measured);
    CHECK(*cells.front().regret == regret);
    CHECK(regret.points == 13);
    CHECK(regret.max < 0.02);

    machine.hidden_dims = {2880, 7168}; // held-out shapes
    machine.num_tokens = {3, 7, 23, 55, 130, 300, 777};
    machine.seed = 99;
    CHECK(regret_on(synthetic::measure(machine)).max < 0.03);
    machine.cell.world_size = 4; // no such cell
    CHECK(regret_on(synthetic::measure(machine)).points == 0);
}

TEST_CASE("vLLM's rule") {
    const Incumbent vllm = read("vllm");
    CHECK(vllm.name == "vLLM");
    CHECK_FALSE(vllm.source.empty());
    CHECK_FALSE(vllm.date.empty());
    CHECK(chosen(vllm, "9.0", 8, kMiB / 2) == "oneshot");
    CHECK(chosen(vllm, "9.0", 8, kMiB / 2 + 16384) == kUnfused);
    CHECK(chosen(vllm, "9.0", 2, 32 * kMiB) == "oneshot");
    CHECK(chosen(vllm, "9.0", 2, 32 * kMiB + 16384) == "twoshot");
    CHECK(chosen(vllm, "9.0", 2, 64 * kMiB) == "twoshot");
    CHECK(chosen(vllm, "9.0", 2, 64 * kMiB + 16384) == kUnfused);
    CHECK(chosen(vllm, "10.0", 4, 32 * kMiB) == "twoshot");
    CHECK(chosen(vllm, "10.3", 8, 4 * kMiB) == "twoshot");
    CHECK(chosen(vllm, "10.7", 8, 2 * kMiB) == "oneshot");
    CHECK(chosen(vllm, "10.0", 16, 64 * kMiB) == "oneshot"); // no oneshot limit: always
    CHECK(chosen(vllm, "9.0", 16, 16384) == kUnfused);       // no row: the pass is off
    CHECK(chosen(vllm, "12.0", 2, 16384) == kUnfused);
}

TEST_CASE("the rules of SGLang, FlashInfer, TensorRT-LLM and of no fusion") {
    const Incumbent sglang = read("sglang"); // tokens, whatever the bytes
    CHECK(chosen(sglang, "9.0", 8, 2048 * 2 * 1024, 1024) == "twoshot");
    CHECK(chosen(sglang, "9.0", 8, 2049 * 2 * 1024, 1024) == kUnfused);
    CHECK(chosen(sglang, "9.0", 8, 2048 * 2 * 8192, 8192) == "twoshot");
    CHECK(chosen(sglang, "9.0", 8, kMiB) == "oneshot");

    const Incumbent automatic = read("flashinfer-auto"); // 128, 8 and 2.625 MiB
    CHECK(chosen(automatic, "9.0", 2, 128 * kMiB) == "oneshot");
    CHECK(chosen(automatic, "10.0", 4, 8 * kMiB) == "oneshot");
    CHECK(chosen(automatic, "10.0", 4, 8 * kMiB + 16384) == "twoshot");
    CHECK(chosen(automatic, "9.0", 8, 21 * kMiB / 8) == "oneshot");
    CHECK(chosen(automatic, "9.0", 8, 21 * kMiB / 8 + 16384) == "twoshot");
    CHECK(chosen(automatic, "9.0", 8, 64 * kMiB) == "twoshot"); // never NCCL
    CHECK(chosen(automatic, "9.0", 16, 16384) == algorithm::not_measured);

    const Incumbent tensorrt = read("tensorrt-llm");
    // 128 to 255 tokens read oneshot's last entry, 256 to 511 the last fused one.
    CHECK(chosen(tensorrt, "9.0", 4, 2 * kMiB) == "oneshot");
    CHECK(chosen(tensorrt, "9.0", 4, 4 * kMiB - 16384) == "oneshot");
    CHECK(chosen(tensorrt, "9.0", 4, 4 * kMiB) == "twoshot");
    CHECK(chosen(tensorrt, "9.0", 4, 8 * kMiB - 16384) == "twoshot");
    CHECK(chosen(tensorrt, "9.0", 4, 8 * kMiB) == kUnfused);
    CHECK(chosen(tensorrt, "8.0", 8, kMiB - 16384) == "oneshot"); // reads 9.0's array
    CHECK(chosen(tensorrt, "10.0", 8, 4 * kMiB) == "twoshot");
    CHECK(chosen(tensorrt, "12.1", 8, 8 * kMiB) == kUnfused);
    CHECK(chosen(tensorrt, "10.3", 8, 4 * kMiB - 16384) == "oneshot");

    CHECK(chosen(read("always-nccl"), "9.0", 8, 16384) == kNccl);
}

TEST_CASE("a malformed rule is an error with its line") {
    const test::TemporaryFolder folder;
    const std::string head = "incumbent: X\nsource: s\ndate: 2026-01\notherwise: unfused\n";
    const auto message = [&](const std::string& text) -> std::string {
        try {
            read_incumbent(folder.write("x.yaml", text));
        } catch (const InputError& error) {
            return error.what();
        }
        return "no error";
    };
    const auto has = [](const std::string& text, const std::string& part) {
        return text.find(part) != std::string::npos;
    };
    CHECK(message(head + "rules:\n  - {fused_max: never}\n") == "no error");
    CHECK(has(message(head + "rules:\n  - {fused_max: {bytes: 1, tokens: 2}}\n"), "x.yaml:6: `fused_max` needs one"));
    CHECK(has(message(head + "rules:\n  - {fused_max: 5}\n"), "x.yaml:6: `fused_max` is no limit"));
    CHECK(has(message(head + "rules:\n  - {fused_max: {byte: 1}}\n"), "did you mean `bytes`?"));
    CHECK(has(message(head + "rules:\n  - {fused_max: {bytes: -1}}\n"), "x.yaml:6: `bytes` is `-1`"));
    CHECK(has(message(head + "rules:\n  - {world_size: 2}\n"), "`fused_max` is missing"));
    CHECK(has(message(head + "rules: []\n"), "`rules` is empty"));
    // Rules that would never apply: vLLM's own notation, and no world.
    CHECK(has(message(head + "rules:\n  - {compute_capability: 90, fused_max: never}\n"),
              "x.yaml:6: `compute_capability` is `90`; write it like \"9.0\""));
    CHECK(has(message(head + "rules:\n  - compute_capability:\n    - 10.0\n    - sm_90\n    fused_max: never\n"),
              "x.yaml:8: `compute_capability` is `sm_90`"));
    CHECK(has(message(head + "rules:\n  - {world_size: [2, 1], fused_max: never}\n"), "`world_size` is `1`"));
    CHECK(has(message("incumbent: ''\n" + head.substr(head.find('\n') + 1) + "rules:\n  - {fused_max: never}\n"),
              "x.yaml:1: `incumbent` is empty"));
    CHECK(has(message(head), "`rules` is missing"));
    CHECK(has(message("incumbent: X\nsource: s\ndate: 2026-01\notherwise: nccl\nrules:\n  - {fused_max: never}\n"),
              "write one of unfused, not_covered"));
    CHECK(has(message("unfused: ring\n" + head + "rules:\n  - {fused_max: never}\n"), "x.yaml:1: `unfused` is `ring`"));
}

TEST_CASE("evaluate tells the regret of several tables, and what it left out") {
    const test::TemporaryFolder folder;
    std::vector<Sample> measured = samples();
    measured.push_back(sample(64, "nccl_fused_norm", 10, {.world_size = 16})); // FlashInfer has no rule for this
    write_samples(folder.path() / "samples.csv", measured);
    const std::string command = std::string(CROSSOVER_BINARY) + " evaluate --samples " +
                                (folder.path() / "samples.csv").string() +
                                " --table " CROSSOVER_SOURCE_DIR "/configs/incumbents/";
    const auto has = [](const test::CommandResult& result, const std::string& part) {
        return result.output.find(part) != std::string::npos;
    };

    // FlashInfer takes oneshot at 1 MiB: 40 µs against 25.
    const test::CommandResult text = test::run_command(command + "flashinfer-auto.yaml");
    INFO(text.output);
    CHECK(text.status == 0);
    CHECK(has(text, "FlashInfer AUTO"));
    CHECK(has(text, "+30.00 %")); // mean of 0 and 60 %
    CHECK(has(text, "64x8192"));
    CHECK(has(text, "says nothing about 1 point"));

    const test::CommandResult json = test::run_command(command + "flashinfer-auto.yaml --json");
    CHECK(json.status == 0);
    CHECK(has(json, "\"not_covered\": 1"));
    CHECK(has(json, "\"chosen\": \"oneshot\""));

    const test::CommandResult all = test::run_command(command); // the folder
    CHECK(all.status == 0);
    for (const std::string name : {"vLLM", "SGLang", "FlashInfer AUTO", "TensorRT-LLM", "always NCCL"})
        CHECK(has(all, name));

    // A table or a rule may come through a pipe, which can be read once.
    const std::string rules = CROSSOVER_SOURCE_DIR "/configs/incumbents/vllm.yaml";
    for (const std::string& input : {rules, folder.write("table.yaml", emit_yaml(test::every_state()))}) {
        const test::CommandResult piped =
            test::run_command("cat " + input + " | " + CROSSOVER_BINARY + " evaluate --table /dev/stdin --samples " +
                              (folder.path() / "samples.csv").string());
        CHECK_MESSAGE(piped.status == 0, piped.output);
    }

    // A total stands where there are several quant modes to sum, whatever others have.
    std::vector<Sample> patterns = samples();
    for (Sample each : samples())
        for (const Quant quant : {Quant::none, Quant::fp8}) {
            each.point.cell.pattern = Pattern::allreduce_rmsnorm;
            each.point.cell.quant = quant;
            patterns.push_back(each);
        }
    write_samples(folder.path() / "samples.csv", patterns);
    const std::string rows = test::run_command(command + "always-nccl.yaml --worst 0").output;
    INFO(rows);
    const auto row_of = [&](const std::string& pattern, const std::string& quant) {
        const auto at = rows.find(", " + pattern + ", bfloat16, ");
        REQUIRE(at != std::string::npos);
        return rows.find("| " + quant, at) < rows.find('\n', at);
    };
    CHECK(row_of("allreduce_residual_rmsnorm", "none"));
    CHECK(row_of("allreduce_rmsnorm", "all"));

    // MoE samples are nothing to rules for all-reduces.
    for (Sample& each : measured) each.point.cell.pattern = Pattern::moe_dispatch_zipf;
    write_samples(folder.path() / "samples.csv", measured);
    const std::string rule = CROSSOVER_SOURCE_DIR "/configs/incumbents/always-nccl.yaml";
    test::check_refused(test::run_command(command), rule + ": says nothing about any point of the samples; ");
    write_samples(folder.path() / "samples.csv", samples());

    CHECK(test::run_command(command + "no.yaml").status == 2);
    CHECK(test::run_command(command + "vllm.yaml --json --markdown").status == 2);
    CHECK(test::run_command(command + "vllm.yaml --worst -1").status == 2);
    CHECK(test::run_command(std::string(CROSSOVER_BINARY) + " evaluate").status == 2);
    CHECK(test::run_command(std::string(CROSSOVER_BINARY) + " evaluate --help").status == 0);
}
