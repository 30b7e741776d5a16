/// Published numbers → samples → fit → table → emitters.
#include "output/emit.hpp"
#include "tests/support/import_fixtures.hpp"
#include "tuner/fit/fit.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>

using namespace crossover;
using import_fixtures::import_text;
using import_fixtures::read;

namespace {

constexpr std::uint64_t kMiB = 1 << 20;

Table table_of(const std::string& sku, const std::vector<Sample>& samples) {
    Table table;
    table.crossover_version = CROSSOVER_VERSION;
    table.fingerprint.sku = sku;
    table.fingerprint.compute_capability = samples.front().compute_capability;
    table.source = "import";
    table.cells = fit_cells(samples, {});
    return table;
}

std::vector<Sample> published(const std::string& sku) {
    return import_text(ImportFormat::vllm_pr, read("published/vllm-pr-22086.csv"), sku).samples;
}

const Cell& cell(const Table& table, int world_size, Quant quant) {
    const Cell* found = find_cell(table, {.pattern = Pattern::allreduce_residual_rmsnorm,
                                          .dtype = DType::bfloat16,
                                          .quant = quant,
                                          .world_size = world_size});
    REQUIRE(found);
    return *found;
}

/// Oneshot's limit, which lies where the curves meet.
std::uint64_t oneshot_crossover(const Cell& found) {
    REQUIRE(found.status == CellStatus::measured);
    REQUIRE(found.oneshot);
    CHECK(found.oneshot->limited_by == LimitedBy::crossover);
    return found.oneshot->max_bytes;
}

} // namespace

TEST_CASE("published vLLM numbers give a B200 table") {
    const Table table = table_of("NVIDIA B200", published("NVIDIA B200"));
    CHECK(table.cells.size() == 7); // 3 world sizes × none, fp8, and the section labelled "no residual"
    for (const Quant quant : {Quant::none, Quant::fp8}) {
        // World size 2: oneshot still wins at the largest size. Beyond is not measured, and no limit is made up.
        const Cell& two = cell(table, 2, quant);
        REQUIRE(two.oneshot);
        CHECK(two.oneshot->limited_by == LimitedBy::range);
        CHECK(two.oneshot->max_bytes == 4 * kMiB);
        CHECK(select_algorithm(two, 4 * kMiB) == "oneshot");
        CHECK(select_algorithm(two, 4 * kMiB + 1) == algorithm::not_measured);
        // World size 8: oneshot wins at 1 MiB (25 against 31 µs), loses at 2 MiB (47 against 33).
        const std::uint64_t eight = oneshot_crossover(cell(table, 8, quant));
        CHECK(eight >= 1 * kMiB);
        CHECK(eight < 2 * kMiB);
        CHECK(cell(table, 8, quant).baseline.starts_with("nccl_"));
    }
    // World size 4: the curves meet at 2 MiB (32 against 31 µs; with fp8 30 against 32).
    CHECK(oneshot_crossover(cell(table, 4, Quant::none)) >= 1 * kMiB);
    CHECK(oneshot_crossover(cell(table, 4, Quant::none)) < 2 * kMiB);
    CHECK(oneshot_crossover(cell(table, 4, Quant::fp8)) >= 2 * kMiB);
    CHECK(oneshot_crossover(cell(table, 4, Quant::fp8)) < 4 * kMiB);
}

TEST_CASE("published vLLM numbers give an H100 table") {
    const Table table = table_of("NVIDIA H100", published("NVIDIA H100"));
    CHECK(table.cells.size() == 4);
    // World size 4: oneshot wins at 0.5 MiB (13 against 16 µs), loses at 1 MiB (23 against 19).
    for (const Quant quant : {Quant::none, Quant::fp8}) {
        const std::uint64_t four = oneshot_crossover(cell(table, 4, quant));
        CHECK(four >= kMiB / 2);
        CHECK(four < kMiB);
    }
    // World size 2: 10 against 10 µs at 0.5 MiB. Rounded to 1 µs, that is no win.
    CHECK(select_algorithm(cell(table, 2, Quant::none), kMiB / 2).starts_with("nccl_"));
    CHECK(select_algorithm(cell(table, 2, Quant::none), kMiB).starts_with("nccl_"));
}

TEST_CASE("the outlier rows move no threshold") {
    std::vector<Sample> samples = published("NVIDIA B200");
    const std::vector<Cell> cells = fit_cells(samples, {});
    int repaired = 0;
    for (Sample& sample : samples) {
        double neighbour_us = 0;
        if (sample.latency_us == 141) neighbour_us = 23; // nccl_compiled at 64 tokens; nccl_separate has 23 there
        if (sample.latency_us == 134) neighbour_us = 44; // twoshot at 32 tokens; without quantization 44
        if (neighbour_us == 0) continue;
        sample.latency_us = neighbour_us;
        sample.p10_us = neighbour_us - 0.5;
        sample.p90_us = neighbour_us + 0.5;
        ++repaired;
    }
    REQUIRE(repaired == 2);
    CHECK(fit_cells(samples, {}) == cells);
}

TEST_CASE("Markdown files, any order, give the cells of the CSV") {
    const Table from_csv = table_of("NVIDIA B200", published("NVIDIA B200"));
    std::vector<ImportInput> inputs;
    for (const std::string world : {"8", "2", "4"})
        inputs.push_back({read("published/vllm-b200-tp" + world + ".md"), "tp" + world});
    const auto imported =
        import_samples(ImportFormat::vllm, inputs, import_fixtures::options_for(ImportFormat::vllm, "NVIDIA B200"));
    const Table from_markdown = table_of("NVIDIA B200", imported.samples);
    REQUIRE(from_markdown.cells.size() == 3);
    for (const Cell& found : from_markdown.cells) CHECK(found == cell(from_csv, found.key.world_size, Quant::none));

    const Table h100 = table_of("NVIDIA H100", published("NVIDIA H100"));
    for (const std::string name : {"tp2-none", "tp2-fp8", "tp4-none", "tp4-fp8"}) {
        const auto samples =
            import_text(ImportFormat::sglang, read("published/sglang-h100-" + name + ".md"), "NVIDIA H100").samples;
        const std::vector<Cell> cells = fit_cells(samples, {});
        REQUIRE(cells.size() == 1);
        CHECK(cells.front() == cell(h100, cells.front().key.world_size, cells.front().key.quant));
    }
}

TEST_CASE("imported tables go through the emitters") {
    for (const std::string sku : {"NVIDIA B200", "NVIDIA H100"}) {
        const Table table = table_of(sku, published(sku));
        CHECK(parse_table(emit_yaml(table), "table.yaml") == table);
        CHECK(emit_cpp_header({&table, 1}).find(sku) != std::string::npos);
        CHECK(parse_table(emit_json(table), "table.json") == table); // YAML's readers read JSON
        const std::string markdown = emit_markdown(table);
        for (const Cell& each : table.cells)
            CHECK(markdown.find("### " + to_string(each.key) + "\n") != std::string::npos);
    }
}

TEST_CASE("sizes that were not published are left to the engine") {
    const Table b200 = table_of("NVIDIA B200", published("NVIDIA B200"));
    // World size 8, hidden_dim 8192, 32 to 256 tokens were published: oneshot, oneshot, NCCL, NCCL.
    CHECK(emit_tensorrt_llm({&b200, 1}, {})
              .find("{-1, -1, -1, -1, -1,  4,  4,  0,  0, -1, -1, -1, -1, -1, -1}, // hidden 8192") !=
          std::string::npos);
    const std::string vllm = emit_vllm({&b200, 1}, {});
    CHECK(vllm.find("# 2: not measured above\n        2: 4,") != std::string::npos);
    // H100, world size 2: oneshot is no faster at 0.5 MiB; smaller ones were not published, where it may well be.
    const Table h100 = table_of("NVIDIA H100", published("NVIDIA H100"));
    CHECK(emit_vllm({&h100, 1}, {}).find("# 2: not measured below 524288 B") != std::string::npos);
    CHECK(emit_markdown(h100).find("0 (never from 512 KiB on)") != std::string::npos);
    for (const Table& table : {b200, h100})
        for (const Cell& each : table.cells)
            if (each.oneshot && each.oneshot->max_bytes == 0) CHECK(each.baseline == each.intervals.front().algorithm);
}

TEST_CASE("results without any baseline are not measured, not won") {
    const auto samples = import_text(ImportFormat::flashinfer, read("import/flashinfer.csv"), "NVIDIA H200").samples;
    const std::vector<Cell> cells = fit_cells(samples, {});
    const auto found = std::find_if(cells.begin(), cells.end(), [](const Cell& candidate) {
        return has_norm(candidate.key.pattern) && candidate.key.dtype == DType::bfloat16 &&
               candidate.key.quant == Quant::none;
    });
    REQUIRE(found != cells.end());
    CHECK(found->status == CellStatus::not_measured);
    CHECK_FALSE(found->note.empty());
}
