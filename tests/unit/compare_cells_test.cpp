/// What a comparison says of a cell beside its limits.
#include "output/comparison.hpp"
#include "tests/support/tables.hpp"

#include <doctest/doctest.h>

using namespace crossover;

namespace {

Comparison compare_tables(const Table& before, const Table& after) {
    return compare({"old", before, {}}, {"new", after, {}}, {});
}

Table table_of(const Cell& cell) {
    Table table = test::empty_table("NVIDIA H200", "9.0");
    table.cells = {cell};
    return table;
}

} // namespace

TEST_CASE("a cell that is gone is missing, but from another machine's table there is nothing to be missed") {
    const Table before = table_of(test::measured_cell(8, 128 << 10, 16 << 20));
    Table after = before;
    after.cells.clear();
    CHECK(compare_tables(before, after).cells.front().verdict == CellVerdict::missing);
    CHECK(compare_tables(before, after).fails());
    after.fingerprint.sku = "NVIDIA B200";
    CHECK(compare_tables(before, after).cells.front().verdict == CellVerdict::not_comparable);
    CHECK_FALSE(compare_tables(before, after).compared());
}

TEST_CASE("cells that neither table measured are the same, and compare nothing") {
    Cell unknown;
    unknown.key = {.world_size = 8};
    const Comparison comparison = compare_tables(table_of(unknown), table_of(unknown));
    CHECK(comparison.count(CellVerdict::same) == 1);
    CHECK(comparison.fails());
    CHECK(compare_text(comparison).find("NOT COMPARED: 1 cells: 1 same") != std::string::npos);
}

TEST_CASE("a hole in a range is told, another split of the baselines is not") {
    const Cell cell = test::measured_cell(8, 128 << 10, 16 << 20);
    Cell split = cell;
    split.intervals.back().max_bytes = 32 << 20;
    split.intervals.push_back({(32 << 20) + 1, std::nullopt, "nccl_separate"});
    CHECK(compare_tables(table_of(cell), table_of(split)).cells.front().why.empty());
    Cell hole = cell;
    hole.intervals = {{0, 65536, "oneshot"},
                      {65537, 98304, "nccl_fused_norm"},
                      {98305, 128 << 10, "oneshot"},
                      {(128 << 10) + 1, 16 << 20, "twoshot"},
                      {(16 << 20) + 1, std::nullopt, "nccl_fused_norm"}};
    CHECK(compare_tables(table_of(cell), table_of(hole)).cells.front().why ==
          std::vector<std::string>{"the order of the algorithms differs"});
}

TEST_CASE("an interval that reaches the largest size tells the spread by its lower half") {
    const auto open_above = [](std::uint64_t twoshot) {
        Cell cell = test::measured_cell(8, 128 << 10, twoshot);
        cell.oneshot->gain_at_edge = cell.twoshot->gain_at_edge = 0.15;
        cell.oneshot->ci95 = {123 << 10, 133 << 10};
        cell.twoshot->ci95 = {twoshot * 94 / 100, cell.measured_max_bytes}; // perhaps everywhere
        return table_of(cell);
    };
    const auto verdict = [&](std::uint64_t before, std::uint64_t after) {
        return compare_tables(open_above(before << 10), open_above(after << 10)).cells.front().verdict;
    };
    CHECK(verdict(16384, 15200) == CellVerdict::same);
    CHECK(verdict(16384, 14000) == CellVerdict::worse);
}
