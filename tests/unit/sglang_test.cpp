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
    // 64 MiB = 4096 × 8192 × 2 B; 11650.8 tokens of 2880; world 4: 2 MiB; world 8: a tie, never. The workspace is four
    // times every rank's contribution: three buffers for oneshot, one for twoshot.
    CHECK(python_values(text) == "{2: {8192: 4096, 2880: 11650}, 4: {8192: 128, 2880: 364}, 8: {8192: 0, 2880: 0}} "
                                 "{2: {8192: 536870912, 2880: 536832000}, 4: {8192: 33554432, 2880: 33546240}, "
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

TEST_CASE("where FlashInfer drops oneshot: one of its three buffers holds no more than 2145386496 bytes") {
    if (!test::has("python3 --version", "python3")) return;
    Table table = test::empty_table("NVIDIA B200", "10.0");
    const auto emitted = [&](std::uint64_t bytes, DType dtype) {
        table.cells = {test::measured_cell(8, 1 << 20, bytes, Quant::none, dtype)};
        return emit_sglang(table, {.dtype = dtype, .hidden_dims = {4}});
    };
    const std::string fits = emitted(268173312, DType::bfloat16); // 8 × 268173312 = 2145386496
    CHECK(fits.find("WARNING") == std::string::npos);
    CHECK(python_values(fits) == "{8: {4: 33521664}} {8: {4: 8581545984}}\n"); // × 4
    const std::string larger = emitted(268173312 + 8, DType::bfloat16);
    CHECK(larger.find("WARNING: oneshot's buffers hold no more; 4: oneshot up to 33521664 tokens\n") !=
          std::string::npos);
    CHECK(python_values(larger) == "{8: {4: 33521665}} {8: {4: 8581546048}}\n"); // twoshot's grows alone, by 8 × 8
    CHECK(python_values(emitted(1 << 20, DType::float32)) == "{8: {4: 65536}} {8: {4: 29360128}}\n"); // 24 + 4 MiB
}

TEST_CASE("no hidden_dim, no cell") {
    CHECK_THROWS_AS(emit_sglang(test::every_state(), {}), InputError);
    CHECK_THROWS_AS(emit_sglang(test::every_state(), {.dtype = DType::float16, .hidden_dims = {8192}}), InputError);
}
