#include "output/emit.hpp"
#include "tests/support/command.hpp"
#include "tests/support/tables.hpp"

#include <doctest/doctest.h>

using namespace crossover;

namespace {

/// A folder with h200.yaml, b200.yaml and h100.yaml, in which `crossover emit` runs.
struct Workplace {
    test::TemporaryFolder folder;
    Workplace() {
        Table table = test::every_state();
        folder.write("h200.yaml", emit_yaml(table));
        table.fingerprint.sku = "NVIDIA H100";
        table.cells[0] = test::measured_cell(2, 131072, 32 << 20);
        folder.write("h100.yaml", emit_yaml(table));
        table.fingerprint = test::empty_table("NVIDIA B200", "10.0").fingerprint;
        folder.write("b200.yaml", emit_yaml(table));
    }
    test::CommandResult emit(const std::string& arguments) const {
        return folder.run(CROSSOVER_BINARY " emit " + arguments);
    }
    void check_error(const std::string& arguments, const std::string& words) const {
        CAPTURE(arguments);
        const auto result = emit(arguments);
        test::check_only_refused(result);
        CHECK(test::contains(result.output, words));
    }
};

} // namespace

TEST_CASE("every format, on standard output and into a file") {
    const Workplace place;
    const Table table = test::every_state();
    const EngineOptions model{.hidden_dims = {4096, 8192}};
    const std::array h200{table};
    const std::pair<const char*, std::string> cases[] = {
        {"yaml h200.yaml", emit_yaml(table)},
        {"cpp h200.yaml", emit_cpp_header(h200)},
        {"vllm h200.yaml", emit_vllm(h200, {})},
        {"vllm h200.yaml --quant fp8", emit_vllm(h200, {.quant = Quant::fp8, .hidden_dims = {}})},
        {"vllm h200.yaml --world-size 2 --hidden-dim 8192", emit_vllm_config(table, {}, 2, 8192)},
        {"sglang h200.yaml --hidden-dim 4096 --hidden-dim 8192", emit_sglang(table, model)},
        {"sglang h200.yaml --hidden-dim 4096,8192", emit_sglang(table, model)},
        {"--format cpp h200.yaml", emit_cpp_header(h200)},
        {"--table h200.yaml --format=cpp", emit_cpp_header(h200)},
        {"--table h200.yaml cpp", emit_cpp_header(h200)},
        {"tensorrt-llm h200.yaml", emit_tensorrt_llm(h200, {})},
        {"markdown h200.yaml", emit_markdown(table)},
        {"json h200.yaml", emit_json(table)}};
    for (const auto& entry : cases) {
        const std::string arguments(entry.first);
        const std::string& expected = entry.second;
        CAPTURE(arguments);
        const auto printed = place.emit(arguments);
        CHECK(printed.status == 0);
        CHECK(printed.output == expected);
        const auto written = place.emit(arguments + " --out written");
        CHECK(written.status == 0);
        CHECK(written.output.empty());
        CHECK(test::read_text(place.folder.path() / "written") == expected);
    }
}

TEST_CASE("several tables") {
    const Workplace place;
    CHECK(place.emit("cpp h200.yaml h100.yaml b200.yaml")
              .output.find("enum class Sku { unknown, nvidia_h200, nvidia_h100, "
                           "nvidia_b200 }") != std::string::npos);
    CHECK(place.emit("vllm h200.yaml b200.yaml").status == 0);
    place.check_error("vllm h200.yaml h100.yaml", "--on-conflict safer");
    CHECK(place.emit("vllm h200.yaml h100.yaml --on-conflict safer").status == 0);
    place.check_error("tensorrt-llm h200.yaml h100.yaml", "--on-conflict safer");
    place.check_error("cpp h200.yaml h200.yaml", "two tables");
    place.check_error("markdown h200.yaml b200.yaml", "takes one table, not 2");
}

TEST_CASE("what cannot be done says why, and what to do") {
    const Workplace place;
    place.check_error("vlm h200.yaml", "did you mean `vllm`?");
    place.check_error("tensorrt_llm h200.yaml", "did you mean `tensorrt-llm`?");
    place.check_error("qqqqqqqqqqq h200.yaml", "crossover emit --help");
    place.check_error("cpp", "table");
    place.check_error("", "format");
    place.check_error("cpp missing.yaml", "missing.yaml: cannot read the table");
    place.check_error("cpp h200.yaml --quant fp8", "--quant: means nothing to `cpp`");
    place.check_error("vllm h200.yaml --quant fp5", "none, fp8, fp4");
    place.check_error("vllm h200.yaml --on-conflict guess", "refuse or safer");
    place.check_error("vllm h200.yaml --world-size 2", "--hidden-dim");
    place.check_error("vllm h200.yaml --world-size 16 --hidden-dim 8192", "says nothing of n=16");
    place.check_error("sglang h200.yaml", "--hidden-dim");
    place.check_error("sglang h200.yaml --hidden-dim 0", "--hidden-dim");
    place.check_error("sglang h200.yaml --hidden-dim 4096,x", "--hidden-dim: `x` is no size");
    place.check_error("sglang h200.yaml --hidden-dim 4194304", "write 1 to 1048576");
    Table other = test::empty_table("NVIDIA H200", "9.0");
    other.cells.emplace_back().key = {.pattern = Pattern::moe_combine_even, .world_size = 2}; // bfloat16, not quantized
    place.folder.write("moe.yaml", emit_yaml(other));
    for (const std::string form : {"vllm moe.yaml", "sglang moe.yaml --hidden-dim 4096"})
        place.check_error(form, "has no cell for pattern allreduce_residual_rmsnorm, dtype bfloat16, quant none; ");
    place.check_error("tensorrt-llm moe.yaml", "has no cell for dtype bfloat16 of a pattern that it reads; ");
    place.check_error("cpp h200.yaml --out ''", "--out: is empty; write a value behind it");
    place.check_error("cpp ''", "--table: is empty");
    place.check_error("cpp h200.yaml --out no/such/folder/h.h", "no/such/folder/h.h");
    place.folder.write("bad.yaml", "schema_version: 1\ncrossover_version: x\nsku: A\nskew: 1\n");
    place.check_error("cpp bad.yaml", "bad.yaml:");
    place.folder.write("newer.yaml", "schema_version: 2\ncrossover_version: 9.9.9\n");
    place.check_error("cpp newer.yaml --out out.h", "newer.yaml:1: schema_version 2 is newer than 1");
    CHECK_FALSE(std::filesystem::exists(place.folder.path() / "out.h"));
    CHECK(place.emit("--help").status == 0);
    // Text that did not arrive is not a table.
    for (const std::string format : {"cpp", "yaml", "json", "vllm"})
        CHECK(place.emit(format + " h200.yaml > /dev/full").status == 2);
}

TEST_CASE("nothing is half-written") {
    const Workplace place;
    place.folder.write("kept", "kept\n");
    place.check_error("cpp missing.yaml --out kept", "missing.yaml");
    place.check_error("cpp h200.yaml --out .", "Is a directory");
    place.check_error("cpp h200.yaml --out /dev/full", "/dev/full");
    CHECK(test::read_text(place.folder.path() / "kept") == "kept\n");
    const auto files = std::filesystem::directory_iterator(place.folder.path());
    CHECK(std::distance(begin(files), end(files)) == 4); // the tables and `kept`, no temporary file
}
