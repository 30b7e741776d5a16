#include "output/emit.hpp"
#include "output/limits.hpp"
#include "tests/support/command.hpp"
#include "tests/support/tables.hpp"
#include "tuner/error.hpp"

#include <doctest/doctest.h>

#include <random>
#include <sstream>

using namespace crossover;

namespace {

/// Reads the emitted file and answers as vLLM does: fused where tokens * hidden * element_size is at most int(MB *
/// MiB), oneshot where it is at most MB * 1024 * 1024 or no limit is given.
const char* const kLookup = R"(
import sys
tables = {}
exec(open(sys.argv[1]).read(), tables)
wrong = 0
for line in open(sys.argv[2]):
    capability, world, hidden, element_size, tokens, fused, oneshot = map(int, line.split())
    size = tokens * hidden * element_size
    max_size = tables["FI_ALLREDUCE_FUSION_MAX_SIZE_MB"].get(capability, {}).get(world)
    is_fused = max_size is not None and tokens <= int(max_size * 1024 * 1024) // (hidden * element_size)
    one = tables["_FI_ALLREDUCE_ONE_SHOT_MAX_SIZES_MB"].get(capability, {}).get(world, None)
    is_oneshot = one is None or size <= one * 1024 * 1024
    if (is_fused, is_fused and is_oneshot) != (bool(fused), bool(oneshot)):
        wrong += 1
        print("wrong:", line.strip(), "vLLM says", is_fused, is_oneshot, max_size, one)
sys.exit(wrong != 0)
)";

std::string query(int capability, const Cell& cell, std::int64_t hidden, std::uint64_t tokens) {
    const std::size_t bytes = element_size(cell.key.dtype);
    const std::uint64_t size = tokens * static_cast<std::uint64_t>(hidden) * bytes;
    const bool fused = size <= fused_limit(cell).value_or(0) && fused_limit(cell).value_or(0) > 0;
    const bool oneshot = fused && (!oneshot_limit(cell) || size <= *oneshot_limit(cell));
    std::ostringstream line;
    line << capability << ' ' << cell.key.world_size << ' ' << hidden << ' ' << bytes << ' ' << tokens << ' ' << fused
         << ' ' << oneshot << '\n';
    return line.str();
}

/// Every limit of the cell, a token less and a token more, for many models.
std::string queries_around_limits(int capability, const Cell& cell) {
    std::string queries;
    for (const std::int64_t hidden : {8, 1024, 2880, 4096, 5120, 7168, 8192, 16384})
        for (const auto limit : {fused_limit(cell), oneshot_limit(cell)}) {
            const std::uint64_t tokens =
                limit.value_or(1 << 20) / (static_cast<std::uint64_t>(hidden) * element_size(cell.key.dtype));
            for (const std::uint64_t around : {tokens - (tokens > 1), tokens, tokens + 1, 2 * tokens + 3})
                if (around > 0) queries += query(capability, cell, hidden, around);
        }
    return queries;
}

void check_lookups(const std::string& python, const std::string& queries) {
    const test::TemporaryFolder folder;
    folder.write("emitted.py", python);
    folder.write("lookup.py", kLookup);
    folder.write("queries", queries);
    const auto result = folder.run("python3 lookup.py emitted.py queries");
    CHECK_MESSAGE(result.status == 0, result.output << python);
}

/// `expression` in Python after the emitted text.
std::string python_value(const std::string& emitted, const std::string& expression) {
    const test::TemporaryFolder folder;
    folder.write("emitted.py", emitted + "\nprint(" + expression + ")\n");
    const auto result = test::run_command("python3 " + (folder.path() / "emitted.py").string());
    REQUIRE_MESSAGE(result.status == 0, result.output);
    return result.output.substr(0, result.output.find_last_not_of('\n') + 1);
}

const char* const kFused = "FI_ALLREDUCE_FUSION_MAX_SIZE_MB";
const char* const kOneshot = "_FI_ALLREDUCE_ONE_SHOT_MAX_SIZES_MB";

Table table_with(const std::string& sku, std::vector<Cell> cells) {
    Table table = test::empty_table(sku, "9.0");
    table.cells = std::move(cells);
    return table;
}

std::string error_of(std::span<const Table> tables) {
    try {
        emit_vllm(tables, {});
    } catch (const InputError& error) {
        return error.what();
    }
    return "";
}

} // namespace

TEST_CASE("vLLM decides as the table does at every boundary and a token beside it") {
    if (!test::has("python3 --version", "python3")) return;
    const Table table = test::every_state();
    for (const auto& quant : kQuants)
        for (const auto& dtype : kDTypes) {
            CAPTURE(quant.name);
            CAPTURE(dtype.name);
            std::string queries;
            for (const Cell& cell : table.cells)
                if (cell.key.quant == quant.value && cell.key.dtype == dtype.value)
                    queries += queries_around_limits(90, cell);
            if (queries.empty()) continue; // refused, see below
            check_lookups(emit_vllm(std::array{table}, {.dtype = dtype.value, .quant = quant.value, .hidden_dims = {}}),
                          queries);
        }
}

TEST_CASE("odd limits come through vLLM's float exactly") {
    if (!test::has("python3 --version", "python3")) return;
    std::mt19937_64 random(7);
    std::vector<Cell> cells;
    std::string queries;
    for (int world_size = 2; world_size < 120; ++world_size) {
        const std::uint64_t oneshot = random() % (1ull << (random() % 40 + 1));
        cells.push_back(test::measured_cell(world_size, oneshot, oneshot + random() % (1ull << (random() % 40 + 1))));
        // hidden_dim 1 and one-byte steps would need a one-byte dtype; steps of two bytes are the finest there are.
        for (const auto limit : {oneshot_limit(cells.back()), fused_limit(cells.back())})
            for (const std::uint64_t tokens : {*limit / 2, *limit / 2 + 1})
                if (tokens > 0) queries += query(90, cells.back(), 1, tokens);
        queries += queries_around_limits(90, cells.back());
    }
    check_lookups(emit_vllm(std::array{table_with("NVIDIA H200", cells)}, {}), queries);
}

TEST_CASE("zero, absent and the warning") {
    if (!test::has("python3 --version", "python3")) return;
    const Table table = test::every_state();
    const std::string none = emit_vllm(std::array{table}, {});
    CHECK(python_value(none, kFused) == "{90: {2: 64, 4: 2}}");            // 8: a tie
    CHECK(python_value(none, kOneshot) == "{90: {2: 0.125, 4: 1, 8: 0}}"); // never oneshot
    CHECK(none.find("# 8: fused is never the fastest") != std::string::npos);
    CHECK(none.find("# 8: not measured below 2048 B") != std::string::npos);
    CHECK(none.find("# 4: one cut instead of 5 intervals") != std::string::npos);
    CHECK(none.find("# 8: WARNING") == std::string::npos); // nothing is fused there
    CHECK(none.find("# 2: quant fp8: fused 8388608 B, oneshot 0 B") != std::string::npos);

    const std::string fp8 = emit_vllm(std::array{table}, {.quant = Quant::fp8, .hidden_dims = {}});
    CHECK(python_value(fp8, kFused) == "{90: {2: 8, 4: 64}}");
    CHECK(python_value(fp8, kOneshot) == "{90: {2: 0, 4: 0.5}}");
    CHECK(fp8.find("# 8: not measured; absent, so vLLM leaves the pass off") != std::string::npos);
    CHECK(fp8.find("# 4: not measured above") != std::string::npos);

    const std::string fp4 = emit_vllm(std::array{table}, {.quant = Quant::fp4, .hidden_dims = {}});
    CHECK(python_value(fp4, kOneshot) == "{90: {4: 0.25}}");
    CHECK(fp4.find("# 2: not measured; WARNING: absent, so vLLM uses oneshot at EVERY fused size") !=
          std::string::npos);
    CHECK(fp4.find("# 8: not measured; WARNING") == std::string::npos); // nothing is fused there
    CHECK_THROWS_AS(emit_vllm(std::array{table}, {.dtype = DType::float16, .hidden_dims = {}}), InputError);
}

TEST_CASE("notes say what one number does not, and no more") {
    Table table = test::empty_table("NVIDIA H200", "9.0");
    const auto has = [&](const std::string& words) {
        return emit_vllm(std::span(&table, 1), {}).find(words) != std::string::npos;
    };
    table.cells = {test::measured_cell(2, 1 << 20, 8 << 20), test::measured_cell(2, 1 << 20, 8 << 20, Quant::fp8)};
    CHECK_FALSE(has("# 2: "));
    table.cells[1].oneshot->max_bytes = 1 << 19;
    CHECK(has("# 2: quant fp8: fused 8388608 B, oneshot 524288 B"));
    table.cells.pop_back();

    Cell& cell = table.cells.front();
    const std::string end = "        # 2: not measured above\n        2: ";
    cell.twoshot->limited_by = LimitedBy::range; // said of the fused limit alone
    CHECK(has(end + "8,"));
    CHECK_FALSE(has(end + "1,"));
    cell = test::measured_cell(2, 8 << 20, 8 << 20);
    cell.oneshot->limited_by = LimitedBy::range;
    const std::string text = emit_vllm(std::span(&table, 1), {});
    CHECK(text.find(end + "8,") != text.rfind(end + "8,"));
    cell = test::measured_cell(2, 1 << 20, 8 << 20);
    cell.intervals = {{0, 65536, "oneshot"},
                      {65537, 131072, "twoshot"},
                      {131073, 1 << 20, "oneshot"},
                      {(1 << 20) + 1, 8 << 20, "twoshot"},
                      {(8 << 20) + 1, std::nullopt, "nccl_fused_norm"}};
    CHECK(has("# 2: one cut instead of 5 intervals"));
    cell = test::measured_cell(2, 0, 8 << 20); // twoshot from the start on
    CHECK_FALSE(has("one cut"));
    cell = test::measured_cell(2, 0, 0);
    CHECK_FALSE(has("one cut"));
    CHECK(has("# 2: not measured below 4096 B"));
    cell.measured_min_bytes = 0; // a table that does not say it
    CHECK_FALSE(has("not measured below"));
}

TEST_CASE("where vLLM would ask FlashInfer's twoshot for as few tokens as there are ranks") {
    Table table = test::empty_table("NVIDIA H200", "9.0");
    const auto warning = [&](std::uint64_t oneshot, std::uint64_t twoshot, DType dtype = DType::bfloat16) {
        table.cells = {test::measured_cell(8, oneshot, twoshot, Quant::none, dtype)};
        const std::string text = emit_vllm(std::span(&table, 1), {.dtype = dtype, .hidden_dims = {}});
        const auto at = text.find("WARNING");
        return at == std::string::npos ? "" : text.substr(at, text.find('\n', at) - at);
    };
    CHECK(warning(131072, 1 << 20) == // 8 × 8192 × 2 bytes
          "WARNING: vLLM fails at 8 tokens or fewer of hidden_dim above 8192: FlashInfer's twoshot takes more");
    CHECK(warning(131071, 1 << 20).find("above 8191:") != std::string::npos);
    CHECK(warning(131072, 1 << 20, DType::float32).find("above 4096:") != std::string::npos);
    CHECK(warning(0, 1 << 20) == "WARNING: vLLM fails at 8 tokens or fewer: FlashInfer's twoshot takes more");
    CHECK(warning(1 << 19, 1 << 20).empty()); // 8 × 32768 × 2 bytes: no model is wider
    CHECK(warning((1 << 19) - 1, 1 << 20).find("above 32767:") != std::string::npos);
    CHECK(warning(1 << 20, 1 << 20).empty()); // no twoshot
    CHECK(warning(0, 0).empty());
}

TEST_CASE("tables of several capabilities share the dicts") {
    if (!test::has("python3 --version", "python3")) return;
    Table blackwell = table_with("NVIDIA GB300", {test::measured_cell(4, 4 << 20, 64 << 20)});
    blackwell.fingerprint.compute_capability = "10.3";
    const std::array tables{table_with("NVIDIA H200", {test::measured_cell(2, 1 << 20, 2 << 20)}), blackwell};
    CHECK(python_value(emit_vllm(tables, {}), kFused) == "{90: {2: 2}, 103: {4: 64}}");
}

TEST_CASE("two SKUs of one capability: the same, refused, or the safer of both") {
    if (!test::has("python3 --version", "python3")) return;
    Table h100 =
        table_with("NVIDIA H100", {test::measured_cell(2, 1 << 20, 8 << 20), test::measured_cell(8, 1 << 19, 1 << 20)});
    Table h200 = h100;
    h200.fingerprint.sku = "NVIDIA H200";
    CHECK(python_value(emit_vllm(std::array{h100, h200}, {}), kFused) == "{90: {2: 8, 8: 1}}");

    h200.cells[0] = test::measured_cell(2, 1 << 21, 4 << 20);
    h100.cells[0].twoshot->limited_by = LimitedBy::range; // no matter to H200's lower limit
    const std::string error = error_of(std::array{h100, h200});
    for (const char* part :
         {"compute capability 9.0", "world size 2", "NVIDIA H100: fused 8388608 B, oneshot 1048576 B",
          "NVIDIA H200: fused 4194304 B, oneshot 2097152 B", "--on-conflict safer"})
        CHECK_MESSAGE(error.find(part) != std::string::npos, error);

    const EngineOptions safer{.on_conflict = OnConflict::safer, .hidden_dims = {}};
    const std::string both = emit_vllm(std::array{h100, h200}, safer);
    CHECK(python_value(both, kFused) == "{90: {2: 4, 8: 1}}");
    CHECK(python_value(both, kOneshot) == "{90: {2: 1, 8: 0.5}}");
    CHECK(both.find("# 2: the safer of NVIDIA H100: fused 8388608 B") != std::string::npos);
    CHECK(both.find("not measured above") == std::string::npos);
    CHECK(python_value(emit_vllm(std::array{h200, h100}, safer), kFused) == "{90: {2: 4, 8: 1}}");

    h200.cells.pop_back(); // not measured on one: nothing is known to hold on both
    CHECK(error_of(std::array{table_with("NVIDIA H100", {h100.cells[0]}), table_with("NVIDIA H200", {h100.cells[1]})})
              .find("NVIDIA H200: fused not measured, oneshot not measured") != std::string::npos);
    CHECK(python_value(emit_vllm(std::array{h100, h200}, safer), kFused) == "{90: {2: 4}}");
    CHECK(python_value(emit_vllm(std::array{h200, h100}, safer), kOneshot) == "{90: {2: 1, 8: 0.5}}");
}

TEST_CASE("the --compilation-config line of one model") {
    if (!test::has("python3 --version", "python3")) return;
    const Table table = test::every_state();
    const auto config = [&](const EngineOptions& options, int world_size, std::int64_t hidden_dim) {
        const std::string line = emit_vllm_config(table, options, world_size, hidden_dim);
        CHECK(std::count(line.begin(), line.end(), '\n') == 1);
        return python_value("import json, shlex\nwords = shlex.split(r'''" + line + "''')",
                            "words[0], json.loads(words[1])['pass_config']");
    };
    CHECK(config({}, 2, 8192) ==
          "--compilation-config {'fuse_allreduce_rms': True, 'fi_allreduce_fusion_max_size_mb': 64}");
    // 64 MiB hold 11650.8 tokens of 2880 × 2 bytes: the limit is 11650 whole ones
    CHECK(config({}, 2, 2880) ==
          "--compilation-config {'fuse_allreduce_rms': True, 'fi_allreduce_fusion_max_size_mb': " +
              python_value("", "11650 * 2880 * 2 / 2**20") + "}");
    CHECK(config({}, 8, 8192) == "--compilation-config {'fuse_allreduce_rms': False}");
    CHECK_THROWS_AS(emit_vllm_config(table, {.quant = Quant::fp8, .hidden_dims = {}}, 8, 8192), InputError);
    // Limits of single hidden_dims: 1 MiB for any, 2 MiB for 2048, none for 2880.
    const EngineOptions float32{.dtype = DType::float32, .hidden_dims = {}};
    CHECK(config(float32, 8, 8192).find("max_size_mb': 1}") != std::string::npos);
    CHECK(config(float32, 8, 2048).find("max_size_mb': 2}") != std::string::npos);
    CHECK(config(float32, 8, 2880).find("'fuse_allreduce_rms': False") != std::string::npos);
    CHECK(emit_vllm(std::array{table}, float32)
              .find("# 8: hidden_dim 2048 by itself: fused 2097152 B, oneshot 16384 B") != std::string::npos);
    CHECK_THROWS_AS(emit_vllm_config(table, {}, 16, 8192), InputError);
}

TEST_CASE("text from a table cannot leave its comment") {
    if (!test::has("python3 --version", "python3")) return;
    Table table = table_with("H200\nraise SystemExit(1)", {test::measured_cell(2, 1024, 2048)});
    table.provenance.driver = "x\r\nraise SystemExit(1)";
    CHECK(python_value(emit_vllm(std::array{table}, {}), "1") == "1");
    CHECK_THROWS_AS(emit_vllm({}, {}), InputError);
    table.provenance.driver.clear();
    CHECK(emit_vllm(std::array{table}, {}).find("driver") == std::string::npos); // unknown is not an empty word
}
