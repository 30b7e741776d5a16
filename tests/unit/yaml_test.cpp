#include "output/emit.hpp"
#include "tests/support/tables.hpp"
#include "tuner/error.hpp"

#include <doctest/doctest.h>

#include <fstream>

using namespace crossover;

namespace {

std::string error_of(const std::string& text) {
    try {
        parse_table(text, "t.yaml");
    } catch (const InputError& error) {
        return error.what();
    }
    return "no error";
}

/// The sample table as text with the first `from` replaced.
std::string edited(const std::string& from, const std::string& to) {
    std::string text = emit_yaml(test::every_state());
    const auto at = text.find(from);
    REQUIRE_MESSAGE(at != std::string::npos, from);
    return text.replace(at, from.size(), to);
}

int line_of(const std::string& text, const std::string& part) {
    const auto at = text.find(part);
    REQUIRE(at != std::string::npos);
    return 1 + static_cast<int>(std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n'));
}

/// The error begins with the file and the line on which `part` stands, and says `words`.
void check_error(const std::string& text, const std::string& part, const std::string& words) {
    const std::string error = error_of(text);
    CAPTURE(error);
    CHECK(error.rfind("t.yaml:" + std::to_string(line_of(text, part)) + ": ", 0) == 0);
    CHECK(error.find(words) != std::string::npos);
    CHECK(error.find('\n') == std::string::npos);
}

} // namespace

TEST_CASE("every state of a cell survives a round trip") {
    const Table table = test::every_state();
    const std::string text = emit_yaml(table);
    const Table read = parse_table(text, "t.yaml");
    REQUIRE(read.cells.size() == table.cells.size());
    for (std::size_t i = 0; i < table.cells.size(); ++i) {
        CAPTURE(to_string(table.cells[i].key));
        CHECK(read.cells[i] == table.cells[i]);
    }
    CHECK(read == table);
    CHECK(emit_yaml(read) == text);
}

TEST_CASE("zero and absent are different texts") {
    Table table = test::empty_table("NVIDIA H200", "9.0");
    table.cells.push_back(test::measured_cell(2, 0, 1024));
    const std::string zero = emit_yaml(table);
    CHECK(zero.find("oneshot_max_bytes: 0\n") != std::string::npos);
    table.cells[0].oneshot.reset();
    const std::string absent = emit_yaml(table);
    CHECK(absent.find("oneshot_max_bytes") == std::string::npos);
    CHECK(parse_table(zero, "t").cells[0].oneshot.has_value());
    CHECK_FALSE(parse_table(absent, "t").cells[0].oneshot.has_value());
}

TEST_CASE("numbers keep every bit and text stays text") {
    Table table = test::empty_table("1.5", "9.0");
    table.provenance.environment = {{"A", "0"},        {"B", "true"},       {"C", "null"}, {"D", ""},
                                    {"E", "a: b # c"}, {"F", "l1\nl2\t\\"}, {"G", "~"},    {"H", "µ"}};
    table.cells.push_back(test::measured_cell(2, 18446744073709551614ull, 18446744073709551614ull));
    for (const double value : {0.1, 1.0 / 3, 1e-7, 123456789.0, 2.2250738585072014e-308, -0.02, 0.0}) {
        table.cells[0].oneshot->gain_at_edge = value;
        CHECK(parse_table(emit_yaml(table), "t.yaml") == table);
    }
    CHECK(emit_yaml(table).find("sku: \"1.5\"") != std::string::npos);
}

TEST_CASE("the fixed names of the format") {
    const std::string text = emit_yaml(test::every_state());
    for (const char* line :
         {"schema_version: 1\n", "crossover_version: \"0.1.0\"\n", "sku: NVIDIA H200\n",
          "compute_capability: \"9.0\"\n", "topology: nvswitch\n", "multicast: false\n", "nodes: 1\n", "source: gpu\n",
          "    NCCL_NVLS_ENABLE: \"0\"\n", "    oneshot_max_bytes: 131072\n",
          "    oneshot_max_bytes_ci95: [118000, 140500]\n", "    oneshot_limited_by: crossover\n",
          "    twoshot_limited_by: range\n", "    twoshot_limited_by: workspace\n", "    oneshot_gain_at_edge: 0.031\n",
          "    workspace_bytes: 3145728\n", "      - {min_bytes: 0, max_bytes: 131072, algorithm: oneshot}\n",
          "      - {min_bytes: 67108865, max_bytes: null, algorithm: nccl_fused_norm}\n",
          "    regret: {mean: 0.0012, max: 0.013, points: 42}\n"}) {
        CAPTURE(line);
        CHECK(text.find(line) != std::string::npos);
    }
}

TEST_CASE("the JSON form is the same document") {
    const Table table = test::every_state();
    CHECK(parse_table(emit_json(table), "t.json") == table); // JSON is YAML
}

TEST_CASE("bad tables name file, line and remedy") {
    const auto check = [](const std::string& from, const std::string& to, const std::string& words) {
        const std::string text = edited(from, to);
        check_error(text, to, words);
    };
    check("topology: nvswitch", "topologie: nvswitch", "did you mean `topology`?");
    check("topology: nvswitch\n", "", "`topology` is missing");
    check("multicast: false\n", "multicost: true\nmulticast: false\n", "unknown key `multicost`");
    check("multicast: false", "multicast: perhaps", "true or false");
    check("nodes: 1", "nodes: 0", "nodes");
    check("\"9.0\"", "\"sm_90\"", "compute_capability");
    check("source: gpu", "source: guess", "gpu, recording, import");
    check("dtype: bfloat16", "dtype: bf16", "bfloat16, float16, float32");
    check("world_size: 2", "world_size: -2", "world_size");
    check("status: tie", "status: tied", "measured, tie, not_measured, unsupported");
    check("oneshot_max_bytes: 131072", "oneshot_max_bytes: 131072.5", "integer from 0");
    check("oneshot_max_bytes: 131072", "oneshot_max_bytes: -1", "integer from 0");
    check("oneshot_max_bytes: 131072", "oneshot_max_bytes: 0x20000", "integer from 0");
    check("oneshot_max_bytes: 131072", "oneshot_max_byte: 131072", "did you mean `oneshot_max_bytes`?");
    check("[118000, 140500]", "[140500, 118000]", "lowest above its highest");
    check("[118000, 140500]", "[118000]", "1 entries");
    check("oneshot_limited_by: crossover", "oneshot_limited_by: luck", "crossover, range, workspace");
    check("{min_bytes: 131073, max_bytes: 67108864", "{min_bytes: 131074, max_bytes: 67108864", "131073 is next");
    check("{min_bytes: 131073, max_bytes: 67108864", "{min_bytes: 131073, max_bytes: 99", "before its start");
    check("max_bytes: 131072, algorithm", "max_bytes: 18446744073709551615, algorithm", "write null");
    check("max: 0.013", "max: .nan", "a number");
    check("{mean: 0.0012,", "{mean: 0.0012, median: 1,", "unknown key `median`");
    check("schema_version: 1", "schema_version: 2", "newer");
    check("schema_version: 1", "schema_version: 0", "schema_version is 0");
}

TEST_CASE("intervals and cells that contradict each other") {
    check_error(edited("max_bytes: 67108864, algorithm: twoshot", "max_bytes: null, algorithm: twoshot"),
                "{min_bytes: 67108865", "follows the open one");
    check_error(edited("max_bytes: null", "max_bytes: 99999999"), "{min_bytes: 0, max_bytes: 131072",
                "max_bytes is null");
    const std::string cell =
        "  - pattern: allreduce_residual_rmsnorm\n    dtype: bfloat16\n    quant: fp8\n    world_size: ";
    check_error(edited(cell + "4", cell + "2"), cell + "2\n    status: measured\n    oneshot_max_bytes: 524288",
                "stands twice");
    check_error(edited("sku: ", "nodes: 1\nsku: "), "nodes: 1\nsource", "`nodes` twice");
    const std::string unsupported =
        cell.substr(0, cell.find("fp8")) + "fp4\n    world_size: 8\n    status: unsupported\n";
    check_error(edited(unsupported, unsupported + "    oneshot_max_bytes: 7\n"), unsupported, "has thresholds");
}

TEST_CASE("limits are the ends of their intervals, where two limits can say these") {
    check_error(edited("oneshot_max_bytes: 131072", "oneshot_max_bytes: 33554432"), "oneshot_max_bytes: 33554432",
                "`oneshot_max_bytes` is 33554432, but by its intervals oneshot ends at 131072");
    check_error(edited("twoshot_max_bytes: 67108864", "twoshot_max_bytes: 67108863"), "twoshot_max_bytes: 67108863",
                "twoshot ends at 67108864");
    check_error(edited("max_bytes: 67108864, algorithm: twoshot}\n      - {min_bytes: 67108865, max_bytes: null, "
                       "algorithm: nccl_fused_norm",
                       "max_bytes: null, algorithm: twoshot"),
                "{min_bytes: 0, max_bytes: 131072", "the interval of twoshot is open; end it at `twoshot_max_bytes`");
    Table table = test::empty_table("NVIDIA H200", "9.0");
    const auto error_with = [&](const Cell& cell) {
        table.cells = {cell};
        return error_of(emit_yaml(table));
    };
    Cell cell = test::measured_cell(2, 1024, 4096);
    cell.oneshot.reset();
    CHECK(error_with(cell).find("`oneshot_max_bytes` is missing") != std::string::npos);
    cell = test::measured_cell(2, 1024, 1024); // twoshot is the best nowhere: its limit repeats oneshot's
    CHECK(error_with(cell) == "no error");
    cell.twoshot->max_bytes = 0;
    CHECK(error_with(cell).find("twoshot ends at 1024") != std::string::npos);
    cell = test::measured_cell(2, 1024, 1024);
    cell.intervals.insert(cell.intervals.begin(), {0, 15, "oneshot"}); // in two pieces
    cell.intervals[1].min_bytes = 16;
    CHECK(error_with(cell) == "no error");
    cell.hidden_dims = {{.hidden_dim = 4096,
                         .oneshot = cell.oneshot,
                         .twoshot = cell.twoshot,
                         .baseline = cell.baseline,
                         .intervals = cell.intervals}};
    CHECK(error_with(cell) == "no error");
    cell.hidden_dims[0].oneshot->max_bytes = 512; // of the row
    CHECK(error_with(cell).find("oneshot ends at 1024") != std::string::npos);
    cell = test::measured_cell(2, 1024, 4096); // a hole: the limits are what loses least
    cell.intervals.insert(cell.intervals.begin(), {0, 15, "nccl_fused_norm"});
    cell.intervals[1].min_bytes = 16;
    cell.oneshot->max_bytes = 0;
    CHECK(error_with(cell) == "no error");
}

TEST_CASE("names of algorithms: ours, those of candidates and of other tools, none of ours misspelt") {
    check_error(edited("max_bytes: 67108864, algorithm: twoshot", "max_bytes: 67108864, algorithm: towshot"),
                "algorithm: towshot", "did you mean `twoshot`?");
    check_error(edited("baseline: nccl_fused_norm", "baseline: nccl_fusednorm"), "baseline: nccl_fusednorm",
                "did you mean `nccl_fused_norm`?");
    Table table = test::empty_table("NVIDIA H200", "9.0");
    table.cells = {test::measured_cell(2, 1024, 4096)};
    const auto error_with = [&](const std::string& name) {
        table.cells[0].baseline = table.cells[0].intervals.back().algorithm = name;
        return error_of(emit_yaml(table));
    };
    CHECK(error_with("acme_unfused") == "no error");
    CHECK(error_with("push2").find("did you mean `push`?") != std::string::npos);
    table.provenance.extra["candidate push2"] = "unfused, version 1, libacme.so 0123456789abcdef";
    CHECK(error_with("push2") == "no error");
    table.provenance.extra.clear();
    table.source = "import";
    CHECK(error_with("push2") == "no error");
}

TEST_CASE("rows of launches that no kernel takes, and that contradict each other") {
    const std::string row = "{algorithm: oneshot, hidden_dim: 4096, min_bytes: 0, max_bytes: 32768, cluster_size: 8, "
                            "clusters: 66, threads: 128, push_ahead: 1, consume_behind: 1}";
    CHECK(error_of(edited(row, row)) == "no error"); // it is there
    const auto check = [&](const std::string& from, const std::string& to, const std::string& words) {
        std::string bad = row;
        const auto at = bad.find(from);
        REQUIRE(at != std::string::npos);
        bad.replace(at, from.size(), to);
        check_error(edited(row, bad), bad, words);
    };
    check("oneshot", "nccl", "write oneshot or twoshot");
    check("hidden_dim: 4096", "hidden_dim: 0", "`hidden_dim` is 0");
    check("min_bytes: 0", "min_bytes: 32769", "ends before its start at 32769");
    check("cluster_size: 8", "cluster_size: 17", "from 1 to 16");
    check("clusters: 66", "clusters: 0", "from 1 to 32768");
    check("threads: 128", "threads: 100", "a multiple of 32 from 32 to 512");
    check("push_ahead: 1", "push_ahead: -1", "from 0 to 32768");
    check(", consume_behind: 1", "", "`consume_behind` is missing");
    check("consume_behind: 1", "consume_behind: 1, pdl: 1", "unknown key `pdl`");
    // The row after it begins at 65537.
    const std::string text = edited(row, std::string(row).replace(row.find("32768"), 5, "65537"));
    check_error(text, "{algorithm: oneshot, hidden_dim: 4096, min_bytes: 65537", "does not ascend");
}

TEST_CASE("what is not a table at all") {
    CHECK(error_of("").find("t.yaml: the table is empty") == 0);
    CHECK(error_of("- 1\n").find("t.yaml:1: the table is not a mapping") == 0);
    CHECK(error_of("a: [1,\nb: 2\n").find("t.yaml:") == 0);
    CHECK(error_of("schema_version: [1]\n").find("t.yaml:1:") == 0);
    CHECK(error_of("crossover_version: 0.1.0\nsku: X\n") ==
          "t.yaml:1: `schema_version` is missing in the table; add it");
    CHECK(error_of("schema_versoin: 1\n").find("did you mean `schema_version`?") != std::string::npos);
    for (const char* key : {"gpus", "config"})
        CHECK(error_of("crossover_version: 0.1.0\nsku: X\n" + std::string(key) + ": 4\n") ==
              "t.yaml:1: is the provenance.yaml of a run, no table; name the table.yaml beside it");
    CHECK(error_of("sweep:\n  name: x\n").starts_with("t.yaml:1: is a config, no table; "));
    CHECK(error_of("# vLLM\nincumbent: vLLM\n").starts_with("t.yaml:2: is an engine's rule, no table; "));
    const std::string table = emit_yaml(test::every_state());
    check_error(table + "---\n# more\nsku: Y\n", "sku: Y", "a second YAML document");
    CHECK(error_of(table + "---\n").find("a second YAML document") != std::string::npos);
    CHECK_FALSE(error_of(",:").empty()); // of which yaml-cpp finds documents without end
    CHECK(error_of("---\n" + table + "...\n") == "no error");
    CHECK(error_of("schema_version: 1\ncells: 3\n").find("t.yaml:") == 0);
    CHECK(error_of("\x01\x02").find("t.yaml") == 0);
    CHECK_THROWS_AS(read_table("/no/such/table.yaml"), InputError);
    CHECK_THROWS_AS(read_table("/"), InputError);
}

TEST_CASE("a truncated table is an error or a table in its own right") {
    const std::string text = emit_yaml(test::every_state());
    int errors = 0;
    for (std::size_t size = 0; size < text.size(); size += 5) {
        try {
            const Table read = parse_table(text.substr(0, size), "t.yaml");
            CHECK(parse_table(emit_yaml(read), "t.yaml") == read);
        } catch (const InputError&) {
            ++errors;
        }
    }
    CHECK(errors > static_cast<int>(text.size() / 10));
}

TEST_CASE("Windows line ends and another order of keys and cells") {
    std::string text;
    for (const char c : emit_yaml(test::every_state())) text += c == '\n' ? "\r\n" : std::string(1, c);
    CHECK(parse_table(text, "t.yaml") == test::every_state());

    Table table = test::every_state();
    std::reverse(table.cells.begin(), table.cells.end());
    CHECK(parse_table(emit_yaml(table), "t.yaml") == test::every_state());
}

TEST_CASE("regret says whether it was held out") {
    Table table = test::every_state();
    table.cells[0].regret = Regret{.mean = 0.001, .max = 0.02, .points = 7, .held_out = true};
    const std::string text = emit_yaml(table);
    CHECK(text.find("regret: {mean: 0.001, max: 0.02, points: 7, held_out: true}") != std::string::npos);
    CHECK(parse_table(text, "t.yaml") == table);
    CHECK(emit_markdown(table).find("at 7 held-out points: mean +0.10 %, worst +2.00 %") != std::string::npos);
}

TEST_CASE("a table written with schema_version 1 stays readable") {
    // This file never changes; a later schema reads it through its migration. It is older than rows of hidden_dims and
    // than launches.
    Table expected = test::every_state();
    for (Cell& cell : expected.cells) {
        cell.spread.reset();
        cell.hidden_dims.clear();
        cell.launches.clear();
    }
    CHECK(read_table(CROSSOVER_SOURCE_DIR "/tests/data/tables/schema-1.yaml") == expected);
}
