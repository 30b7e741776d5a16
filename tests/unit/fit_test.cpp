// Cells fitted to machines whose limits are known.

#include "tests/support/fitted.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>

using namespace crossover;
using namespace crossover::fitted;
using doctest::Approx;

namespace {

void check_limits_agree_with_intervals(const Cell& cell, const std::vector<Sample>& samples) {
    for (const Sample& sample : samples) {
        const std::uint64_t bytes = message_bytes(sample.point);
        const std::string_view selected = select_algorithm(cell, bytes);
        CHECK(by_limits(cell, bytes) == (algorithm::is_fused(selected) ? selected : "unfused"));
    }
}

} // namespace

TEST_CASE("planted crossovers are found without noise") {
    synthetic::Machine machine = two_crossovers();
    machine.noise = synthetic::kNoNoise;
    machine.hidden_dims = {2048, 8192};
    const std::vector<Sample> samples = synthetic::measure(machine);
    const Cell cell = fit_one(samples);
    CHECK(cell.status == CellStatus::measured);
    REQUIRE(cell.oneshot);
    REQUIRE(cell.twoshot);
    CHECK(static_cast<double>(cell.oneshot->max_bytes) == Approx(512 * kKiB).epsilon(0.01));
    CHECK(static_cast<double>(cell.twoshot->max_bytes) == Approx(8 * kMiB).epsilon(0.01));
    CHECK(cell.oneshot->limited_by == LimitedBy::crossover);
    CHECK(cell.baseline == "nccl_fused_norm");
    CHECK(cell.measured_min_bytes == 4096);
    CHECK(cell.measured_max_bytes == 64 << 20);
    check_intervals(cell);
    REQUIRE(cell.intervals.size() == 3);
    CHECK(cell.intervals[0].algorithm == "oneshot");
    CHECK(cell.intervals[0].max_bytes == cell.oneshot->max_bytes);
    CHECK(cell.intervals[1].algorithm == "twoshot");
    CHECK(cell.intervals[1].max_bytes == cell.twoshot->max_bytes);
    CHECK(cell.intervals[2].algorithm == "nccl_fused_norm"); // overtook within the range: goes on beyond it
    check_limits_agree_with_intervals(cell, samples);
    REQUIRE(cell.regret);
    CHECK(cell.regret->points == 26);
    CHECK(cell.regret->max < 1e-3); // at the planted sizes themselves the curves lie on each other
}

TEST_CASE("with noise the limits stay near, intervals hold them, every seed") {
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        CAPTURE(seed);
        synthetic::Machine machine = two_crossovers();
        machine.seed = seed;
        machine.noise.sample = 0.015;
        const std::vector<Sample> samples = synthetic::measure(machine);
        const Cell cell = fit_one(samples);
        REQUIRE(cell.oneshot);
        REQUIRE(cell.twoshot);
        for (const auto& [threshold, planted] :
             {std::pair(*cell.oneshot, 512 * kKiB), std::pair(*cell.twoshot, 8 * kMiB)}) {
            CHECK(std::abs(std::log2(static_cast<double>(threshold.max_bytes) / planted)) < 0.35);
            REQUIRE(threshold.ci95);
            CHECK((*threshold.ci95)[0] <= threshold.max_bytes);
            CHECK((*threshold.ci95)[1] >= threshold.max_bytes);
            CHECK((*threshold.ci95)[1] <= cell.measured_max_bytes);
        }
        CHECK(cell.oneshot->max_bytes <= cell.twoshot->max_bytes);
        check_intervals(cell);
        check_limits_agree_with_intervals(cell, samples);
        CHECK(cell.regret->max < 0.02);
    }
}

TEST_CASE("two limits are the pair of least summed regret") {
    // Brute force over all pairs of cuts, on curves that cross and touch at random.
    std::mt19937 random(5);
    std::uniform_real_distribution<double> uniform(0, 1);
    int measured = 0;
    for (int trial = 0; trial < 100; ++trial) {
        CAPTURE(trial);
        synthetic::Machine machine;
        machine.noise = synthetic::kNoNoise;
        std::map<std::string, std::vector<double>> factors;
        for (const std::string name : {"oneshot", "twoshot", "nccl_fused_norm"}) {
            double factor = 1;
            for (int i = 0; i < 13; ++i) {
                factors[name].push_back(factor);
                factor *= std::exp(0.4 * (uniform(random) - 0.5) + (name == "oneshot" ? 0.03 : 0));
            }
            machine.curves[name] = [&factors, name](double bytes) {
                const auto i = static_cast<std::size_t>(std::lround(std::log2(bytes / 16384)));
                return bytes / 1e4 * factors.at(name).at(i);
            };
        }
        const std::vector<Sample> samples = synthetic::measure(machine);
        const Cell cell = fit_one(samples);
        if (cell.status != CellStatus::measured) continue;
        ++measured;

        const auto loss = [&](std::size_t i, const std::string& name) {
            const double best = std::min({factors["oneshot"][i], factors["twoshot"][i], factors["nccl_fused_norm"][i]});
            return std::log(factors[name][i] / best);
        };
        double least = 1e9, of_cell = 0;
        for (std::size_t one = 0; one <= 13; ++one)
            for (std::size_t two = one; two <= 13; ++two) {
                double sum = 0;
                for (std::size_t i = 0; i < 13; ++i)
                    sum += loss(i, i < one ? "oneshot" : i < two ? "twoshot" : "nccl_fused_norm");
                least = std::min(least, sum);
            }
        for (std::size_t i = 0; i < 13; ++i) {
            const std::string name = by_limits(cell, 16384ull << i);
            of_cell += loss(i, name == "unfused" ? "nccl_fused_norm" : name);
        }
        // Wins below the guard band may be given up: half of it for a change, all of it for displacing the baseline.
        CHECK(of_cell <= least + 2 * 0.02);
        // The intervals are at least as good as two limits.
        double of_intervals = 0;
        for (std::size_t i = 0; i < 13; ++i)
            of_intervals += loss(i, std::string(select_algorithm(cell, 16384ull << i)));
        CHECK(of_intervals <= of_cell + 2 * 0.02);
        check_intervals(cell);
    }
    CHECK(measured > 80);
}

TEST_CASE("a hole is kept as intervals where one cut would cost more than the guard band") {
    synthetic::Machine machine;
    machine.curves = {{"nccl_fused_norm", kNccl},
                      {"oneshot", synthetic::crossing(kNccl, {256 * kKiB, 2 * kMiB, 16 * kMiB}, 0.2, 0.5)}};
    const std::vector<Sample> samples = synthetic::measure(machine);
    const Cell cell = fit_one(samples);
    REQUIRE(cell.status == CellStatus::measured);
    REQUIRE(cell.intervals.size() == 4);
    check_intervals(cell);
    const double planted[] = {256 * kKiB, 2 * kMiB, 16 * kMiB};
    const std::string expected[] = {"oneshot", "nccl_fused_norm", "oneshot", "nccl_fused_norm"};
    for (std::size_t i = 0; i < 4; ++i) {
        CHECK(cell.intervals[i].algorithm == expected[i]);
        if (i < 3) CHECK(static_cast<double>(*cell.intervals[i].max_bytes) == Approx(planted[i]).epsilon(0.1));
    }
    CHECK(cell.note.find("alternate") != std::string::npos);
    CHECK(cell.regret->max < 0.02); // of the intervals

    machine.curves["oneshot"] = [](double bytes) { // a hole of 1 % is none
        return kNccl(bytes) * (bytes > 200 * kKiB && bytes < 2 * kMiB ? 1.01 : bytes < 8 * kMiB ? 0.8 : 1.3);
    };
    const Cell shallow = fit_one(machine);
    CHECK(shallow.intervals.size() == 2);
    CHECK(shallow.oneshot->max_bytes > 4 * kMiB);
}

TEST_CASE("where the samples end while a fused algorithm wins, the range is the limit") {
    synthetic::Machine machine;
    machine.curves = {{"nccl_fused_norm", kNccl}, {"oneshot", synthetic::scaled(kNccl, 0.7)}};
    const Cell cell = fit_one(machine);
    REQUIRE(cell.oneshot);
    CHECK(cell.oneshot->limited_by == LimitedBy::range);
    CHECK(cell.oneshot->max_bytes == 64 << 20);
    CHECK_FALSE(cell.oneshot->ci95);
    CHECK(*cell.oneshot->gain_at_edge == Approx(1 / 0.7 - 1).epsilon(0.03));
    CHECK_FALSE(cell.twoshot); // not measured, which is not 0
    REQUIRE(cell.intervals.size() == 2);
    CHECK(cell.intervals.back().algorithm == algorithm::not_measured);
    CHECK(select_algorithm(cell, 64 << 20) == "oneshot");
    CHECK(select_algorithm(cell, (64 << 20) + 1) == algorithm::not_measured);
}

TEST_CASE("never, tie, not measured and unsupported are four things") {
    synthetic::Machine machine;
    machine.curves = {{"nccl_fused_norm", kNccl},
                      {"oneshot", synthetic::scaled(kNccl, 1.5)},
                      {"twoshot", synthetic::scaled(kNccl, 1.3)}};
    const Cell never = fit_one(machine);
    CHECK(never.status == CellStatus::measured);
    REQUIRE(never.oneshot);
    CHECK(never.oneshot->max_bytes == 0);
    CHECK(never.twoshot->max_bytes == 0);
    CHECK_FALSE(never.oneshot->ci95);
    CHECK(select_algorithm(never, 1) == "nccl_fused_norm");

    machine.curves["oneshot"] = synthetic::scaled(kNccl, 0.995);
    const Cell tie = fit_one(machine);
    CHECK(tie.status == CellStatus::tie);
    CHECK(tie.baseline == "nccl_fused_norm");
    CHECK(select_algorithm(tie, 1) == "nccl_fused_norm");

    // A fused algorithm that ties, or wins by less than the guard band, and then loses is "never", not a tie.
    for (const double small : {1.0, 0.99}) {
        machine.curves["oneshot"] = [=](double bytes) { return kNccl(bytes) * (bytes < 2 * kMiB ? small : 1.5); };
        const Cell cell = fit_one(machine);
        CHECK(cell.status == CellStatus::measured);
        CHECK(cell.oneshot->max_bytes == 0);
    }

    std::vector<Sample> samples = synthetic::measure(two_crossovers());
    std::vector<Sample> no_baseline = samples, no_fused = samples, unsupported = samples, failed = samples;
    std::erase_if(no_baseline, [](const Sample& s) { return !algorithm::is_fused(s.algorithm); });
    std::erase_if(no_fused, [](const Sample& s) { return algorithm::is_fused(s.algorithm); });
    for (Sample& sample : unsupported)
        if (algorithm::is_fused(sample.algorithm)) {
            sample.status = SampleStatus::skipped;
            sample.note = "needs peer access";
        }
    for (Sample& sample : failed)
        if (algorithm::is_fused(sample.algorithm)) sample.status = SampleStatus::failed;
    for (const auto* unusable : {&no_baseline, &no_fused, &unsupported, &failed}) {
        const Cell cell = fit_one(*unusable);
        CHECK(cell.status == (unusable == &unsupported ? CellStatus::unsupported : CellStatus::not_measured));
        CHECK_FALSE(cell.oneshot);
        CHECK_FALSE(cell.twoshot);
        CHECK(cell.intervals.empty());
        CHECK_FALSE(cell.note.empty());
        CHECK(select_algorithm(cell, 4096) == algorithm::not_measured);
    }
    CHECK(fit_one(unsupported).note.find("needs peer access") != std::string::npos);
    CHECK(fit_cells({}, {}).empty());
}

TEST_CASE("twoshot nowhere the best above oneshot: its limit is oneshot's") {
    synthetic::Machine machine;
    machine.curves = {{"nccl_fused_norm", kNccl},
                      {"oneshot", synthetic::crossing(kNccl, {kMiB})},
                      {"twoshot", synthetic::scaled(kNccl, 1.4)}};
    const Cell cell = fit_one(machine);
    REQUIRE(cell.oneshot);
    REQUIRE(cell.twoshot);
    CHECK(*cell.twoshot == *cell.oneshot);
    CHECK(cell.intervals.size() == 2);
}

TEST_CASE("the baseline is the fastest unfused algorithm there, and the table names each") {
    synthetic::Machine machine;
    const synthetic::Curve symmetric = synthetic::crossing(kNccl, {16 * kMiB}, 0.2, 0.3);
    machine.curves = {{"nccl_fused_norm", kNccl},
                      {"nccl_symm_fused_norm", symmetric},
                      {"nccl_separate", synthetic::scaled(kNccl, 1.2)},
                      {"oneshot", synthetic::crossing(symmetric, {kMiB})}};
    const Cell cell = fit_one(machine);
    CHECK(cell.baseline == "nccl_symm_fused_norm"); // what takes over at 1 MiB
    REQUIRE(cell.intervals.size() == 3);
    CHECK(cell.intervals[1].algorithm == "nccl_symm_fused_norm");
    CHECK(cell.intervals[2].algorithm == "nccl_fused_norm");
    CHECK(static_cast<double>(*cell.intervals[1].max_bytes) == Approx(16 * kMiB).epsilon(0.15));
}

TEST_CASE("baselines that are as good as each other have one name in a cell") {
    synthetic::Machine machine = two_crossovers();
    // The faster of the two at 16 MiB, by less than the guard band, and the slower above.
    machine.curves["nccl_separate"] = [](double bytes) { return kNccl(bytes) * (bytes < 32 * kMiB ? 0.999 : 1.004); };
    machine.noise = synthetic::kNoNoise;
    const Cell cell = fit_one(machine);
    REQUIRE(cell.intervals.size() == 3);
    CHECK(cell.intervals.back().algorithm == cell.baseline);
}

TEST_CASE("shares in a table have six decimals") {
    const Cell cell = fit_one(two_crossovers());
    for (const double share :
         {*cell.oneshot->gain_at_edge, *cell.twoshot->gain_at_edge, cell.regret->mean, cell.regret->max})
        CHECK(share == std::round(share * 1e6) / 1e6);
}

TEST_CASE("what the workspace cannot hold clamps the limit") {
    std::vector<Sample> samples = synthetic::measure(two_crossovers());
    FitOptions options;
    options.workspace_bytes = [](const CellKey&, std::uint64_t bytes) { return 3 * bytes; };
    CHECK(fit_one(samples, options).workspace_bytes == 3 * fit_one(samples, options).twoshot->max_bytes);
    CHECK(fit_one(samples).workspace_bytes == 0); // not known

    for (Sample& sample : samples)
        if (sample.algorithm == "twoshot" && message_bytes(sample.point) > (2 << 20)) {
            sample.status = SampleStatus::skipped;
            sample.note = "the workspace of 6291456 bytes holds 3145216 of the 4194304 that this launch needs";
        }
    const Cell cell = fit_one(samples, options);
    CHECK(cell.workspace_bytes == 6 << 20);
    CHECK(cell.twoshot->max_bytes == 2 << 20);
    CHECK(cell.twoshot->limited_by == LimitedBy::workspace);
    CHECK_FALSE(cell.twoshot->ci95);
    CHECK(cell.oneshot->limited_by == LimitedBy::crossover);
    CHECK(select_algorithm(cell, (2 << 20) + 1) == "nccl_fused_norm");
}
