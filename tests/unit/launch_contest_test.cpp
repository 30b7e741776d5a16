/// Launches against each other and the default, on times that are written down: segments, and the rows they become.
#include "tests/support/written_samples.hpp"
#include "tuner/fit/fit.hpp"
#include "tuner/fit/launches.hpp"
#include "tuner/fit/regret.hpp"

#include <doctest/doctest.h>

using namespace crossover;
using namespace crossover::written;

namespace {

const std::string kA = variant(1), kB = variant(2);

std::vector<LaunchRow> rows_of(const std::vector<Sample>& samples, double guard_band = 0.02) {
    const Launches launches = fit_launches(samples, guard_band);
    return launches.empty() ? std::vector<LaunchRow>() : launches.at(samples.front().point.cell);
}

} // namespace

TEST_CASE("rows lie side by side, reach half way to the next size, and no further than is known") {
    std::vector<Sample> samples;
    for (const std::int64_t count : {1, 2}) add(samples, 0, point(count), {{"oneshot", 10}, {kA, 8}, {kB, 9.5}});
    for (const std::int64_t count : {4, 8}) add(samples, 0, point(count), {{"oneshot", 10}, {kA, 9.5}, {kB, 8}});
    add(samples, 0, point(128), {{"oneshot", 10}, {kA, 12}, {kB, 12}});
    const std::vector<LaunchRow> rows = rows_of(samples);
    REQUIRE(rows.size() == 2);
    CHECK(rows[0].launch.cluster_size == 1);
    CHECK(rows[0].min_bytes == 0);
    CHECK(rows[0].max_bytes == 23170); // √2 × 16 KiB
    CHECK(rows[1].launch.cluster_size == 2);
    CHECK(rows[1].min_bytes == 23171);
    CHECK(rows[1].max_bytes == 2 * 64 * 1024); // half way, in octaves, would be four times 64 KiB

    // Nor beyond the largest message of the cell.
    std::erase_if(samples, [](const Sample& sample) { return sample.point.num_tokens == 128; });
    CHECK(rows_of(samples).back().max_bytes == 64 * 1024);
    add(samples, 0, point(12), {{"nccl_fused_norm", 20}});
    CHECK(rows_of(samples).back().max_bytes == 96 * 1024);
}

TEST_CASE("a row begins half way from the size below, however far that is") {
    std::vector<Sample> samples;
    add(samples, 0, point(1), {{"oneshot", 8}, {kA, 10}});
    add(samples, 0, point(64), {{"oneshot", 10}, {kA, 8}});
    const std::vector<LaunchRow> rows = rows_of(samples);
    REQUIRE(rows.size() == 1);
    CHECK(rows[0].min_bytes == 8 * 8 * 1024 + 1); // √64 × 8 KiB
}

TEST_CASE("the default needs no win to stay, a variant one that counts") {
    const auto rows_where_ahead = [](double share, double guard_band) {
        std::vector<Sample> samples;
        for (const std::int64_t count : {1, 2, 4}) add(samples, 0, point(count), {{"oneshot", 10}, {kA, 10 / share}});
        return rows_of(samples, guard_band).size();
    };
    CHECK(rows_where_ahead(1.019, 0.02) == 0);
    CHECK(rows_where_ahead(1.021, 0.02) == 1);
    CHECK(rows_where_ahead(1.009, 0) == 0); // sessions differ by 1 %
    CHECK(rows_where_ahead(1.011, 0) == 1);
}

TEST_CASE("sessions that differ by more than a variant is ahead leave the default") {
    for (const double noise : {0.0, 0.02}) {
        std::vector<Sample> samples;
        int sign = 1;
        for (const int session : {0, 1})
            for (const std::int64_t count : {1, 2, 4, 8, 16, 32}) {
                sign = -sign;
                const int other = session == 0 ? sign : -sign; // the second session of a point goes the other way
                add(samples, session, point(count),
                    {{"oneshot", 10 * (1 + noise * other)}, {kA, 9.75 * (1 - noise * other)}});
            }
        CHECK(rows_of(samples).size() == (noise == 0 ? 1 : 0));
    }
}

TEST_CASE("a change of launch must save something") {
    std::vector<Sample> samples;
    for (const std::int64_t count : {1, 2, 4, 8})
        add(samples, 0, point(count), {{"oneshot", 10}, {kA, 9}, {kB, count == 1 || count == 4 ? 8.97 : 9.03}});
    CHECK(rows_of(samples).size() == 1);
}

TEST_CASE("only points that have times of the default and of a variant count") {
    std::vector<Sample> samples;
    add(samples, 0, point(1), {{"oneshot", 10}, {kA, 8}, {"nccl_fused_norm", 20}});
    add(samples, 0, point(256), {{"nccl_fused_norm", 20}});
    const std::vector<LaunchRow> rows = rows_of(samples);
    REQUIRE(rows.size() == 1);
    CHECK(rows[0].max_bytes == 2 * 8 * 1024);
    for (const Times& times : {Times{{"oneshot", 0}, {kA, 8}}, Times{{kA, 8}}, Times{{"oneshot", 10}, {kA, 0}},
                               Times{{"oneshot", 10}, {"nccl_fused_norm", 20}}}) {
        std::vector<Sample> with_more = samples;
        add(with_more, 0, point(4), times); // 0: failed
        CHECK(rows_of(with_more) == rows);
    }
}

TEST_CASE("the default was not chosen for being low: all its times count") {
    std::vector<Sample> samples;
    add(samples, 0, point(1), {{"oneshot", 10}, {kA, 9.9}, {kB, 11}, {"nccl_fused_norm", 20}});
    add(samples, 1, point(1), {{"oneshot", 11}, {"nccl_fused_norm", 20}});
    std::vector<double> times;
    for (const Sample& sample : as_launched(samples, {}, true))
        if (sample.algorithm == "oneshot") times.push_back(sample.latency_us);
    CHECK(times == std::vector<double>{10, 11});
}

TEST_CASE("no single session after that by which a launch was chosen decides: it may have been disturbed") {
    std::vector<Sample> samples;
    for (const std::int64_t count : {1, 2, 4, 8, 16}) {
        add(samples, 0, point(count), {{"oneshot", 12}, {kA, 10}, {kB, 11}, {"nccl_fused_norm", 20}});
        add(samples, 1, point(count), {{"oneshot", 12}, {kA, 10}, {kB, 11}});
        add(samples, 2, point(count), {{"oneshot", 12}, {kA, count == 4 ? 30.0 : 10.0}});
    }
    const Cell cell = fit_cells(samples, {}).front();
    CHECK(launched("oneshot", point(4), launches_of(std::span(&cell, 1))) == kA);
    CHECK(select_algorithm(cell, message_bytes(point(4))) == "oneshot");
}

TEST_CASE("the regret of a table is that of the launches that it has") {
    std::vector<Sample> samples;
    for (const int session : {0, 1})
        for (const std::int64_t count : {1, 2, 4})
            add(samples, session, point(count), {{"oneshot", 12}, {kA, 10}, {"nccl_fused_norm", 11}});
    const std::vector<Cell> cells = fit_cells(samples, {});
    const RegretReport report = regret_report(samples, cells);
    REQUIRE(report.points.size() == 3);
    for (const PointRegret& at : report.points) {
        CHECK(at.chosen == "oneshot");
        CHECK(at.chosen_us == doctest::Approx(10));
        CHECK(at.regret() == doctest::Approx(0));
    }
}
