#include "output/emit.hpp"
#include "tests/support/command.hpp"
#include "tests/support/tables.hpp"

#include <doctest/doctest.h>

using namespace crossover;

namespace {

constexpr std::int64_t kHidden = 8192;

/// What the engine must print for tokens 1, 2, 3, 5, 8, … and those around the table's limits.
std::string expected_output(const Cell* cell, const std::vector<std::int64_t>& tokens) {
    std::string out;
    for (const std::int64_t count : tokens) {
        const auto bytes = static_cast<std::uint64_t>(count * kHidden * 2);
        const std::string_view name = cell == nullptr ? algorithm::not_measured : select_algorithm(*cell, bytes);
        out += std::to_string(count) + " " + std::string(algorithm::is_fused(name) ? name : "unfused") +
               (name == algorithm::not_measured ? " 0\n" : " 1\n");
    }
    return out;
}

} // namespace

TEST_CASE("an engine built around the header chooses as the table says and sizes its workspace") {
    const Table h200 = test::every_state();
    Table b200 = test::empty_table("NVIDIA B200", "10.0");
    b200.cells = {test::measured_cell(8, 2 << 20, 4 << 20), test::measured_cell(4, 2 << 20, 4 << 20)};
    b200.cells[0].workspace_bytes = 96 << 20;
    b200.cells[1].workspace_bytes = 0; // not known
    // The example's model has limits of its own here: oneshot up to 64 KiB, then unfused.
    const Cell own = test::measured_cell(8, 65536, 65536, Quant::fp8);
    b200.cells.push_back(test::measured_cell(8, 2 << 20, 4 << 20, Quant::fp8));
    b200.cells[2].hidden_dims = {{.hidden_dim = kHidden,
                                  .oneshot = own.oneshot,
                                  .twoshot = own.twoshot,
                                  .baseline = own.baseline,
                                  .workspace_bytes = 8 << 20,
                                  .intervals = own.intervals}};

    const test::TemporaryFolder folder;
    folder.write("oneshot_thresholds.h", emit_cpp_header(std::array{h200, b200}));
    std::vector<std::int64_t> tokens;
    for (const std::int64_t around : {2, 8, 16, 24, 64, 128, 256, 4096})
        for (const std::int64_t beside : {-1, 0, 1}) tokens.push_back(around + beside);
    std::string input;
    for (const std::int64_t count : tokens) input += std::to_string(count) + "\n";
    folder.write("tokens", input);

    for (const std::string compiler : {"g++", "clang++"}) {
        if (!test::has("command -v " + compiler, compiler)) continue;
        const auto built =
            folder.run(compiler + " -std=c++17 -Wall -Wextra -Wpedantic -Werror -I. -o engine " CROSSOVER_SOURCE_DIR
                                  "/tests/example_engine/main.cpp");
        REQUIRE_MESSAGE(built.status == 0, built.output);
        const auto run = [&](const std::string& gpu, const CellKey& key, std::uint64_t budget) {
            const auto result = folder.run("./engine '" + gpu + "' " + std::to_string(key.world_size) + " " +
                                           std::to_string(kHidden) + " " + std::to_string(static_cast<int>(key.quant)) +
                                           " " + std::to_string(budget) + " < tokens");
            REQUIRE(result.status == 0);
            return result.output;
        };
        constexpr std::uint64_t kPlenty = 1ull << 40;
        for (const int world_size : {2, 4, 8, 16})
            for (const auto& quant : kQuants) {
                const CellKey key{.quant = quant.value, .world_size = world_size};
                CAPTURE(to_string(key));
                const Cell* cell = find_cell(h200, key);
                const std::string workspace = cell != nullptr ? std::to_string(cell->workspace_bytes) : "0";
                CHECK(run("NVIDIA H200", key, kPlenty) == workspace + "\n" + expected_output(cell, tokens));
            }
        const CellKey eight{.world_size = 8};
        const std::string fused = std::to_string(96 << 20) + "\n" + expected_output(&b200.cells[0], tokens);
        CHECK(run("NVIDIA B200", eight, 96 << 20) == fused);
        const std::string too_little = run("NVIDIA B200", eight, (96 << 20) - 1);
        CHECK(too_little.rfind("0\n", 0) == 0);
        CHECK(too_little.find("oneshot") == std::string::npos);
        const std::string unknown = run("NVIDIA B200", {.world_size = 4}, kPlenty);
        CHECK(unknown.rfind("0\n", 0) == 0);
        CHECK(unknown.find("shot") == std::string::npos);
        CHECK(run("NVIDIA B200", {.quant = Quant::fp8, .world_size = 8}, kPlenty) ==
              std::to_string(8 << 20) + "\n" + expected_output(&own, tokens));
        CHECK(run("NVIDIA H300", eight, kPlenty) == "0\n" + expected_output(nullptr, tokens));
    }
}
