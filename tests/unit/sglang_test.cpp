#include "output/emit.hpp"
#include "tests/support/command.hpp"
#include "tests/support/tables.hpp"
#include "tuner/error.hpp"

#include <doctest/doctest.h>

using namespace crossover;

namespace {

/// The two dicts, as Python prints them.
std::string python_values(const std::string& emitted) {
    const test::TemporaryFolder folder;
    folder.write("emitted.py", emitted + "\nprint(FUSED_ALLREDUCE_MAX_TOKENS, FLASHINFER_WORKSPACE_BYTES)\n");
    const auto result = test::run_command("python3 " + (folder.path() / "emitted.py").string());
    REQUIRE_MESSAGE(result.status == 0, result.output);
    return result.output;
}

} // namespace

TEST_CASE("token limits and workspace a model") {
    if (!test::has("python3 --version", "python3")) return;
    const std::string text = emit_sglang(test::every_state(), {.hidden_dims = {8192, 2880}});
    // 64 MiB = 4096 × 8192 × 2 B; 11650.8 tokens of 2880; world 4: 2 MiB; world 8: a tie, never
    CHECK(python_values(text) == "{2: {8192: 4096, 2880: 11650}, 4: {8192: 128, 2880: 364}, 8: {8192: 0, 2880: 0}} "
                                 "{2: {8192: 402653184, 2880: 402624000}, 4: {8192: 25165824, 2880: 25159680}, "
                                 "8: {8192: 0, 2880: 0}}\n");
    CHECK(text.find("8: {8192: 0, 2880: 0},  # 0 B, not measured below 2048 B") != std::string::npos);
    CHECK(text.find("4: {8192: 128, 2880: 364},  # 2097152 B, one cut for several intervals") != std::string::npos);
}

TEST_CASE("a model with limits of its own") {
    if (!test::has("python3 --version", "python3")) return;
    const std::string text =
        emit_sglang(test::every_state(), {.dtype = DType::float32, .hidden_dims = {8192, 2048, 2880}});
    // 1 MiB for any, 2 MiB for 2048, a tie at 2880
    CHECK(python_values(text).starts_with("{8: {8192: 32, 2048: 256, 2880: 0}}"));
    CHECK(text.find("2048: 2097152 B by itself, 2880: 0 B by itself") != std::string::npos);
}

TEST_CASE("what is not measured is absent and says so") {
    if (!test::has("python3 --version", "python3")) return;
    const std::string fp8 = emit_sglang(test::every_state(), {.quant = Quant::fp8, .hidden_dims = {8192}});
    CHECK(python_values(fp8).find("8:") == std::string::npos);
    CHECK(fp8.find("# 8: not_measured") != std::string::npos);
    CHECK(fp8.find("67108864 B, not measured above") != std::string::npos);
    const std::string fp4 = emit_sglang(test::every_state(), {.quant = Quant::fp4, .hidden_dims = {8192}});
    CHECK(fp4.find("# 8: unsupported (no peer access between all GPUs)") != std::string::npos);
}

TEST_CASE("a workspace in which FlashInfer drops oneshot is flagged") {
    Table table = test::empty_table("NVIDIA B200", "10.0");
    table.cells = {test::measured_cell(8, 1 << 20, 89391104)}; // 3 × 8 × 89391104 = 2,145,386,496: still good
    CHECK(emit_sglang(table, {.hidden_dims = {4}}).find("WARNING") == std::string::npos);
    table.cells = {test::measured_cell(8, 1 << 20, 89391104 + 8)};
    CHECK(emit_sglang(table, {.hidden_dims = {4}}).find("WARNING: workspace too large; 4: FlashInfer") !=
          std::string::npos);
}

TEST_CASE("no hidden_dim, no cell") {
    CHECK_THROWS_AS(emit_sglang(test::every_state(), {}), InputError);
    CHECK_THROWS_AS(emit_sglang(test::every_state(), {.dtype = DType::float16, .hidden_dims = {8192}}), InputError);
}
