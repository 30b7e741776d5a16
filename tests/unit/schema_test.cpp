#include "output/emit.hpp"
#include "tests/support/command.hpp"
#include "tests/support/tables.hpp"
#include "tuner/error.hpp"

#include <doctest/doctest.h>

using namespace crossover;

namespace {

/// A Python that has jsonschema: the one on PATH, or the system's, where Debian's python3-jsonschema lies.
std::string python_with_jsonschema() {
    for (const std::string python : {"python3", "/usr/bin/python3"})
        if (test::run_command(python + " -c 'import jsonschema'").status == 0) return python;
    MESSAGE("SKIPPED, needs python3-jsonschema");
    return "";
}

/// Prints a line per document of the list: "valid", or "invalid: why".
const char* const kValidate = R"(
import json, sys
import jsonschema
schema = json.load(open(sys.argv[1]))
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
for name in sys.argv[2:]:
    error = next(iter(validator.iter_errors(json.load(open(name)))), None)
    print("valid" if error is None else "invalid: " + error.message.replace("\n", " ")[:200])
)";

std::vector<std::string> validate(const std::string& python, const std::vector<std::string>& documents) {
    const test::TemporaryFolder folder;
    std::string command =
        python + " " + folder.write("validate.py", kValidate) + " " CROSSOVER_SOURCE_DIR "/configs/table.schema.json";
    for (std::size_t i = 0; i < documents.size(); ++i)
        command += " " + folder.write(std::to_string(i) + ".json", documents[i]);
    const auto result = test::run_command(command);
    REQUIRE_MESSAGE(result.status == 0, result.output);
    std::vector<std::string> verdicts;
    std::istringstream lines(result.output);
    for (std::string line; std::getline(lines, line);) verdicts.push_back(line);
    REQUIRE(verdicts.size() == documents.size());
    return verdicts;
}

bool is_readable(const std::string& text) {
    try {
        parse_table(text, "t.json");
        return true;
    } catch (const InputError&) {
        return false;
    }
}

/// The sample table as JSON with the first `from` replaced.
std::string edited(const std::string& from, const std::string& to) {
    std::string text = emit_json(test::every_state());
    const auto at = text.find(from);
    REQUIRE_MESSAGE(at != std::string::npos, from);
    return text.replace(at, from.size(), to);
}

} // namespace

TEST_CASE("what Crossover writes is valid") {
    const std::string python = python_with_jsonschema();
    if (python.empty()) return;
    Table bare = test::empty_table("NVIDIA B200", "10.0");
    bare.provenance = {};
    for (const std::string& verdict :
         validate(python, {emit_json(test::every_state()), emit_json(bare),
                           emit_json(parse_table(emit_yaml(test::every_state()), "t.yaml"))}))
        CHECK(verdict == "valid");
}

TEST_CASE("the schema and the reader refuse the same") {
    const std::string python = python_with_jsonschema();
    if (python.empty()) return;
    const std::string world_2 = "\"world_size\": 2,\n      \"status\": \"measured\"";
    const std::vector<std::string> bad{
        edited("\"schema_version\": 1", "\"schema_version\": 2"),
        edited("\"schema_version\": 1,", ""),
        edited("\"sku\": \"NVIDIA H200\",", ""),
        edited("\"sku\": \"NVIDIA H200\"", "\"sku\": \"\""),
        edited("\"sku\"", "\"gpu\""),
        edited("\"9.0\"", "\"sm_90\""),
        edited("\"9.0\"", "\"1234567890.0\""),
        edited("\"nvswitch\"", "\"ethernet\""),
        edited("\"multicast\": false", "\"multicast\": \"maybe\""),
        edited("\"nodes\": 1", "\"nodes\": 0"),
        edited("\"source\": \"gpu\"", "\"source\": \"guess\""),
        edited("\"driver\"", "\"drivers\""),
        edited("\"cells\"", "\"cell\""),
        edited("\"pattern\": \"allreduce_residual_rmsnorm\"", "\"pattern\": \"allgather\""),
        edited("\"dtype\": \"bfloat16\"", "\"dtype\": \"bf16\""),
        edited("\"quant\": \"none\"", "\"quant\": \"int4\""),
        edited(world_2, "\"world_size\": 1,\n      \"status\": \"measured\""),
        edited("\"status\": \"tie\"", "\"status\": \"tied\""),
        edited("\"status\": \"tie\"", "\"status\": \"measured\""),
        edited("\"baseline\": \"nccl_separate\"", "\"note\": \"no baseline\""),
        edited(world_2, "\"world_size\": 2,\n      \"status\": \"unsupported\""),
        edited("\"oneshot_max_bytes\": 131072", "\"oneshot_max_bytes\": -1"),
        edited("\"oneshot_max_bytes\": 131072", "\"oneshot_max_bytes\": 0.5"),
        edited("\"oneshot_max_bytes\": 131072,", ""),
        edited("[118000, 140500]", "[118000]"),
        edited("\"oneshot_limited_by\": \"crossover\"", "\"oneshot_limited_by\": \"luck\""),
        edited("\"max_bytes\": 131072, ", ""),
        edited("\"algorithm\": \"oneshot\"", "\"algorithm\": \"\""),
        edited("\"points\": 42", "\"points\": 42, \"median\": 0"),
        edited("\"mean\": 0.0012, ", ""),
        edited("\"measured_bytes\"", "\"measured_byte\""),
        edited("\"hidden_dim\": 2048,", ""),
        edited("\"hidden_dim\": 2048", "\"hidden_dim\": 0"),
        edited("\"hidden_dim\": 2880,\n          \"status\": \"tie\"",
               "\"hidden_dim\": 2880,\n          \"status\": \"not_measured\""),
        edited("\"hidden_dim\"", "\"hidden\""),
        edited("\"worst_cost\"", "\"cost\""),
        edited("\"algorithm\": \"oneshot\", \"hidden_dim\"", "\"algorithm\": \"nccl\", \"hidden_dim\""),
        edited("\"cluster_size\": 8", "\"cluster_size\": 17"),
        edited("\"threads\": 128", "\"threads\": 100"),
        edited("\"clusters\": 66, ", ""),
        edited("\"push_ahead\": 1", "\"push_ahead\": -1"),
        edited("\"consume_behind\": 1}", "\"consume_behind\": 1, \"pdl\": true}")};
    const auto verdicts = validate(python, bad);
    for (std::size_t i = 0; i < bad.size(); ++i) {
        CAPTURE(i);
        CHECK(verdicts[i] != "valid");
        CHECK_FALSE(is_readable(bad[i]));
    }
}

TEST_CASE("older and newer schema versions") {
    CHECK(is_readable(edited("\"schema_version\": 1", "\"schema_version\": 1")));
    try {
        parse_table(edited("\"schema_version\": 1", "\"schema_version\": 7"), "t.json");
        FAIL("a newer schema was read");
    } catch (const InputError& error) {
        CHECK(std::string(error.what()) ==
              "t.json:2: schema_version 7 is newer than 1, the newest this Crossover reads; "
              "read it with the Crossover that wrote it, 0.1.0");
    }
    CHECK_FALSE(is_readable(edited("\"schema_version\": 1", "\"schema_version\": 0")));
    CHECK_FALSE(is_readable(edited("\"schema_version\": 1", "\"schema_version\": -1")));
}
