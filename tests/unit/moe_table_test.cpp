/// The MoE operations from samples to what engines read: one limit, from how many bytes the baseline is left.
#include "output/comparison.hpp"
#include "output/emit.hpp"
#include "output/format.hpp"
#include "output/html_report.hpp"
#include "tests/support/command.hpp"
#include "tests/support/synthetic.hpp"
#include "tests/support/tables.hpp"
#include "tuner/config.hpp"
#include "tuner/error.hpp"
#include "tuner/fit/fit.hpp"
#include "tuner/fit/regret.hpp"

#include <doctest/doctest.h>

#include <cmath>

using namespace crossover;
using namespace crossover::synthetic;

namespace {

constexpr double kKiB = 1024;

/// A dispatch whose (c) quantizing first costs a launch more and moves a quarter of the bytes; (d) does so in one
/// kernel.
Machine dispatch(double onset_bytes, Noise noise = {}) {
    const Curve gather = alpha_beta(14, 60);
    Machine machine;
    machine.cell = {.pattern = Pattern::moe_dispatch_zipf, .quant = Quant::fp4, .world_size = 8};
    // crossing() is faster below; here the challenger is slower below.
    const Curve challenger = [=](double bytes) {
        return gather(bytes) * gather(bytes) / crossing(gather, {onset_bytes})(bytes);
    };
    machine.curves = {{"nccl_allreduce_quantize", scaled(gather, 1.7)},
                      {"nccl_allgather_quantize", gather},
                      {"quantize_nccl_allgather", challenger}};
    machine.noise = noise;
    machine.hidden_dims = {4096, 7168};
    return machine;
}

Cell fitted(const Machine& machine, std::span<const Sample> samples) {
    const std::vector<Cell> cells = fit_cells(samples, FitOptions{});
    REQUIRE(cells.size() == 1);
    CHECK(cells.front().key == machine.cell);
    return cells.front();
}
Cell fitted(const Machine& machine) { return fitted(machine, measure(machine)); }

} // namespace

TEST_CASE("the planted onset is found, with an interval that holds it") {
    for (const double onset : {24 * kKiB, 300 * kKiB, 3000 * kKiB}) {
        CAPTURE(onset);
        const Cell exact = fitted(dispatch(onset, kNoNoise));
        CHECK(exact.status == CellStatus::measured);
        REQUIRE((exact.onset && exact.onset->min_bytes));
        CHECK(std::abs(std::log2(static_cast<double>(*exact.onset->min_bytes) / onset)) < 0.1);
        CHECK(exact.baseline == "nccl_allgather_quantize");
        CHECK((!exact.oneshot && !exact.twoshot && exact.workspace_bytes == 0));
        // The intervals say the same, and what gains with size goes on beyond the samples.
        REQUIRE(exact.intervals.size() == 2);
        CHECK(exact.intervals[1].min_bytes == *exact.onset->min_bytes);
        CHECK(!exact.intervals[1].max_bytes);
        CHECK(select_algorithm(exact, *exact.onset->min_bytes - 1) == "nccl_allgather_quantize");
        CHECK(select_algorithm(exact, *exact.onset->min_bytes) == "quantize_nccl_allgather");
        CHECK(select_algorithm(exact, std::uint64_t{1} << 40) == "quantize_nccl_allgather");

        const Cell noisy = fitted(dispatch(onset));
        REQUIRE((noisy.onset && noisy.onset->ci95));
        const auto [low, high] = *noisy.onset->ci95;
        CHECK((static_cast<double>(low) < onset && onset < static_cast<double>(high)));
        CHECK(high < 2 * low);
        CHECK(noisy.regret->mean < 0.005);
    }
}

TEST_CASE("the adaptive search finds the same with less") {
    Machine machine = dispatch(300 * kKiB);
    machine.num_tokens = default_num_tokens();
    const std::vector<Sample> all = measure(machine), searched = search(machine);
    const Cell of_all = fitted(machine, all), of_searched = fitted(machine, searched);
    REQUIRE((of_searched.onset && of_searched.onset->min_bytes));
    CHECK(searched.size() < all.size() / 4);
    const double ratio =
        static_cast<double>(*of_searched.onset->min_bytes) / static_cast<double>(*of_all.onset->min_bytes);
    CHECK(std::abs(std::log2(ratio)) < 0.1);
}

TEST_CASE("always, never, tie") {
    Machine machine = dispatch(300 * kKiB, kNoNoise);
    const Curve gather = machine.curves["nccl_allgather_quantize"];
    SUBCASE("always") {
        machine.curves["quantize_nccl_allgather"] = scaled(gather, 0.6);
        const Cell cell = fitted(machine);
        REQUIRE(cell.onset);
        CHECK(cell.onset->min_bytes == std::optional<std::uint64_t>(0));
        CHECK(cell.onset->gain_at_edge.value() == doctest::Approx(1 / 0.6 - 1).epsilon(1e-3));
    }
    SUBCASE("never: beyond the samples it is not known") {
        machine.curves["quantize_nccl_allgather"] = scaled(gather, 1.3);
        const Cell cell = fitted(machine);
        CHECK(cell.status == CellStatus::measured);
        REQUIRE(cell.onset);
        CHECK(!cell.onset->min_bytes);
        CHECK(select_algorithm(cell, cell.measured_max_bytes) == "nccl_allgather_quantize");
        CHECK(select_algorithm(cell, cell.measured_max_bytes + 1) == algorithm::not_measured);
    }
    SUBCASE("tie") {
        machine.curves["quantize_nccl_allgather"] = scaled(gather, 1.005);
        const Cell cell = fitted(machine);
        CHECK(cell.status == CellStatus::tie);
        CHECK(cell.onset == Onset{});
        CHECK(select_algorithm(cell, 1 << 20) == "nccl_allgather_quantize");
    }
    SUBCASE("no challenger") {
        machine.curves.erase("quantize_nccl_allgather");
        const Cell cell = fitted(machine);
        CHECK(cell.status == CellStatus::not_measured);
        CHECK(cell.note == "no challenger of the baseline was measured");
    }
}

TEST_CASE("our kernel above NCCL above the baseline: three intervals, one limit") {
    Machine machine = dispatch(64 * kKiB, kNoNoise);
    const Curve second = machine.curves["quantize_nccl_allgather"];
    machine.curves["push"] = [=](double bytes) { return second(bytes) * (bytes < 1024 * kKiB ? 1.2 : 0.8); };
    const Cell cell = fitted(machine);
    REQUIRE(cell.intervals.size() == 3);
    CHECK(cell.intervals[0].algorithm == "nccl_allgather_quantize");
    CHECK(cell.intervals[1].algorithm == "quantize_nccl_allgather");
    CHECK(cell.intervals[2].algorithm == "push");
    REQUIRE((cell.onset && cell.onset->min_bytes));
    CHECK(cell.intervals[1].min_bytes == *cell.onset->min_bytes);
}

TEST_CASE("a hidden_dim with a limit of its own") {
    Machine machine = dispatch(256 * kKiB, kNoNoise);
    machine.hidden_dims = {4096, 7168};
    machine.num_tokens = default_num_tokens();
    machine.shape_factor = [](const std::string& name, const Point& point) {
        return name == "quantize_nccl_allgather" && point.hidden_dim == 7168 ? 1.6 : 1.0;
    };
    const Cell cell = fitted(machine);
    REQUIRE(!cell.hidden_dims.empty());
    for (const HiddenDimRow& row : cell.hidden_dims) {
        REQUIRE((row.onset && row.onset->min_bytes));
        CHECK(select_algorithm(cell, *row.onset->min_bytes - 1, row.hidden_dim) == "nccl_allgather_quantize");
        CHECK(select_algorithm(cell, *row.onset->min_bytes, row.hidden_dim) == "quantize_nccl_allgather");
    }
    CHECK(cell.note.find("challengers from") != std::string::npos);
}

TEST_CASE("a hidden_dim whose samples begin late: below them the cell's baseline, and a limit that says so") {
    Machine machine = dispatch(256 * kKiB, kNoNoise);
    machine.hidden_dims = {4096, 7168};
    machine.num_tokens = default_num_tokens();
    machine.shape_factor = [](const std::string& name, const Point& point) {
        return name == "quantize_nccl_allgather" && point.hidden_dim == 7168 ? 0.6 : 1.0;
    };
    std::vector<Sample> samples = measure(machine);
    std::erase_if(samples, [](const Sample& sample) {
        return sample.point.hidden_dim == 7168 && message_bytes(sample.point) < 100'000;
    });
    const Cell cell = fit_cells(samples, {}).front();
    REQUIRE(find_row(cell, 7168) != nullptr);
    const HiddenDimRow& row = *find_row(cell, 7168);
    REQUIRE(row.intervals.size() == 2);
    CHECK(row.intervals[0].algorithm == "nccl_allgather_quantize");
    CHECK(row.onset == Onset{.min_bytes = row.intervals[1].min_bytes, .ci95 = {}, .gain_at_edge = {}});
    CHECK(row.intervals[1].min_bytes == 7 * 16384); // its smallest sample
}

namespace {

Table moe_table(const std::string& sku = "NVIDIA H200") {
    Table table = test::empty_table(sku, "9.0");
    Machine never = dispatch(300 * kKiB, kNoNoise);
    never.cell.world_size = 2;
    never.curves["quantize_nccl_allgather"] = scaled(never.curves["nccl_allgather_quantize"], 1.3);
    Machine combine;
    combine.cell = {.pattern = Pattern::moe_combine_even, .world_size = 8};
    combine.curves = {{"nccl_allreduce_slice", alpha_beta(20, 90)}, {"nccl_reduce_scatter", alpha_beta(12, 30)}};
    for (const Machine& machine : {never, dispatch(300 * kKiB), combine}) table.cells.push_back(fitted(machine));
    return table;
}

} // namespace

TEST_CASE("table.yaml keeps it") {
    const Table table = moe_table();
    const std::string text = emit_yaml(table);
    CHECK(parse_table(text, "table.yaml") == table);
    CHECK(text.find("quantize_before_gather_min_bytes: null") != std::string::npos);
    CHECK(text.find("reduce_scatter_min_bytes: 0") != std::string::npos);
    CHECK(parse_table(emit_json(table), "table.json") == table);

    std::string broken = text;
    const std::string key = "quantize_before_gather_min_bytes: null";
    broken.replace(broken.find(key), key.size(), "reduce_scatter_min_bytes: 5");
    CHECK_THROWS_AS(parse_table(broken, "table.yaml"), InputError); // a dispatch scatters nothing

    // The limit is where the challengers begin, unless the baseline wins again above.
    Table other = table;
    const auto error = [&](auto change) -> std::string {
        other = table;
        change(other.cells[1]);
        try {
            return parse_table(emit_yaml(other), "t.yaml") == other ? "no error" : "another table";
        } catch (const InputError& refused) {
            return refused.what();
        }
    };
    const std::uint64_t onset = *table.cells[1].onset->min_bytes;
    CHECK(error([](Cell& cell) { cell.onset->min_bytes = 65536; })
              .find("`quantize_before_gather_min_bytes` is 65536, but by its intervals it is " + std::to_string(onset) +
                    "; change both alike") != std::string::npos);
    CHECK(error([](Cell& cell) { cell.onset->min_bytes.reset(); }).find("is null, but by") != std::string::npos);
    CHECK(error([](Cell& cell) { cell.onset.reset(); }).find("quantize_before_gather_min_bytes") != std::string::npos);
    CHECK(error([](Cell& cell) {
              cell.intervals = {{0, {}, cell.baseline}};
          }).find("intervals it is null") != std::string::npos);
    CHECK(error([](Cell& cell) {
              cell.onset->min_bytes = 65536;
              cell.intervals = {{0, 9999, "push"}, {10000, 65535, cell.baseline}, {65536, {}, "push"}};
          }) == "no error");
    CHECK(error([&](Cell& cell) {
              cell.hidden_dims = {{.hidden_dim = 4096, .onset = Onset{}, .baseline = cell.baseline}};
              cell.hidden_dims[0].intervals = {{0, 9999, cell.baseline}, {10000, {}, "push"}};
          }).find("is null, but by its intervals it is 10000") != std::string::npos);
}

TEST_CASE("the summary names the limit") {
    const std::string text = emit_markdown(moe_table());
    CHECK(text.find("quantize before gather from") != std::string::npos);
    CHECK(text.find("never up to") != std::string::npos);
    CHECK(text.find("0 (always)") != std::string::npos);
    CHECK(text.find("the mean over the ranks") != std::string::npos);
    CHECK(emit_markdown(test::every_state()).find("the mean over the ranks") == std::string::npos);
}

TEST_CASE("a hidden_dim's row tells its intervals where its one limit does not") {
    Cell cell = moe_table().cells[1];
    cell.hidden_dims = {{.hidden_dim = 4096,
                         .onset = Onset{.min_bytes = 10000, .ci95 = {}, .gain_at_edge = {}},
                         .baseline = cell.baseline}};
    std::vector<Interval>& intervals = cell.hidden_dims[0].intervals;
    intervals = {{0, 9999, cell.baseline}, {10000, {}, "push"}};
    CHECK(row_facts(cell).at(0).find("push") == row_facts(cell).at(0).rfind("push")); // displaces the baseline
    intervals = {{0, 9999, cell.baseline}, {10000, 99999, "push"}, {100000, {}, cell.baseline}};
    CHECK(row_facts(cell).at(0).find(": push") != std::string::npos);
}

TEST_CASE("the HTML report shows the limit and the curves") {
    const Machine machine = dispatch(300 * kKiB);
    const std::vector<Sample> samples = measure(machine);
    Table table = test::empty_table("NVIDIA H200", "9.0");
    table.cells.push_back(fitted(machine, samples));
    const std::string page =
        emit_html({.table = table, .fitted = samples, .held_out = {}, .fit = FitOptions{}, .others = {}});
    CHECK(page.find("quantize before gather from, 95 % interval") != std::string::npos);
    CHECK(page.find(onset_text(table.cells.front())) != std::string::npos);
    CHECK(page.find("oneshot max, 95") == std::string::npos);
}

TEST_CASE("the header says it, alone and beside another GPU's") {
    Table h200 = moe_table();
    const Table b200 = test::empty_table("NVIDIA B200", "10.0");
    // Of the dispatch at 8 ranks and of the combine, one hidden_dim has a limit of its own: 12345, and never.
    for (const std::size_t cell : {1, 2})
        h200.cells[cell].hidden_dims = {{.hidden_dim = 7168, .onset = Onset{}, .baseline = "nccl_allreduce_slice"}};
    h200.cells[1].hidden_dims[0].onset->min_bytes = 12345;
    h200.cells[1].note = "the intervals say\nmore";
    CHECK(emit_cpp_header(std::span(&h200, 1)).find("\n        // the intervals say more\n") != std::string::npos);
    const std::uint64_t onset = *h200.cells[1].onset->min_bytes;
    const std::string zipf_at_8 = "quantize_before_gather_min_bytes(8, Distribution::zipf) == " + std::to_string(onset);
    const test::TemporaryFolder folder;
    const auto compile = [&](const std::string& name, const std::string& header, const std::string& program) {
        folder.write(name + ".h", header);
        const std::string source = folder.write(
            name + ".cpp", "#include \"" + name + ".h\"\nusing namespace crossover;\n" + program + "int main() {}\n");
        for (const std::string compiler : {"g++", "clang++"}) {
            const auto result =
                test::run_command(compiler + " -std=c++17 -Wall -Wextra -Wpedantic -Werror -fsyntax-only " + source);
            CHECK_MESSAGE(result.status == 0, compiler, " ", result.output);
        }
    };
    compile(
        "one", emit_cpp_header(std::span(&h200, 1)),
        "static_assert(" + zipf_at_8 +
            ");\n"
            "static_assert(quantize_before_gather_min_bytes(2, Distribution::zipf) == kNever);\n"
            "static_assert(!quantize_before_gather_min_bytes(2));\n"
            "static_assert(reduce_scatter_min_bytes(8) == 0u);\n"
            "static_assert(!reduce_scatter_min_bytes(8, Distribution::zipf));\n"
            "static_assert(quantize_before_gather_min_bytes(8, 7168, Distribution::zipf) == 12345u);\n"
            "static_assert(quantize_before_gather_min_bytes(8, 4096, Distribution::zipf) != 12345u);\n"
            "static_assert(quantize_before_gather_min_bytes(2, 7168, Distribution::zipf) == kNever);\n"
            "static_assert(reduce_scatter_min_bytes(8, 7168) == kNever && reduce_scatter_min_bytes(8, 4096) == 0u);\n"
            "static_assert(!reduce_scatter_min_bytes(4, 7168));\n"
            "static_assert(!oneshot_max_bytes(8));\n");
    const std::array tables{h200, b200};
    std::string by_sku = zipf_at_8;
    by_sku.insert(by_sku.find('(') + 1, "Sku::nvidia_h200, ");
    compile("two", emit_cpp_header(tables),
            "static_assert(" + by_sku +
                ");\n"
                "static_assert(!reduce_scatter_min_bytes(Sku::nvidia_b200, 8));\n"
                "static_assert(!reduce_scatter_min_bytes(Sku::nvidia_b200, 8, 7168));\n"
                "static_assert(reduce_scatter_min_bytes(Sku::nvidia_h200, 8, 7168) == kNever);\n"
                "static_assert(!reduce_scatter_min_bytes(Sku::unknown, 8));\n");
    CHECK(emit_cpp_header(std::span(&b200, 1)).find("Distribution") == std::string::npos);
}

TEST_CASE("compare: a challenger that got slower is a regression, a re-measurement is not") {
    const auto measured_as = [](double slower, std::uint64_t seed) {
        Machine machine = dispatch(300 * kKiB);
        machine.seed = seed;
        machine.curves["quantize_nccl_allgather"] = scaled(machine.curves["quantize_nccl_allgather"], slower);
        Measured measured{.name = "t", .table = test::empty_table("NVIDIA H200", "9.0"), .samples = measure(machine)};
        measured.table.cells.push_back(fitted(machine, measured.samples));
        measured.table.provenance.sessions = machine.sessions;
        return measured;
    };
    const auto verdict = [&](double slower, std::uint64_t seed, bool with_samples) {
        Measured before = measured_as(1, 1), after = measured_as(slower, seed);
        if (!with_samples) before.samples = after.samples = {};
        return compare(before, after, {}).cells.front().verdict;
    };
    for (const bool with_samples : {false, true})
        for (std::uint64_t seed = 2; seed < 12; ++seed) {
            CAPTURE(with_samples);
            CAPTURE(seed);
            CHECK(verdict(1, seed, with_samples) == CellVerdict::same);
            CHECK(verdict(1.25, seed, with_samples) == CellVerdict::worse);
            CHECK(verdict(0.8, seed, with_samples) == CellVerdict::better);
        }
}

TEST_CASE("a config of both operations: each cell has its own algorithms") {
    const test::TemporaryFolder folder;
    const std::string good = R"(sweep:
  world_sizes: [8]
  patterns: [moe_dispatch_even, moe_combine_zipf, allreduce_rmsnorm]
  dtypes: [bfloat16]
  quants: [fp4]
  hidden_dims: [4096]
  num_tokens: [1, 64]
  algorithms: [nccl_allgather_quantize, quantize_nccl_allgather, nccl_allreduce_slice, nccl_reduce_scatter, push,
               nccl_fused_norm, oneshot]
)";
    const Config config = read_config(folder.write("c.yaml", good));
    for (const Point& point : grid_points(config))
        CHECK(((point.cell.pattern == Pattern::moe_combine_zipf) == (point.cell.quant == Quant::none)));
    for (const Search search : {Search::grid, Search::adaptive}) {
        Config of_search = config;
        of_search.search = search;
        for (const Trial& trial : make_plan(of_search, 1000)->next(0, {}))
            for (const std::string& name : trial.algorithms) CHECK(algorithm::does(name, trial.point.cell.pattern));
    }
    const auto error_without = [&](const std::string& words) {
        std::string text = good;
        const auto at = text.find(words);
        REQUIRE(at != std::string::npos);
        text.erase(at, words.size());
        try {
            read_config(folder.write("bad.yaml", text));
        } catch (const InputError& error) {
            return std::string(error.what());
        }
        return std::string("no error");
    };
    CHECK(error_without("nccl_allgather_quantize, ").find("nothing quantizes after the gather for moe_dispatch_even") !=
          std::string::npos);
    CHECK(error_without("nccl_allreduce_slice, ").find("no all-reduce to compare with for moe_combine_zipf") !=
          std::string::npos);
}
