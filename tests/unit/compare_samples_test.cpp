#include "output/comparison.hpp"
#include "tests/support/synthetic.hpp"
#include "tests/support/tables.hpp"
#include "tuner/fit/fit.hpp"

#include <doctest/doctest.h>

using namespace crossover;

namespace {

constexpr double kOneshotEnd = 300e3, kTwoshotEnd = 5e6; // bytes

constexpr synthetic::Noise kQuiet{.session_bias = 0.003, .sample = 0.003, .outlier_share = 0.02};

struct Rig {
    double oneshot = 1, twoshot = 1, baseline = 1; // factors on the times
    int sessions = 4;
    std::uint64_t seed = 1;
    std::vector<std::int64_t> num_tokens = synthetic::Machine{}.num_tokens;
    synthetic::Noise noise = kQuiet;
    int cells = 1;
};

Measured measure(const Rig& rig) {
    const auto baseline = synthetic::alpha_beta(12, 20);
    const auto twoshot = synthetic::crossing(baseline, {kTwoshotEnd});
    const auto oneshot = synthetic::crossing(twoshot, {kOneshotEnd});
    synthetic::Machine machine;
    machine.curves = {{"nccl_fused_norm", synthetic::scaled(baseline, rig.baseline)},
                      {"nccl_separate", synthetic::scaled(baseline, 1.15 * rig.baseline)},
                      {"twoshot", synthetic::scaled(twoshot, rig.twoshot)},
                      {"oneshot", synthetic::scaled(oneshot, rig.oneshot)}};
    machine.noise = rig.noise;
    machine.sessions = rig.sessions;
    machine.num_tokens = rig.num_tokens;
    Measured measured{"a run", test::empty_table("Synthetic", "9.0"), {}};
    measured.table.provenance.sessions = rig.sessions;
    for (int cell = 0; cell < rig.cells; ++cell) {
        machine.cell = {.quant = kQuants[static_cast<std::size_t>(cell % 3)].value, .world_size = 2 << cell / 3};
        machine.seed = 100 * rig.seed + static_cast<std::uint64_t>(cell);
        const std::vector<Sample> samples = synthetic::measure(machine);
        measured.samples.insert(measured.samples.end(), samples.begin(), samples.end());
    }
    measured.table.cells = fit_cells(measured.samples, {});
    return measured;
}

Measured without_samples(Measured measured) {
    measured.samples.clear();
    return measured;
}

const TimeChange& time_of(const Comparison& comparison, const std::string& words) {
    const auto& times = comparison.cells.at(0).times;
    const auto found = std::find_if(times.begin(), times.end(), [&](const TimeChange& change) {
        return change.what.find(words) != std::string::npos;
    });
    REQUIRE_MESSAGE(found != times.end(), words);
    return *found;
}

} // namespace

TEST_CASE("a slower oneshot is found, and by how much") {
    const Comparison comparison = compare(measure({}), measure({.oneshot = 1.05, .seed = 2}), {});
    CHECK(comparison.fails());
    CHECK(comparison.cells[0].verdict == CellVerdict::worse);
    const TimeChange& around = time_of(comparison, "oneshot within a factor of 4");
    CHECK(around.verdict == CellVerdict::worse);
    CHECK(around.lost == doctest::Approx(0.05).epsilon(0.2));
    CHECK(around.ci95[0] < 0.05);
    CHECK(around.ci95[1] > 0.05);
    CHECK(time_of(comparison, "twoshot within").verdict == CellVerdict::same);
    CHECK(time_of(comparison, "unfused").verdict == CellVerdict::same);
    // Below the crossover all of it is lost, above nothing.
    CHECK(*comparison.cells[0].time_lost > 0.005);
    CHECK(*comparison.cells[0].time_lost < 0.05);
    CHECK(comparison.cells[0].common_points == 13);
}

TEST_CASE("improvements do not fail, whatever they do to the thresholds") {
    const Measured before = measure({});
    for (const Rig& rig : {Rig{.oneshot = 0.95, .seed = 2}, Rig{.twoshot = 0.9, .seed = 3},
                           Rig{.baseline = 0.85, .seed = 4}, Rig{.oneshot = 0.8, .twoshot = 0.8, .baseline = 0.8}}) {
        const Comparison comparison = compare(before, measure(rig), {});
        CHECK_FALSE(comparison.fails());
        CHECK(comparison.cells[0].verdict == CellVerdict::better);
        CHECK(*comparison.cells[0].time_lost < 0);
        CHECK(comparison.caveat.empty());
    }
    // What the tables alone cannot tell: the fused range shrinks for a faster baseline, too.
    const Comparison tables =
        compare(without_samples(before), without_samples(measure({.baseline = 0.85, .seed = 4})), {});
    CHECK(tables.cells[0].verdict == CellVerdict::worse);
    CHECK(tables.caveat.find("or its rival faster") != std::string::npos);
}

TEST_CASE("a slower baseline is a regression where it is used") {
    const Comparison comparison = compare(measure({}), measure({.baseline = 1.06, .seed = 2}), {});
    CHECK(comparison.fails());
    CHECK(time_of(comparison, "where OLD uses an unfused").verdict == CellVerdict::worse);
    CHECK(time_of(comparison, "where OLD uses oneshot").verdict == CellVerdict::same);
}

TEST_CASE("the limit is the user's") {
    const Measured before = measure({}),
                   after = measure({.oneshot = 1.05, .twoshot = 1.05, .baseline = 1.05, .seed = 2});
    CHECK(compare(before, after, {.max_regression = 0.04}).fails());
    CHECK_FALSE(compare(before, after, {.max_regression = 0.06}).fails());
}

TEST_CASE("a table edited by hand is judged by the samples") {
    const Measured before = measure({});
    Measured edited = before;
    Cell& cell = edited.table.cells[0];
    cell.oneshot->max_bytes = 2 << 20; // where oneshot loses up to 80 %
    cell.intervals[0].max_bytes = 2 << 20;
    cell.intervals[1].min_bytes = (2 << 20) + 1;
    const Comparison comparison = compare(before, edited, {});
    CHECK(comparison.cells[0].verdict == CellVerdict::worse);
    CHECK(time_of(comparison, "NEW's samples as NEW dispatches them").verdict == CellVerdict::worse);
    CHECK_FALSE(compare(edited, before, {}).fails());
}

TEST_CASE("one session each: only what no host's noise explains") {
    const Measured before = measure({.sessions = 1});
    CHECK_FALSE(compare(before, measure({.oneshot = 1.02, .sessions = 1, .seed = 2}), {}).fails());
    CHECK(compare(before, measure({.oneshot = 1.12, .sessions = 1, .seed = 2}), {}).fails());
}

TEST_CASE("points of one side only are counted, algorithms that fail are missed") {
    const Measured before = measure({});
    Rig fewer{.seed = 2};
    fewer.num_tokens.pop_back();
    const Comparison comparison = compare(before, measure(fewer), {});
    CHECK(comparison.cells[0].common_points == 12);
    CHECK(comparison.cells[0].unmatched_points == 1);
    CHECK(std::any_of(comparison.cells[0].why.begin(), comparison.cells[0].why.end(), [](const std::string& line) {
        return line.find("1 points are timed in OLD or NEW only") != std::string::npos;
    }));

    Measured broken = measure({.seed = 2});
    for (Sample& sample : broken.samples)
        if (sample.algorithm == "oneshot") sample.status = SampleStatus::timeout, sample.latency_us = 0;
    broken.table.cells = fit_cells(broken.samples, {});
    CHECK(compare(before, broken, {}).fails());
    CHECK(compare(without_samples(before), without_samples(broken), {}).fails());
}

TEST_CASE("samples of other cells than the tables' leave the tables to decide") {
    Measured before = measure({}), after = measure({.seed = 2});
    for (Sample& sample : after.samples) sample.point.cell.quant = Quant::fp8;
    const Comparison comparison = compare(before, after, {});
    CHECK(comparison.cells[0].verdict == CellVerdict::same);
    CHECK(comparison.cells[0].times.empty());
    CHECK_FALSE(comparison.cells[0].time_lost.has_value());
}

TEST_CASE("on a noisy machine all cells together show what none does") {
    const Rig noisy{.noise = {.session_bias = 0.05, .sample = 0.005, .outlier_share = 0.03}, .cells = 9};
    Rig slow = noisy;
    slow.oneshot = 1.06;
    slow.seed = 2;
    const Comparison comparison = compare(measure(noisy), measure(slow), {});
    CHECK(comparison.count(CellVerdict::worse) == 0);
    const auto& all = comparison.machine_wide;
    const auto found = std::find_if(
        all.begin(), all.end(), [](const TimeChange& change) { return change.what.rfind("oneshot within", 0) == 0; });
    REQUIRE(found != all.end());
    CHECK(found->verdict == CellVerdict::worse);
    CHECK(found->lost == doctest::Approx(0.06).epsilon(0.3));
    CHECK(comparison.fails());
    CHECK(compare_text(comparison).find("worse over all cells: oneshot within") != std::string::npos);

    Rig again = noisy;
    again.seed = 3;
    CHECK_FALSE(compare(measure(noisy), measure(again), {}).fails());
}

TEST_CASE("a threshold that is off within its interval is told, not failed") {
    const Measured before = measure({});
    Measured unlucky = before;
    Cell& cell = unlucky.table.cells[0];
    const std::uint64_t off = 2 * cell.oneshot->max_bytes; // passes one size, where oneshot loses 20 %
    cell.oneshot->ci95 = {cell.oneshot->max_bytes / 4, 2 * off};
    cell.oneshot->max_bytes = off;
    cell.intervals[0].max_bytes = off;
    cell.intervals[1].min_bytes = off + 1;
    const Comparison comparison = compare(before, unlucky, {});
    CHECK_FALSE(comparison.fails());
    CHECK(comparison.cells[0].verdict == CellVerdict::same);
    REQUIRE_FALSE(comparison.cells[0].why.empty());
    CHECK(comparison.cells[0].why.back().find("within the thresholds' intervals") != std::string::npos);
}

TEST_CASE("two disturbed sessions of four do not make another algorithm the best") {
    const Measured before = measure({.noise = synthetic::kNoNoise});
    Measured disturbed = before;
    for (Sample& sample : disturbed.samples)
        if (sample.algorithm == "nccl_fused_norm" && sample.session < 2 && message_bytes(sample.point) > (24 << 20))
            sample.latency_us *= 1.5;
    CHECK_FALSE(compare(before, disturbed, {}).fails());
}
