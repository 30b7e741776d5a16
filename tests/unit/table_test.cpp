#include "kernels/workspace.hpp"
#include "tuner/make_table.hpp"
#include "tuner/table.hpp"

#include <doctest/doctest.h>

using namespace crossover;

namespace {

Cell measured_cell() {
    Cell cell;
    cell.key = {.quant = Quant::fp8, .world_size = 4};
    cell.status = CellStatus::measured;
    cell.baseline = "nccl_fused_norm";
    cell.intervals = {{0, 1000, "oneshot"}, {1001, 5000, "twoshot"}, {5001, std::nullopt, "nccl_fused_norm"}};
    return cell;
}

} // namespace

TEST_CASE("limits are inclusive bytes") {
    const Cell cell = measured_cell();
    CHECK(select_algorithm(cell, 0) == "oneshot");
    CHECK(select_algorithm(cell, 1000) == "oneshot");
    CHECK(select_algorithm(cell, 1001) == "twoshot");
    CHECK(select_algorithm(cell, 5000) == "twoshot");
    CHECK(select_algorithm(cell, 5001) == "nccl_fused_norm");
    CHECK(select_algorithm(cell, ~0ull) == "nccl_fused_norm");
}

TEST_CASE("a tie takes the baseline; what was not measured says so") {
    Cell cell = measured_cell();
    cell.status = CellStatus::tie;
    CHECK(select_algorithm(cell, 500) == "nccl_fused_norm");
    for (const CellStatus status : {CellStatus::not_measured, CellStatus::unsupported}) {
        cell.status = status;
        CHECK(select_algorithm(cell, 500) == algorithm::not_measured);
    }
    cell.status = CellStatus::measured;
    cell.intervals.clear();
    CHECK(select_algorithm(cell, 500) == algorithm::not_measured);
}

TEST_CASE("a hidden_dim with a row uses that, others the cell") {
    Cell cell = measured_cell();
    Threshold ten;
    ten.max_bytes = 10;
    cell.hidden_dims = {{.hidden_dim = 2048,
                         .oneshot = ten,
                         .baseline = "nccl_separate",
                         .workspace_bytes = 7,
                         .intervals = {{0, 10, "oneshot"}, {11, std::nullopt, "nccl_separate"}}},
                        {.hidden_dim = 4096, .status = CellStatus::tie, .baseline = "nccl_fused_norm"}};
    CHECK(select_algorithm(cell, 1000, 8192) == "oneshot");
    CHECK(select_algorithm(cell, 10, 2048) == "oneshot");
    CHECK(select_algorithm(cell, 11, 2048) == "nccl_separate");
    CHECK(select_algorithm(cell, 10, 4096) == "nccl_fused_norm");
    CHECK(select_algorithm(cell, 1000) == "oneshot");
    const Cell model = for_hidden_dim(cell, 2048);
    CHECK(model.oneshot->max_bytes == 10);
    CHECK(model.baseline == "nccl_separate");
    CHECK(model.workspace_bytes == 7);
    CHECK(model.hidden_dims.empty());
    CHECK(for_hidden_dim(cell, 8192).intervals == cell.intervals);
}

TEST_CASE("cells are found by all of their key") {
    Table table;
    table.cells = {measured_cell()};
    CHECK(find_cell(table, {.quant = Quant::fp8, .world_size = 4}) == &table.cells.front());
    CHECK(find_cell(table, {.quant = Quant::none, .world_size = 4}) == nullptr);
    CHECK(find_cell(table, {.quant = Quant::fp8, .world_size = 8}) == nullptr);
    CHECK(find_cell(table, {.dtype = DType::float16, .quant = Quant::fp8, .world_size = 4}) == nullptr);
    CHECK(find_cell(table, {.pattern = Pattern::allreduce, .quant = Quant::fp8, .world_size = 4}) == nullptr);
}

TEST_CASE("words of table.yaml") {
    CHECK(to_string(CellStatus::measured) == "measured");
    CHECK(to_string(CellStatus::tie) == "tie");
    CHECK(to_string(CellStatus::not_measured) == "not_measured");
    CHECK(to_string(CellStatus::unsupported) == "unsupported");
    CHECK(to_string(LimitedBy::crossover) == "crossover");
    CHECK(to_string(LimitedBy::range) == "range");
    CHECK(to_string(LimitedBy::workspace) == "workspace");
}

TEST_CASE("the workspace holds what it says it serves, within its bounds") {
    constexpr std::uint64_t mib = 1 << 20;
    static_assert(workspace_bytes(8, 1) == mib);
    static_assert(workspace_bytes(2, mib) == kControlBytes + 10 * mib);
    static_assert(workspace_bytes(8, mib) == kControlBytes + 40 * mib);
    static_assert(workspace_bytes(2, 64 * mib) == 64 * mib);
    static_assert(workspace_bytes(8, ~0ull) == 64 * mib); // no overflow

    Config config;
    const CellKey key{.world_size = 4};
    CHECK(fit_options(config).workspace_bytes(key, mib) == kControlBytes + 20 * mib);
    config.workspace_limit_bytes = 3 * mib; // the run had no more than this
    CHECK(fit_options(config).workspace_bytes(key, mib) == 3 * mib);
}
