#include "output/emit.hpp"
#include "output/json.hpp"
#include "tests/support/command.hpp"
#include "tests/support/tables.hpp"
#include "tuner/yaml_writer.hpp"

#include <doctest/doctest.h>

using namespace crossover;

TEST_CASE("text is quoted, numbers are not") {
    CHECK(json_quoted("a\"b\\c\nd\te\x01µ") == "\"a\\\"b\\\\c\\nd\\u0009e\\u0001µ\"");
    YAML::Node document(YAML::NodeType::Map);
    document["text"] = text_node("1");
    document["number"] = number_node(1);
    document["small"] = number_node(1e-7);
    document["flag"] = bool_node(true);
    document["nothing"] = YAML::Node(YAML::NodeType::Null);
    document["none"] = YAML::Node(YAML::NodeType::Sequence);
    document["list"].push_back(number_node(std::uint64_t{18446744073709551615ull}));
    CHECK(write_json(document) ==
          "{\n  \"text\": \"1\",\n  \"number\": 1,\n  \"small\": 0.0000001,\n  \"flag\": true,\n"
          "  \"nothing\": null,\n  \"none\": [],\n  \"list\": [\n    18446744073709551615\n  ]\n}\n");
}

TEST_CASE("Python reads what was written") {
    if (!test::has("python3 --version", "python3")) return;
    const test::TemporaryFolder folder;
    Table table = test::every_state();
    table.provenance.extra["odd"] = "\"quotes\" \\ back\nslash \x02 µ";
    folder.write("table.json", emit_json(table));
    folder.write("read.py", "import json, sys\n"
                            "t = json.load(open(sys.argv[1], encoding='utf-8'))\n"
                            "c = {(c['world_size'], c['quant'], c['dtype']): c for c in t['cells']}\n"
                            "assert t['sku'] == 'NVIDIA H200' and t['provenance']['driver'] == '580.159'\n"
                            "assert t['provenance']['extra']['odd'] == '\"quotes\" \\\\ back\\nslash \\x02 µ'\n"
                            "assert c[2, 'fp8', 'bfloat16']['oneshot_max_bytes'] == 0\n"
                            "assert 'oneshot_max_bytes' not in c[2, 'fp4', 'bfloat16']\n"
                            "assert c[8, 'none', 'bfloat16']['status'] == 'tie'\n"
                            "assert c[4, 'fp8', 'bfloat16']['intervals'][-1] == "
                            "{'min_bytes': 67108865, 'max_bytes': None, 'algorithm': 'not_measured'}\n"
                            "assert len(c) == " +
                                std::to_string(table.cells.size()) + "\n");
    const auto result = folder.run("python3 read.py table.json");
    CHECK_MESSAGE(result.status == 0, result.output);
}

TEST_CASE("same table, same bytes") { CHECK(emit_json(test::every_state()) == emit_json(test::every_state())); }
