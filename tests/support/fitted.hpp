#pragma once
/// Machines with two crossovers, and cells fitted to them.

#include "tests/support/synthetic.hpp"
#include "tuner/fit/fit.hpp"

#include <doctest/doctest.h>

namespace crossover::fitted {

inline constexpr double kKiB = 1024, kMiB = 1 << 20;
inline const synthetic::Curve kNccl = synthetic::alpha_beta(12, 20);

/// oneshot up to 512 KiB, twoshot up to 8 MiB, then NCCL.
inline synthetic::Machine two_crossovers() {
    const synthetic::Curve twoshot = synthetic::crossing(kNccl, {8 * kMiB}, 0.15, 0.6);
    synthetic::Machine machine;
    machine.curves = {{"nccl_fused_norm", kNccl},
                      {"nccl_separate", synthetic::scaled(kNccl, 1.15)},
                      {"twoshot", twoshot},
                      {"oneshot", synthetic::crossing(twoshot, {512 * kKiB}, 0.3, 0.8)}};
    return machine;
}

inline Cell fit_one(const std::vector<Sample>& samples, const FitOptions& options = {}) {
    const std::vector<Cell> cells = fit_cells(samples, options);
    REQUIRE(cells.size() == 1);
    return cells.front();
}

inline Cell fit_one(const synthetic::Machine& machine) { return fit_one(synthetic::measure(machine)); }

/// What a consumer with two limits runs.
inline std::string by_limits(const Cell& cell, std::uint64_t bytes) {
    if (cell.oneshot && bytes <= cell.oneshot->max_bytes) return "oneshot";
    if (cell.twoshot && bytes <= cell.twoshot->max_bytes) return "twoshot";
    return "unfused";
}

inline void check_intervals(const Cell& cell) {
    REQUIRE_FALSE(cell.intervals.empty());
    std::uint64_t next = 0;
    for (std::size_t i = 0; i < cell.intervals.size(); ++i) {
        CHECK(cell.intervals[i].min_bytes == next);
        CHECK(cell.intervals[i].max_bytes.has_value() == (i + 1 < cell.intervals.size()));
        if (i > 0) CHECK(cell.intervals[i].algorithm != cell.intervals[i - 1].algorithm);
        if (cell.intervals[i].max_bytes) next = *cell.intervals[i].max_bytes + 1;
    }
}

} // namespace crossover::fitted
