#include "output/emit.hpp"
#include "output/format.hpp"
#include "tests/support/tables.hpp"

#include <doctest/doctest.h>

#include <sstream>

using namespace crossover;

namespace {

/// The summary's row of a world size and quant mode, its cells trimmed and joined by "|".
std::string row_of(const std::string& text, const std::string& world_size, const std::string& quant) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        std::string row;
        std::istringstream cells(line);
        for (std::string cell; std::getline(cells, cell, '|');) {
            const auto first = cell.find_first_not_of(' ');
            if (first != std::string::npos) row += cell.substr(first, cell.find_last_not_of(' ') - first + 1) + "|";
        }
        if (row.rfind(world_size + "|" + quant + "|", 0) == 0) return row;
    }
    return "no row";
}

} // namespace

TEST_CASE("sizes as people read them") {
    CHECK(human_bytes(0) == "0 B");
    CHECK(human_bytes(1023) == "1023 B");
    CHECK(human_bytes(1024) == "1 KiB");
    CHECK(human_bytes(131072) == "128 KiB");
    CHECK(human_bytes(131073) == "~128 KiB");
    CHECK(human_bytes(1310720) == "1.25 MiB");
    CHECK(human_bytes((1 << 20) - 1) == "~1 MiB");
    CHECK(human_bytes(64 << 20) == "64 MiB");
    CHECK(percent(0.0312) == "+3.1 %");
    CHECK(percent(-0.004, 2) == "-0.40 %");
}

TEST_CASE("a summary row says each state apart") {
    const std::string text = emit_summary(test::every_state());
    CHECK(row_of(text, "2", "none") ==
          "2|none|131072 (128 KiB)|~115 KiB … ~137 KiB|+3.1 %|67108864 (64 MiB)|~58.2 MiB … "
          "~66.8 MiB|+2.2 %|nccl_fused_norm|");
    CHECK(row_of(text, "2", "fp8").find("|0 (never from 4 KiB on)|") != std::string::npos);
    CHECK(row_of(text, "2", "fp4").find("|not measured|–|–|4194304 (4 MiB)|") != std::string::npos);
    CHECK(row_of(text, "4", "fp8").find("|≥ 67108864 (64 MiB)|") != std::string::npos);
    CHECK(row_of(text, "4", "fp4").find("|16777216 (16 MiB), workspace|–|–|") != std::string::npos);
    CHECK(row_of(text, "8", "none") == "8|none|tie|–|–|tie|–|–|nccl_separate|");
    CHECK(row_of(text, "8", "fp8") == "8|fp8|not measured|–|–|not measured|–|–|–|");
    CHECK(row_of(text, "8", "fp4") == "8|fp4|unsupported|–|–|unsupported|–|–|–|");
    CHECK(text.find("allreduce_residual_rmsnorm, bfloat16\n") != std::string::npos);
    CHECK(text.find("allreduce_residual_rmsnorm, float32\n") != std::string::npos);
}

TEST_CASE("what the kernels cannot do is not what was not measured") {
    Table table = test::empty_table("X", "9.0");
    Cell& cell = table.cells.emplace_back();
    cell.key = {.pattern = Pattern::allreduce_residual_rmsnorm_sharded, .world_size = 4}; // not for oneshot
    cell.status = CellStatus::measured;
    cell.twoshot.emplace().max_bytes = 4096;
    CHECK(row_of(emit_summary(table), "4", "none") == "4|none|unsupported|–|–|4096 (4 KiB)|–|–|–|");
    cell.key.pattern = Pattern::allreduce_residual_rmsnorm;
    CHECK(row_of(emit_summary(table), "4", "none") == "4|none|not measured|–|–|4096 (4 KiB)|–|–|–|");
}

TEST_CASE("tables say that results change where a limit to NCCL moves") {
    const std::string sentence = "NCCL sums in the tensor's dtype and in an order of its own";
    Table table = test::every_state();
    CHECK(emit_markdown(table).find(sentence) != std::string::npos);
    CHECK(emit_cpp_header({&table, 1}).find(sentence) != std::string::npos);
}

TEST_CASE("a summary tells the intervals where its limits do not") {
    const std::string text = emit_summary(test::every_state());
    const std::string remark = "\n\nWorld size 4, none, is more than its limits: 0 (0 B) to 262144 (256 KiB): oneshot; "
                               "262145 (~256 KiB) to 393216 (384 KiB): nccl_symm_fused_norm; ";
    CHECK(text.find(remark) != std::string::npos);
    CHECK(text.find("is more than", text.find(remark) + remark.size()) == std::string::npos); // all others are told

    Table table = test::empty_table("X", "9.0");
    Cell& cell = table.cells.emplace_back();
    cell.key = {.pattern = Pattern::moe_combine_zipf, .world_size = 4};
    cell.status = CellStatus::measured;
    cell.onset = Onset{.min_bytes = 4096, .ci95 = {}, .gain_at_edge = {}};
    cell.intervals = {{0, 4095, "nccl_allreduce_slice"}, {4096, 8191, "nccl_reduce_scatter"}, {8192, {}, "push"}};
    CHECK(emit_summary(table).find("is more than") == std::string::npos);
    cell.onset->min_bytes = 8192;
    CHECK(emit_summary(table).find("World size 4, none, is more than its limits: 0 (0 B) to 4095 (~4 KiB): "
                                   "nccl_allreduce_slice; 4096 (4 KiB) to ") != std::string::npos);
    cell.intervals = {{0, 4095, "nccl_allreduce_slice"}, {4096, {}, "not_measured"}};
    cell.onset->min_bytes.reset();
    CHECK(emit_summary(table).find("is more than") == std::string::npos);
}

TEST_CASE("columns line up, and text cannot break a table") {
    std::istringstream lines(emit_summary(test::every_state()));
    std::size_t width = 0;
    for (std::string line; std::getline(lines, line);) {
        if (line.empty() || line[0] != '|') {
            width = 0;
            continue;
        }
        const auto columns = static_cast<std::size_t>(std::count_if(
            line.begin(), line.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
        if (width != 0) CHECK(columns == width);
        width = columns;
    }
    CHECK(markdown_table({{"a", "b"}, {"x|y", "1\n2"}}) == "| a    | b   |\n|------|-----|\n| x\\|y | 1 2 |\n");
}

TEST_CASE("is it bytes? The report answers") {
    Table table = test::every_state();
    std::string text = emit_markdown(table);
    CHECK(
        text.find("No, not in 1 of 1 cells: there one pair of limits in bytes costs over 1 % of time (up to 6.1 %)") !=
        std::string::npos);
    CHECK(text.find("| 2048, 2880 ") != std::string::npos);
    CHECK(text.find("- hidden_dim 2048 by itself: oneshot max 16384 (16 KiB), twoshot max 2097152 (2 MiB)") !=
          std::string::npos);
    CHECK(text.find("- hidden_dim 2880 by itself: oneshot max tie") != std::string::npos);
    Table alternating = table;
    alternating.cells.back().hidden_dims[0].intervals = find_cell(table, {.world_size = 4})->intervals;
    CHECK(emit_markdown(alternating)
              .find("twoshot max 2097152 (2 MiB), baseline nccl_fused_norm; 0 (0 B) to 262144 (256 KiB): oneshot; "
                    "262145 (~256 KiB) to 393216 (384 KiB): nccl_symm_fused_norm; ") != std::string::npos);
    for (Cell& cell : table.cells) {
        cell.hidden_dims.clear();
        if (cell.spread) cell.spread->worst_cost = 0.0012;
    }
    text = emit_markdown(table);
    CHECK(
        text.find("Yes, in the only cell with several hidden dims: one pair of limits in bytes costs at most 0.12 %") !=
        std::string::npos);
    for (Cell& cell : table.cells) cell.spread.reset();
    CHECK(emit_markdown(table).find("Is it bytes?\n\nNot tested:") != std::string::npos);
    table.cells.clear();
    CHECK(emit_markdown(table).find("Is it bytes?") == std::string::npos);
}

TEST_CASE("the report explains the columns that it has") {
    const std::string fused = "“oneshot max” use oneshot", moe = "“reduce-scatter from” use the baseline";
    const auto has = [](const Table& table, const std::string& words) {
        return emit_markdown(table).find(words) != std::string::npos;
    };
    Table table = test::every_state();
    CHECK((has(table, fused) && !has(table, moe)));
    table.cells.emplace_back().key = {.pattern = Pattern::moe_combine_even, .world_size = 2};
    CHECK((has(table, fused) && has(table, moe)));
    table.cells.erase(table.cells.begin(), table.cells.end() - 1);
    CHECK((!has(table, fused) && has(table, moe)));
}

TEST_CASE("the report holds provenance, intervals, regret and notes") {
    Table table = test::every_state();
    table.cells[1].note = "first\n# second";
    const std::string text = emit_markdown(table);
    CHECK(text.find(emit_summary(table)) != std::string::npos);
    for (const char* part :
         {"# Dispatch table for NVIDIA H200\n", "| driver             | 580.159     |",
          "| NCCL_NVLS_ENABLE   | 0           |", "| clocks             | 1980 MHz SM |",
          "- 0 (0 B) to 131072 (128 KiB): oneshot\n", "- 262145 (~256 KiB) to 393216 (384 KiB): nccl_symm_fused_norm\n",
          "- from 67108865 (~64 MiB): not_measured\n",
          "at 42 points, those it was fitted to: mean +0.12 %, worst +1.30 %",
          "- note: no peer access between all GPUs\n", "- note: first # second\n",
          "- measured from 4096 (4 KiB) to 67108864 (64 MiB)\n",
          "workspace of the fused algorithms: 3145728 (3 MiB)"}) {
        CAPTURE(part);
        CHECK(text.find(part) != std::string::npos);
    }
    CHECK(emit_summary(test::empty_table("X", "9.0")) == "no cells\n");
}
