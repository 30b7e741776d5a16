#include "output/emit.hpp"
#include "output/ranges.hpp"
#include "tests/support/command.hpp"
#include "tests/support/tables.hpp"

#include <doctest/doctest.h>

using namespace crossover;

namespace {

const Cell& cell_of(const Table& table, int world_size, Quant quant = Quant::none) {
    const Cell* cell = find_cell(table, {.quant = quant, .world_size = world_size});
    REQUIRE(cell != nullptr);
    return *cell;
}

test::CommandResult crossover_ranges(const std::string& arguments) {
    const test::TemporaryFolder folder;
    const std::string table = folder.write("table.yaml", emit_yaml(test::every_state()));
    return test::run_command(CROSSOVER_BINARY " ranges --table " + table + " " + arguments);
}

} // namespace

TEST_CASE("the algorithm of every token count is the table's") {
    const Table table = test::every_state();
    for (const Cell& cell : table.cells)
        for (const std::int64_t hidden_dim : {8, 2880, 7168, 8192})
            for (const std::int64_t max_tokens : {1, 7, 16, 2048, 16384}) {
                CAPTURE(to_string(cell.key));
                CAPTURE(hidden_dim);
                CAPTURE(max_tokens);
                std::int64_t tokens = 1;
                std::string before;
                for (const TokenRange& range : token_ranges(cell, hidden_dim, max_tokens)) {
                    REQUIRE(range.first_tokens == tokens);
                    REQUIRE(range.last_tokens >= range.first_tokens);
                    CHECK(range.algorithm != before); // no split without a change
                    before = range.algorithm;
                    for (; tokens <= range.last_tokens; ++tokens) {
                        const auto bytes =
                            static_cast<std::uint64_t>(tokens * hidden_dim) * element_size(cell.key.dtype);
                        if (select_algorithm(cell, bytes, hidden_dim) != range.algorithm)
                            FAIL_CHECK("at " << tokens << " tokens");
                    }
                }
                CHECK(tokens == max_tokens + 1);
            }
}

TEST_CASE("split points are bytes // (hidden_dim x element size)") {
    const Table table = test::every_state();
    const auto points = [&](const Cell& cell, std::int64_t hidden_dim, std::int64_t max_tokens) {
        return split_points(token_ranges(cell, hidden_dim, max_tokens));
    };
    using Points = std::vector<std::int64_t>;
    CHECK(points(cell_of(table, 2), 8192, 16384) == Points{131072 / 16384, 67108864 / 16384});
    CHECK(points(cell_of(table, 2), 2880, 16384) == Points{131072 / 5760, 67108864 / 5760});
    CHECK(points(cell_of(table, 2), 8192, 4096) == Points{8}); // the range ends with twoshot
    CHECK(points(cell_of(table, 2), 8192, 8).empty());
    CHECK(points(cell_of(table, 4), 8192, 16384) == Points{16, 24, 64, 128}); // a hole
    CHECK(points(cell_of(table, 4), 131072, 16384) == Points{4, 8});          // in which no whole token fits
    CHECK(points(cell_of(table, 8), 8192, 16384).empty());                    // a tie
    CHECK(points(cell_of(table, 2), 1 << 20, 16384) == Points{32});           // oneshot below one token
}

TEST_CASE("an engine has one unfused path: no split point between two baselines") {
    Cell cell = test::measured_cell(2, 131072, 1 << 20);
    cell.intervals = {{0, 131072, "oneshot"},
                      {131073, 1 << 20, "twoshot"},
                      {(1 << 20) + 1, 4 << 20, "nccl_separate"},
                      {(4 << 20) + 1, std::nullopt, "nccl_fused_norm"}};
    const std::vector<TokenRange> ranges = token_ranges(cell, 8192, 16384);
    CHECK(ranges.size() == 4);
    CHECK(split_points(ranges) == std::vector<std::int64_t>{8, 64});
}

TEST_CASE("of a MoE operation the baseline is left where the table says so") {
    Cell cell;
    cell.key = {.pattern = Pattern::moe_dispatch_even, .quant = Quant::fp4, .world_size = 2};
    cell.status = CellStatus::measured;
    cell.intervals = {{0, 65535, "nccl_allreduce_quantize"},
                      {65536, 262143, "nccl_allgather_quantize"},
                      {262144, 1048575, "quantize_nccl_allgather"},
                      {1048576, std::nullopt, "push"}};
    CHECK(split_points(token_ranges(cell, 8192, 16384)) == std::vector<std::int64_t>{15, 63}); // not between baselines
}

TEST_CASE("a model with a row of its own is split by that") {
    const Table table = test::every_state();
    const Cell* cell = find_cell(table, {.dtype = DType::float32, .world_size = 8});
    REQUIRE(cell != nullptr);
    CHECK(split_points(token_ranges(*cell, 8192, 16384)) == std::vector<std::int64_t>{2, 32});
    CHECK(split_points(token_ranges(*cell, 2048, 16384)) == std::vector<std::int64_t>{2, 256});
    CHECK(split_points(token_ranges(*cell, 2880, 16384)).empty()); // a tie
}

TEST_CASE("crossover ranges in text and JSON") {
    const auto text = crossover_ranges("--hidden-dim 8192 --world-size 2 --max-num-batched-tokens 16384");
    CHECK(text.status == 0);
    CHECK(text.output == "| tokens        | message       | algorithm       |\n"
                         "|---------------|---------------|-----------------|\n"
                         "| 1 to 8        | up to 128 KiB | oneshot         |\n"
                         "| 9 to 4096     | up to 64 MiB  | twoshot         |\n"
                         "| 4097 to 16384 | up to 256 MiB | nccl_fused_norm |\n"
                         "\ncompile_ranges_endpoints: [8, 4096]\n");
    const auto json =
        crossover_ranges("--hidden-dim 8192 --world-size 4 --quant fp8 --max-num-batched-tokens 9999 --json");
    CHECK(json.status == 0);
    CHECK(json.output.find("\"compile_ranges_endpoints\": [32, 4096]") != std::string::npos);
    CHECK(json.output.find("{\"first_tokens\": 4097, \"last_tokens\": 9999, \"algorithm\": \"not_measured\"}") !=
          std::string::npos);
    if (test::has("python3 --version", "python3")) {
        const test::TemporaryFolder folder;
        const std::string file = folder.write("ranges.json", json.output);
        CHECK(test::run_command("python3 -m json.tool " + file).status == 0);
    }
}

TEST_CASE("crossover ranges refuses what it cannot answer") {
    const auto check = [](const std::string& arguments, const std::string& words) {
        const auto result = crossover_ranges(arguments);
        test::check_only_refused(result);
        CHECK(test::contains(result.output, words));
    };
    const std::string rest = " --world-size 2 --max-num-batched-tokens 100";
    check("--hidden-dim -8" + rest, "--hidden-dim");
    check("--hidden-dim 0" + rest, "--hidden-dim");
    check("--hidden-dim many" + rest, "hidden-dim");
    check("--hidden-dim 8192 --dtype bf16" + rest, "bfloat16, float16, float32");
    check("--hidden-dim 8192 --quant fp6" + rest, "none, fp8, fp4");
    check("--hidden-dim 8192 --world-size 16 --max-num-batched-tokens 100", "n=8 allreduce_residual_rmsnorm");
    check("--hidden-dim 8192 --world-size 2 --max-num-batched-tokens 0", "--max-num-batched-tokens");
    check("--hidden-dim 8192 --world-size 2 --max-num-batched-tokens 9223372036854775807", "write 1 to 1099511627776");
    check("--hidden-dim 8192 --world-size 2", "max-num-batched-tokens");
}
