#pragma once
/// Tables made by hand that hold every state a cell can be in.

#include "tuner/table.hpp"

#include <algorithm>

namespace crossover::test {

/// What a fit of two thresholds gives: oneshot up to `oneshot`, twoshot up to `twoshot`, then the baseline.
inline Cell measured_cell(int world_size, std::uint64_t oneshot, std::uint64_t twoshot, Quant quant = Quant::none,
                          DType dtype = DType::bfloat16) {
    Cell cell;
    cell.key = {.dtype = dtype, .quant = quant, .world_size = world_size};
    cell.status = CellStatus::measured;
    cell.oneshot = {oneshot, std::nullopt, LimitedBy::crossover, 0.031};
    cell.twoshot = {twoshot, std::nullopt, LimitedBy::crossover, 0.0225};
    cell.baseline = algorithm::nccl_fused_norm;
    cell.workspace_bytes = 3 << 20;
    cell.measured_min_bytes = 4096;
    cell.measured_max_bytes = 64 << 20;
    std::uint64_t next = 0;
    const auto add_up_to = [&](std::uint64_t max_bytes, std::string_view name) {
        if (max_bytes == 0 || max_bytes < next) return;
        cell.intervals.push_back({next, max_bytes, std::string(name)});
        next = max_bytes + 1;
    };
    add_up_to(oneshot, algorithm::oneshot);
    add_up_to(twoshot, algorithm::twoshot);
    cell.intervals.push_back({next, std::nullopt, cell.baseline});
    return cell;
}

inline Table empty_table(const std::string& sku, const std::string& compute_capability) {
    Table table;
    table.crossover_version = "0.1.0";
    table.fingerprint.sku = sku;
    table.fingerprint.compute_capability = compute_capability;
    table.provenance = {"580.159", "13.0", "2.28.9", "2026-09-01", 4, 1234, {}, {}};
    table.provenance.environment["NCCL_NVLS_ENABLE"] = "0";
    table.provenance.extra["clocks"] = "1980 MHz SM";
    return table;
}

/// One cell in each state: measured, zero (never oneshot), absent oneshot, hole, range end, workspace, tie,
/// not_measured, unsupported, rows of single hidden_dims, launches.
inline Table every_state() {
    Table table = empty_table("NVIDIA H200", "9.0");

    Cell two = measured_cell(2, 131072, 67108864);
    two.oneshot->ci95 = {118000, 140500};
    two.twoshot->ci95 = {61000000, 70000000};
    two.regret = Regret{.mean = 0.0012, .max = 0.013, .points = 42};
    two.launches = {{"oneshot", 4096, 0, 32768, {.cluster_size = 8, .clusters = 66, .threads = 128}},
                    {"oneshot", 4096, 65537, 131072, {.cluster_size = 2, .clusters = 132, .threads = 256}},
                    {"twoshot", 2880, 262144, 67108864, {.threads = 192, .push_ahead = 2, .consume_behind = 0}}};
    two.note = "one threshold for all hidden_dims costs 1.3 % at 2048: \"quoted\", 7 µs";
    table.cells.push_back(two);

    Cell never = measured_cell(2, 0, 8 << 20, Quant::fp8);
    table.cells.push_back(never);

    Cell only_twoshot = measured_cell(2, 0, 4 << 20, Quant::fp4);
    only_twoshot.oneshot.reset();
    table.cells.push_back(only_twoshot);

    // Where one cut is not enough: the baseline wins in the middle of oneshot's range.
    Cell hole = measured_cell(4, 1 << 20, 2 << 20);
    hole.intervals = {{0, 262144, "oneshot"},
                      {262145, 393216, "nccl_symm_fused_norm"},
                      {393217, 1 << 20, "oneshot"},
                      {(1 << 20) + 1, 2 << 20, "twoshot"},
                      {(2 << 20) + 1, std::nullopt, "nccl_fused_norm"}};
    table.cells.push_back(hole);

    Cell ends = measured_cell(4, 524288, 64 << 20, Quant::fp8);
    ends.twoshot->limited_by = LimitedBy::range;
    ends.intervals.back().algorithm = algorithm::not_measured;
    table.cells.push_back(ends);

    Cell clamped = measured_cell(4, 262144, 16 << 20, Quant::fp4);
    clamped.twoshot->limited_by = LimitedBy::workspace;
    clamped.twoshot->gain_at_edge.reset();
    table.cells.push_back(clamped);

    Cell tie;
    tie.key = {.world_size = 8};
    tie.status = CellStatus::tie;
    tie.baseline = algorithm::nccl_separate;
    tie.measured_min_bytes = 2048;
    tie.measured_max_bytes = 1 << 20;
    table.cells.push_back(tie);

    Cell unknown;
    unknown.key = {.quant = Quant::fp8, .world_size = 8};
    unknown.status = CellStatus::not_measured;
    table.cells.push_back(unknown);

    Cell unsupported;
    unsupported.key = {.quant = Quant::fp4, .world_size = 8};
    unsupported.status = CellStatus::unsupported;
    unsupported.note = "no peer access between all GPUs";
    table.cells.push_back(unsupported);

    // Not bytes alone: two hidden_dims have limits of their own, one of them none.
    Cell models = measured_cell(8, 65536, 1 << 20, Quant::none, DType::float32);
    models.spread = HiddenDimSpread{.hidden_dims = 4,
                                    .oneshot = {{16384, 70000}},
                                    .twoshot = {{900000, 1100000}},
                                    .mean_cost = 0.004,
                                    .worst_cost = 0.061};
    const Cell early = measured_cell(8, 16384, 2 << 20);
    models.hidden_dims = {{.hidden_dim = 2048,
                           .oneshot = early.oneshot,
                           .twoshot = early.twoshot,
                           .baseline = early.baseline,
                           .workspace_bytes = 4 << 20,
                           .intervals = early.intervals},
                          {.hidden_dim = 2880,
                           .status = CellStatus::tie,
                           .oneshot = Threshold{},
                           .twoshot = Threshold{},
                           .baseline = "nccl_separate",
                           .intervals = {{0, std::nullopt, "nccl_separate"}}}};
    table.cells.push_back(models);

    std::sort(table.cells.begin(), table.cells.end(), [](const Cell& a, const Cell& b) { return a.key < b.key; });
    return table;
}

} // namespace crossover::test
