/// Cells fitted to times that are written down, where a rule decides alone.
#include "tests/support/fitted.hpp"
#include "tests/support/written_samples.hpp"
#include "tuner/fit/guard_band.hpp"
#include "tuner/fit/regret.hpp"

using namespace crossover;
using namespace crossover::fitted;
using namespace crossover::written;

namespace {

/// The same in two sessions: no point is taken for disturbed.
void add_twice(std::vector<Sample>& samples, const Point& at, const Times& times) {
    for (const int session : {0, 1}) add(samples, session, at, times);
}

void skip(std::vector<Sample>& samples, const std::string& algorithm, const std::string& note,
          std::uint64_t from_bytes = 0) {
    for (Sample& sample : samples)
        if (sample.algorithm == algorithm && message_bytes(sample.point) >= from_bytes) {
            sample.status = SampleStatus::skipped;
            sample.latency_us = 0;
            sample.note = note;
        }
}

std::int64_t outliers(const std::vector<Sample>& samples) {
    return regret_report(samples, fit_cells(samples, {})).outliers;
}

} // namespace

TEST_CASE("nothing fused ran: unsupported if all of it was skipped, for whatever reason") {
    std::vector<Sample> samples;
    for (const std::int64_t count : {1, 4})
        add_twice(samples, point(count), {{"nccl_fused_norm", 20}, {"oneshot", 10}, {"twoshot", 10}});
    skip(samples, "oneshot", "the workspace of 1024 bytes holds 0 of the 4096 that this launch needs");
    std::vector<Sample> failed = samples;
    skip(samples, "twoshot", "the workspace of 1024 bytes holds 0 of the 4096 that this launch needs");
    CHECK(fit_one(samples).status == CellStatus::unsupported);
    for (Sample& sample : failed)
        if (sample.algorithm == "twoshot") sample.status = SampleStatus::failed;
    CHECK(fit_one(failed).status == CellStatus::not_measured);
}

TEST_CASE("what ends a limit: a crossing, the workspace, or that the algorithm goes no further") {
    std::vector<Sample> samples;
    for (const std::int64_t count : {1, 4, 16, 64})
        add_twice(samples, point(count), {{"nccl_fused_norm", 20}, {"nccl_separate", 30}, {"oneshot", 10}});
    CHECK(fit_one(samples).oneshot->limited_by == LimitedBy::range);
    CHECK(fit_one(samples).note.empty());
    std::vector<Sample> skipped = samples;
    skip(skipped, "oneshot", "needs rows of at most 32 KiB", 64 << 10);
    CHECK(fit_one(skipped).oneshot->max_bytes == 32 << 10);
    CHECK(fit_one(skipped).oneshot->limited_by == LimitedBy::range);
    CHECK(fit_one(skipped).note.starts_with("oneshot cannot run at 2 points"));
    skipped = samples;
    skip(skipped, "oneshot", "the workspace is too small", 64 << 10);
    CHECK(fit_one(skipped).oneshot->limited_by == LimitedBy::workspace);
    skipped = samples;
    skip(skipped, "nccl_separate", "no memory", 64 << 10); // nobody would choose it
    CHECK(fit_one(skipped).note.empty());

    // As fast as each other at a size: not oneshot's any more.
    std::vector<Sample> even;
    add_twice(even, point(1), {{"nccl_fused_norm", 20}, {"oneshot", 10}});
    add_twice(even, point(4), {{"nccl_fused_norm", 20}, {"oneshot", 20}});
    add_twice(even, point(16), {{"nccl_fused_norm", 20}, {"oneshot", 30}});
    CHECK(fit_one(even).oneshot->max_bytes == (32 << 10) - 1);
}

TEST_CASE("an algorithm that did not run for one hidden_dim is not used at that size") {
    std::vector<Sample> samples;
    for (const std::int64_t count : {1, 4, 16})
        for (const std::int64_t hidden_dim : {2048, 4096})
            add_twice(samples, point(4096 / hidden_dim * count, hidden_dim),
                      {{"nccl_fused_norm", 20}, {"oneshot", 10}});
    for (Sample& sample : samples)
        if (sample.point == point(8, 2048) && sample.algorithm == "oneshot") sample.status = SampleStatus::failed;
    const Cell cell = fit_one(samples);
    CHECK(select_algorithm(cell, 8 << 10) == "oneshot");
    CHECK(select_algorithm(cell, 32 << 10) == "nccl_fused_norm");
    CHECK(select_algorithm(cell, 128 << 10) == "oneshot");
}

TEST_CASE("a size at which every baseline is barred for some hidden_dim is left out") {
    std::vector<Sample> samples;
    for (const std::int64_t count : {1, 4, 16})
        for (const std::int64_t hidden_dim : {2048, 4096})
            add_twice(samples, point(4096 / hidden_dim * count, hidden_dim),
                      {{"nccl_fused_norm", 20}, {"nccl_separate", 30}, {"oneshot", 10}});
    const Cell whole = fit_one(samples);
    for (const std::int64_t count : {1, 4, 16}) { // the first size, one between others, the last
        std::vector<Sample> gap = samples;
        for (Sample& sample : gap)
            if ((sample.point == point(2 * count, 2048) && sample.algorithm == "nccl_fused_norm") ||
                (sample.point == point(count) && sample.algorithm == "nccl_separate"))
                sample.status = SampleStatus::failed;
        const Cell cell = fit_one(gap);
        REQUIRE(cell.status == CellStatus::measured);
        CHECK(cell.measured_min_bytes == (count == 1 ? 32 << 10 : 8 << 10));
        CHECK(cell.measured_max_bytes == (count == 16 ? 32 << 10 : 128 << 10));
        CHECK(cell.baseline == whole.baseline);
        CHECK(cell.oneshot->max_bytes == cell.measured_max_bytes);
        CHECK(cell.note == "nccl_fused_norm failed at 1 points and is not used at their sizes; nccl_separate failed at "
                           "1 points and is not used at their sizes");
    }
}

TEST_CASE("an interval says when a session leaves open whether there is a limit at all") {
    const auto low_end = [](double second_session) {
        std::vector<Sample> samples;
        for (const auto& [session, at_sixteen] : {std::pair(0, 10.4), std::pair(1, second_session)})
            for (const auto& [count, us] :
                 {std::pair(1, 9.0), std::pair(4, 9.6), std::pair(16, at_sixteen), std::pair(64, 12.0)})
                add(samples, session, point(count), {{"nccl_fused_norm", 10}, {"oneshot", us}});
        const Cell cell = fit_one(samples);
        REQUIRE(cell.oneshot->ci95);
        return (*cell.oneshot->ci95)[0];
    };
    CHECK(low_end(10.39) > 32 << 10);
    CHECK(low_end(10.1) == 0); // crossings 0.6 octaves apart: ±3.7, as t of one degree of freedom is 12.7
}

TEST_CASE("a point that failed once is barred, one that ran once is not") {
    const auto cell_with = [](SampleStatus first, SampleStatus second) {
        std::vector<Sample> samples;
        for (const std::int64_t count : {1, 4, 16})
            add_twice(samples, point(count), {{"nccl_fused_norm", 20}, {"oneshot", 10}});
        for (Sample& sample : samples)
            if (sample.point == point(4) && sample.algorithm == "oneshot")
                sample.status = sample.session == 0 ? first : second;
        return fit_one(samples);
    };
    using enum SampleStatus;
    for (const auto& [first, second] : {std::pair(failed, ok), std::pair(ok, failed), std::pair(failed, skipped)}) {
        const Cell cell = cell_with(first, second);
        CHECK(select_algorithm(cell, 32 << 10) == "nccl_fused_norm");
        CHECK(cell.note.starts_with("oneshot failed at 1 points"));
    }
    const Cell cell = cell_with(skipped, ok);
    CHECK(select_algorithm(cell, 32 << 10) == "oneshot");
    CHECK(cell.note.empty());
}

TEST_CASE("the floor is no algorithm, and of two that are as fast twoshot is chosen") {
    std::vector<Sample> samples;
    for (const std::int64_t count : {1, 4, 16})
        add_twice(samples, point(count), {{"nccl_fused_norm", 20}, {"oneshot", 10}, {"twoshot", 10}, {"floor", 1}});
    const Cell cell = fit_one(samples);
    CHECK(cell.baseline == "nccl_fused_norm");
    CHECK(select_algorithm(cell, 32 << 10) == "twoshot");
}

TEST_CASE("two limits cost what they lose at the worst point") {
    std::vector<Sample> samples;
    for (const std::int64_t count : {1, 4, 16, 64, 256})
        add_twice(samples, point(count), {{"nccl_fused_norm", 20}, {"oneshot", count == 16 ? 30 : 10}});
    const Cell cell = fit_one(samples);
    CHECK(cell.intervals.size() == 4); // oneshot, NCCL, oneshot, not measured
    CHECK(cell.oneshot->max_bytes == 2 << 20);
    CHECK(cell.note ==
          "fused and unfused alternate with size: two limits lose up to 50.0 % where the intervals do not");
}

TEST_CASE("a size counts once, however many hidden_dims were measured there or next to it") {
    const Times loses{{"nccl_fused_norm", 20}, {"oneshot", 22.1}}, wins{{"nccl_fused_norm", 20}, {"oneshot", 18.65}};
    for (const bool same_bytes : {true, false}) { // 7 % won at about 0.8 MB is less than 10 % lost at 0.4 MB
        std::vector<Sample> samples;
        add_twice(samples, point(50), loses);
        add_twice(samples, point(100), wins);
        add_twice(samples, point(same_bytes ? 50 : 51, 8192), wins);
        add_twice(samples, point(400), {{"nccl_fused_norm", 20}, {"oneshot", 30}});
        CHECK(fit_one(samples).oneshot->max_bytes == 0);
    }
}

TEST_CASE("more sessions tell smaller differences") {
    const auto status = [](double nccl) {
        std::vector<Sample> samples;
        for (int session = 0; session < 4; ++session)
            for (int i = 0; i < 6; ++i) { // 1 % up and down, no session or size slower than another
                const double off = (session + i) % 2 == 0 ? 1.01 : 0.99;
                add(samples, session, point(std::int64_t{1} << i),
                    {{"nccl_fused_norm", nccl * off}, {"oneshot", 10 / off}});
            }
        return fit_one(samples).status;
    };
    CHECK(status(10.25) == CellStatus::tie); // 2.5 %: the noise of four, some 1.2 %, is left of the guard band
    CHECK(status(10.38) == CellStatus::measured);
}

TEST_CASE("what sticks out is disturbed, unless others do there, or rounding explains it") {
    const auto lone = [](std::initializer_list<std::int64_t> slow_dims) {
        std::vector<Sample> samples;
        for (const std::int64_t hidden_dim : {2048, 4096})
            for (const std::int64_t count : {1, 2, 4, 8, 16, 32}) {
                const bool slow = count == 8 && std::ranges::count(slow_dims, hidden_dim) > 0;
                add(samples, 0, point(4096 / hidden_dim * count, hidden_dim),
                    {{"nccl_fused_norm", slow ? 30 : 20}, {"oneshot", 10}});
            }
        return outliers(samples);
    };
    CHECK(lone({}) == 0);
    CHECK(lone({4096}) == 1);
    CHECK(lone({2048, 4096}) == 0); // a feature of the machine
    const auto middle_of_three = [](double us) {
        std::vector<Sample> samples;
        for (const auto& [count, oneshot] : {std::pair(1, 10.0), std::pair(4, us), std::pair(16, 30.0)})
            add(samples, 0, point(count), {{"nccl_fused_norm", 40}, {"oneshot", oneshot}});
        return outliers(samples);
    };
    CHECK(middle_of_three(10) == 0); // the bend from latency to bandwidth
    CHECK(middle_of_three(60) == 1);

    const auto in_one_session = [](double us, double last_us, double half_width) {
        std::vector<Sample> samples;
        for (int session = 0; session < 4; ++session)
            for (const std::int64_t count : {1, 2, 4, 8})
                add(samples, session, point(count),
                    {{"nccl_fused_norm", 20}, {"oneshot", session == 3 && count == 4 ? last_us : us}});
        for (Sample& sample : samples) {
            sample.p10_us = sample.latency_us - half_width;
            sample.p90_us = sample.latency_us + half_width;
        }
        return outliers(samples);
    };
    CHECK(in_one_session(7, 8, 0) == 1);
    CHECK(in_one_session(7, 8, 0.5) == 0);     // printed to 1 µs
    CHECK(in_one_session(10, 10.9, 0.3) == 1); // percentiles, no rounding: 10 is no multiple of 0.6
}

TEST_CASE("what is 6 standard deviations off is disturbed") {
    const auto with = [](double disturbed_us) {
        std::vector<Sample> samples;
        for (int session = 0; session < 4; ++session)
            for (int i = 0; i < 6; ++i) { // 1 % up and down: as a normal distribution with a deviation of 1.5 %
                const double us = (session + i) % 2 == 0 ? 10.1 : 9.9;
                add(samples, session, point(std::int64_t{1} << i),
                    {{"nccl_fused_norm", 20}, {"oneshot", session == 3 && i == 3 ? disturbed_us : us}});
            }
        return outliers(samples);
    };
    CHECK(with(10.8) == 0); // 6 of them are 8.9 %
    CHECK(with(11.0) == 1);
}

TEST_CASE("a gain alone counts from 4 deviations beyond the guard band, among its like from 1") {
    const double guard = std::log1p(0.02), noise = 0.01;
    const auto wins = [&](const std::vector<double>& beyond) {
        std::vector<double> gains, losses;
        for (const double each : beyond) {
            gains.push_back(guard + each);
            losses.push_back(-guard - each);
        }
        const bool result = GuardBand(gains, 0.02, noise).wins(0, gains.size());
        CHECK(GuardBand(losses, 0.02, noise).loses() == result);
        return result;
    };
    CHECK_FALSE(wins({-1, -1, 0.039, -1, -1}));
    CHECK(wins({-1, -1, 0.041, -1, -1}));
    CHECK_FALSE(wins({-1, 0.009, 0.009, -1}));
    CHECK(wins({-1, 0.011, 0.011, -1}));
    CHECK(wins({-1, 0.001})); // of two sizes each has to stand for itself

    const auto quiet = [&](double beyond) { return GuardBand({-1, guard + beyond, -1}, 0.02, 0).wins(0, 3); };
    CHECK_FALSE(quiet(guard - 0.001)); // alone never under the band once more
    CHECK(quiet(guard + 0.001));
}
