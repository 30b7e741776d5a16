#include "output/comparison.hpp"
#include "output/comparison_evidence.hpp"
#include "tests/support/tables.hpp"
#include "tuner/fit/statistics.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

using namespace crossover;

namespace {

constexpr std::uint64_t kKiB = 1024, kMiB = 1024 * kKiB;

/// A cell whose thresholds have 95 % intervals of ±6 % and whose edges gain 15 %: the curves cross steeply.
Cell steep_cell(std::uint64_t oneshot = 128 * kKiB, std::uint64_t twoshot = 16 * kMiB) {
    Cell cell = test::measured_cell(8, oneshot, twoshot);
    for (auto* limit : {&cell.oneshot, &cell.twoshot}) {
        (*limit)->gain_at_edge = 0.15;
        (*limit)->ci95 = {(*limit)->max_bytes * 94 / 100, (*limit)->max_bytes * 106 / 100};
    }
    return cell;
}

Table table_of(std::vector<Cell> cells) {
    Table table = test::empty_table("NVIDIA H200", "9.0");
    table.cells = std::move(cells);
    return table;
}

Comparison compare_tables(const Table& before, const Table& after, const CompareOptions& options = {}) {
    return compare({"old", before, {}}, {"new", after, {}}, options);
}

/// The verdict on the only cell, and whether it fails: a comparison of nothing does.
CellVerdict verdict(const Cell& before, const Cell& after, const CompareOptions& options = {}) {
    const Comparison comparison = compare_tables(table_of({before}), table_of({after}), options);
    REQUIRE(comparison.cells.size() == 1);
    const CellVerdict verdict = comparison.cells[0].verdict;
    CHECK(comparison.fails() ==
          (verdict == CellVerdict::worse || verdict == CellVerdict::missing || !comparison.compared()));
    CHECK(!(comparison.compared() && verdict == CellVerdict::not_comparable));
    return verdict;
}

bool says(const CellComparison& cell, const std::string& words) {
    return std::any_of(cell.why.begin(), cell.why.end(),
                       [&](const std::string& line) { return line.find(words) != std::string::npos; });
}

} // namespace

TEST_CASE("a table compared with itself is the same in every state a cell can have") {
    const Table table = test::every_state();
    const Comparison comparison = compare_tables(table, table);
    CHECK(comparison.cells.size() == table.cells.size());
    CHECK(comparison.count(CellVerdict::same) == static_cast<int>(table.cells.size()));
    CHECK(comparison.differences.empty());
    CHECK_FALSE(comparison.fails());
    for (const CellComparison& cell : comparison.cells) CHECK_MESSAGE(cell.why.empty(), to_string(cell.key));
}

TEST_CASE("rows of single hidden_dims that come or go are told") {
    Cell rows = steep_cell();
    rows.hidden_dims = {{.hidden_dim = 2048, .status = CellStatus::tie, .baseline = "nccl_fused_norm"}};
    const Comparison comparison = compare_tables(table_of({rows}), table_of({steep_cell()}));
    CHECK(comparison.cells[0].verdict == CellVerdict::same);
    CHECK(says(comparison.cells[0], "hidden dims with limits of their own: 2048 → none"));
}

TEST_CASE("a threshold that moved within its interval is the same") {
    CHECK(verdict(steep_cell(), steep_cell(124 * kKiB)) == CellVerdict::same);
    CHECK(verdict(steep_cell(), steep_cell(132 * kKiB)) == CellVerdict::same);
}

TEST_CASE("an interval that reaches the end of the sizes tells the spread by its other half") {
    const auto open_below = [](std::uint64_t oneshot) {
        Cell cell = steep_cell(oneshot);
        (*cell.oneshot->ci95)[0] = 0; // perhaps never
        return cell;
    };
    CHECK(verdict(open_below(128 * kKiB), open_below(119 * kKiB)) == CellVerdict::same);
    CHECK(verdict(open_below(128 * kKiB), open_below(112 * kKiB)) == CellVerdict::worse);
}

TEST_CASE("beyond the intervals, the time at stake decides") {
    CHECK(verdict(steep_cell(), steep_cell(96 * kKiB)) == CellVerdict::worse);
    CHECK(verdict(steep_cell(), steep_cell(128 * kKiB, 10 * kMiB)) == CellVerdict::worse);
    CHECK(verdict(steep_cell(), steep_cell(176 * kKiB)) == CellVerdict::better);
    // 0.42 octaves at 2 × 15 % an octave are 13 %: under a limit of 20 % the same move costs too little.
    CHECK(verdict(steep_cell(), steep_cell(96 * kKiB), {.max_regression = 0.2}) == CellVerdict::moved);

    Cell flat = steep_cell(), flat_after = steep_cell(64 * kKiB);
    flat.oneshot->gain_at_edge = flat_after.oneshot->gain_at_edge = 0.002;
    CHECK(verdict(flat, flat_after) == CellVerdict::moved); // an octave costs 0.4 %
    CHECK(verdict(flat_after, flat) == CellVerdict::moved);
}

TEST_CASE("the estimate is the slope at the edges times the distance") {
    const Comparison comparison = compare_tables(table_of({steep_cell()}), table_of({steep_cell(96 * kKiB)}));
    const ThresholdChange& change = comparison.cells[0].thresholds[0];
    CHECK(change.algorithm == algorithm::oneshot);
    CHECK(change.octaves == doctest::Approx(std::log2(96.0 / 128)));
    CHECK(change.time_at_stake == doctest::Approx(std::exp(2 * std::log(1.15) * std::log2(128.0 / 96)) - 1));
    CHECK(comparison.cells[0].thresholds[1].verdict == CellVerdict::same);
}

TEST_CASE("a faster twoshot takes oneshot's sizes: no regression") {
    const Comparison comparison =
        compare_tables(table_of({steep_cell()}), table_of({steep_cell(96 * kKiB, 24 * kMiB)}));
    CHECK(comparison.cells[0].verdict == CellVerdict::better);
    CHECK(says(comparison.cells[0], "twoshot got faster"));
    CHECK_FALSE(comparison.fails());
    // By what it won above: half of the 12 % that oneshot lost, or more.
    CHECK(verdict(steep_cell(), steep_cell(96 * kKiB, 18 * kMiB)) == CellVerdict::worse);  // 5 %
    CHECK(verdict(steep_cell(), steep_cell(96 * kKiB, 19 * kMiB)) == CellVerdict::better); // 7 %
}

TEST_CASE("without intervals a step of the ladder is noise, two are not") {
    const auto bare = [](std::uint64_t oneshot) {
        Cell cell = steep_cell(oneshot);
        cell.oneshot->ci95.reset();
        return cell;
    };
    CHECK(verdict(bare(128 * kKiB), bare(64 * kKiB)) == CellVerdict::same);
    CHECK(verdict(bare(128 * kKiB), bare(32 * kKiB)) == CellVerdict::worse);
    CHECK(verdict(bare(32 * kKiB), bare(128 * kKiB)) == CellVerdict::better);
}

TEST_CASE("a threshold edited by hand is not protected by the interval left beside it") {
    for (const std::uint64_t edited_to : {96 * kKiB, 8 * kKiB}) {
        Cell edited = steep_cell();
        edited.oneshot->max_bytes = edited_to;
        edited.intervals[0].max_bytes = edited_to;
        edited.intervals[1].min_bytes = edited_to + 1;
        CHECK(verdict(steep_cell(), edited) == CellVerdict::worse);
    }
}

TEST_CASE("without gains the slope is assumed, with one it is that one's") {
    const auto stake = [](std::optional<double> old_gain, std::optional<double> new_gain) {
        Cell before = steep_cell(), after = steep_cell(64 * kKiB); // an octave
        before.oneshot->gain_at_edge = old_gain;
        after.oneshot->gain_at_edge = new_gain;
        const Comparison comparison = compare_tables(table_of({before}), table_of({after}));
        return std::log1p(comparison.cells[0].thresholds[0].time_at_stake);
    };
    CHECK(stake({}, {}) == doctest::Approx(0.3));
    CHECK(stake(0.1, {}) == doctest::Approx(2 * std::log(1.1)));
    CHECK(stake({}, 0.1) == doctest::Approx(2 * std::log(1.1)));
    CHECK(stake(0.1, 0.2) == doctest::Approx(std::log(1.1) + std::log(1.2)));
    CHECK(stake(0.0, 0.0) == doctest::Approx(0));
}

TEST_CASE("never and tie are places, too") {
    Cell never = steep_cell(0);
    never.oneshot->ci95.reset();
    never.oneshot->gain_at_edge.reset();
    CHECK(verdict(steep_cell(), never) == CellVerdict::worse);
    CHECK(verdict(never, steep_cell()) == CellVerdict::better);
    CHECK(verdict(never, never) == CellVerdict::same);

    Cell tie;
    tie.key = steep_cell().key;
    tie.status = CellStatus::tie;
    tie.baseline = algorithm::nccl_separate;
    tie.measured_min_bytes = 4096;
    tie.measured_max_bytes = 64 * kMiB;
    CHECK(verdict(steep_cell(), tie) == CellVerdict::worse);
    CHECK(verdict(tie, steep_cell()) == CellVerdict::better);
    Cell flat = steep_cell();
    for (auto* limit : {&flat.oneshot, &flat.twoshot}) (*limit)->gain_at_edge = 0.003;
    CHECK(verdict(flat, tie) == CellVerdict::moved);
}

TEST_CASE("what was measured and is not any more is missing; what appears is new") {
    Cell unmeasured;
    unmeasured.key = steep_cell().key;
    Cell unsupported = unmeasured;
    unsupported.status = CellStatus::unsupported;
    unsupported.note = "no peer access";
    CHECK(verdict(steep_cell(), unmeasured) == CellVerdict::missing);
    CHECK(verdict(steep_cell(), unsupported) == CellVerdict::missing);
    CHECK(verdict(unmeasured, steep_cell()) == CellVerdict::added);
    CHECK(verdict(unmeasured, unsupported) == CellVerdict::same);

    Cell other = steep_cell();
    other.key.quant = Quant::fp8;
    const Comparison comparison = compare_tables(table_of({steep_cell()}), table_of({other}));
    REQUIRE(comparison.cells.size() == 2); // neither key is skipped
    CHECK(comparison.cells[0].verdict == CellVerdict::missing);
    CHECK(comparison.cells[1].verdict == CellVerdict::added);
    CHECK(says(comparison.cells[0], "absent"));
    CHECK(comparison.fails());
    CHECK(to_string(CellVerdict::added) == "new");

    Cell without_twoshot = steep_cell();
    without_twoshot.twoshot.reset();
    CHECK(verdict(steep_cell(), without_twoshot) == CellVerdict::missing);
    CHECK(verdict(without_twoshot, steep_cell()) == CellVerdict::moved);
    CHECK(verdict(without_twoshot, without_twoshot) == CellVerdict::same);
}

TEST_CASE("what one side did not measure far enough cannot be compared") {
    Cell ended = steep_cell(128 * kKiB, 4 * kMiB);
    ended.twoshot = Threshold{4 * kMiB, std::nullopt, LimitedBy::range, 0.3};
    ended.measured_max_bytes = 4 * kMiB;
    CHECK(verdict(steep_cell(), ended) == CellVerdict::not_comparable);
    // Beside a cell that can be compared it fails only if strict.
    const Cell other = test::measured_cell(4, 128 * kKiB, 16 * kMiB);
    CHECK_FALSE(compare_tables(table_of({other, steep_cell()}), table_of({other, ended})).fails());
    CHECK(compare_tables(table_of({other, steep_cell()}), table_of({other, ended}), {.strict = true}).fails());
    CHECK(verdict(ended, steep_cell()) == CellVerdict::same); // consistent, and known further
    CHECK(verdict(ended, steep_cell(128 * kKiB, 2 * kMiB)) == CellVerdict::worse);
    Cell barely = steep_cell(128 * kKiB, 3600 * kKiB); // a tenth of an octave less, but of a gain of 30 %
    barely.twoshot->gain_at_edge = 0.001;
    barely.twoshot->ci95 = {3599 * kKiB, 3601 * kKiB};
    CHECK(verdict(ended, barely) == CellVerdict::worse);
    // Something else in the cell can still be told.
    Cell worse = ended;
    worse.oneshot = steep_cell(64 * kKiB).oneshot;
    CHECK(verdict(steep_cell(), worse) == CellVerdict::worse);
}

TEST_CASE("a smaller workspace loses what the algorithm gained there") {
    const auto clamped = [](std::uint64_t max_bytes, double gain) {
        Cell cell = steep_cell();
        cell.twoshot = Threshold{max_bytes, std::nullopt, LimitedBy::workspace, gain};
        return cell;
    };
    CHECK(verdict(clamped(16 * kMiB, 0.1), clamped(8 * kMiB, 0.2)) == CellVerdict::worse);
    CHECK(verdict(clamped(16 * kMiB, 0.1), clamped(8 * kMiB, 0.01)) == CellVerdict::moved);
    CHECK(verdict(clamped(8 * kMiB, 0.2), clamped(16 * kMiB, 0.1)) == CellVerdict::better);
    CHECK(verdict(clamped(8 * kMiB, 0.2), clamped(8 * kMiB, 0.2)) == CellVerdict::same);
}

TEST_CASE("other hardware or software: told once, not compared, which is no consent") {
    const Table before = table_of({steep_cell()}), worse = table_of({steep_cell(32 * kKiB)});
    const auto check = [&](auto change, const std::string& word, bool can_be_allowed) {
        Table after = worse;
        change(after);
        CAPTURE(word);
        const Comparison comparison = compare_tables(before, after);
        CHECK_FALSE(comparison.comparable());
        REQUIRE(comparison.differences.size() == 1);
        CHECK(comparison.cells[0].verdict == CellVerdict::not_comparable);
        CHECK_FALSE(comparison.compared());
        CHECK(comparison.fails());
        CHECK(compare_text(comparison).find("\nNOT COMPARED: 1 cells: 1 not comparable") != std::string::npos);
        CHECK(compare_tables(before, after, {.strict = true}).fails());
        CHECK(comparison.differences[0].remedy.empty() == !can_be_allowed);
        const Comparison across = compare_tables(before, after, {.across = {word}});
        CHECK(across.cells[0].verdict == (can_be_allowed ? CellVerdict::worse : CellVerdict::not_comparable));
        CHECK(across.differences.size() == 1); // still told
    };
    check([](Table& table) { table.fingerprint.sku = "NVIDIA H100"; }, "sku", false);
    check([](Table& table) { table.fingerprint.compute_capability = "10.0"; }, "capability", false);
    check([](Table& table) { table.fingerprint.topology = "pcie"; }, "topology", false);
    check([](Table& table) { table.fingerprint.multicast = true; }, "multicast", false);
    check([](Table& table) { table.fingerprint.nodes = 2; }, "nodes", false);
    check([](Table& table) { table.provenance.driver = "590.1"; }, "driver", true);
    check([](Table& table) { table.provenance.cuda = "13.1"; }, "cuda", true);
    check([](Table& table) { table.provenance.nccl.clear(); }, "nccl", true);
    check([](Table& table) { table.provenance.environment["NCCL_ALGO"] = "Ring"; }, "environment", true);
    check([](Table& table) { table.provenance.environment.clear(); }, "environment", true);
    check([](Table& table) { table.provenance.extra["cache"] = "cold"; }, "cache", true);
    check([](Table& table) { table.source = "import"; }, "source", true);

    Table replayed = before;
    replayed.source = "recording"; // of measurements: the same thing
    replayed.crossover_version = "0.2.0";
    const Comparison comparison = compare_tables(before, replayed);
    CHECK(comparison.comparable());
    CHECK(comparison.differences.size() == 1);
    CHECK(comparison.cells[0].verdict == CellVerdict::same);
}

TEST_CASE(
    "other calls in a graph, replays in a sample or guard band: told where both are known, compared all the same") {
    Table before = table_of({steep_cell()}), after = before;
    before.provenance.extra["graph_calls"] = "20";
    before.provenance.extra["trials"] = "15";
    CHECK(compare_tables(before, after).differences.empty());
    after.provenance.extra["graph_calls"] = "1";
    after.provenance.extra["trials"] = "15";
    const Comparison comparison = compare_tables(before, after);
    REQUIRE(comparison.differences.size() == 1);
    CHECK(comparison.differences[0].text == "graph_calls: 20 → 1");
    CHECK(comparison.comparable());

    after = before;
    after.provenance.extra["guard_band"] = "0.02";
    CHECK(compare_tables(before, after).differences.empty()); // a table of a former Crossover does not tell
    before.provenance.extra["scale_layout"] = "linear";
    CHECK(compare_tables(before, after).differences.empty());
    before.provenance.extra["guard_band"] = "0.05";
    REQUIRE(compare_tables(before, after).differences.size() == 1);
    CHECK(compare_tables(before, after).differences[0].text == "guard_band: 0.05 → 0.02");
    CHECK(compare_tables(before, after).comparable());
    after.provenance.extra["scale_layout"] = "swizzled";
    REQUIRE(compare_tables(before, after).differences.size() == 2);
    CHECK(compare_tables(before, after).differences[1].text == "scale_layout: linear → swizzled");
    CHECK(compare_tables(before, after).comparable());

    after = before;
    after.provenance.extra["graph_start"] = "left out"; // of the times, as it is now
    REQUIRE(compare_tables(before, after).differences.size() == 1);
    CHECK(compare_tables(before, after).differences[0].text == "start of graphs: timed → left out");
    CHECK(compare_tables(before, after).comparable());
    after.provenance.extra["graph_start"] = "timed"; // of few calls, and of those that did not say so
    CHECK(compare_tables(before, after).differences.empty());
}

TEST_CASE("noise is judged over all shifts together") {
    const auto shift = [](double t, double freedom, int kind = 0) { return Shift{t, 1, freedom, kind}; };
    const double alone = student_t_quantile(1 - kFalseAlarms, 6);
    CHECK(alone == doctest::Approx(3.143).epsilon(0.001)); // printed in every t table
    CHECK(beyond_noise(std::vector{shift(alone + 0.01, 6)}, {}).cells == std::vector{1});
    CHECK(beyond_noise(std::vector{shift(alone - 0.01, 6)}, {}).cells == std::vector{0});
    CHECK(beyond_noise(std::vector{shift(-alone - 0.01, 6)}, {}).cells == std::vector{-1});
    // The allowance is shared by kinds and by cells.
    const double shared = student_t_quantile(1 - kFalseAlarms / 4, 6);
    for (const double off : {-0.01, 0.01}) {
        std::vector shifts{shift(shared + off, 6, 0), shift(0, 6, 0), shift(0, 6, 1), shift(0, 6, 1)};
        CHECK(beyond_noise(shifts, {}).cells == std::vector{off > 0 ? 1 : 0, 0, 0, 0});
    }
    // A cell whose sessions agree by chance is measured by its neighbours' errors.
    std::vector shifts{Shift{1, 0.001, 6, 0}, shift(0, 6), shift(0, 6)};
    CHECK(beyond_noise(shifts, {}).cells == std::vector{0, 0, 0});
    // Where all cells move a little, the machine did.
    std::vector all(9, shift(4, 6));
    CHECK(beyond_noise(all, {}).cells == std::vector(9, 0));
    const std::vector<Shift> machine = as_if_sharing_noise(all);
    REQUIRE(machine.size() == 1);
    CHECK(machine[0].estimate == doctest::Approx(4));
    CHECK(beyond_noise(all, machine).cells == std::vector(9, 1));
    // Numbers without noise: any difference is one.
    const double certain = std::numeric_limits<double>::infinity();
    CHECK(beyond_noise(std::vector{Shift{1e-9, 0, certain, 0}, Shift{0, 0, certain, 0}}, {}).cells ==
          std::vector{1, 0});
}
