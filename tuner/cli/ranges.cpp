#include "output/ranges.hpp"
#include "output/emit.hpp"
#include "output/format.hpp"
#include "output/json.hpp"
#include "tuner/cli/commands.hpp"
#include "tuner/cli/options.hpp"
#include "tuner/cli/words.hpp"
#include "tuner/error.hpp"
#include "tuner/joined.hpp"
#include "tuner/yaml_writer.hpp"

#include <iostream>

namespace crossover {
namespace {

const Usage kRangesUsage{
    .name = "ranges",
    .purpose = "Splits a model's numbers of tokens where the table changes the algorithm: the end points for vLLM's\n"
               "compile_ranges_endpoints, max_tokens = bytes // (hidden_dim x element size)."};

std::string as_text(std::span<const TokenRange> ranges, std::int64_t token_bytes) {
    std::vector<std::vector<std::string>> rows{{"tokens", "message", "algorithm"}};
    for (const TokenRange& range : ranges)
        rows.push_back({std::to_string(range.first_tokens) + " to " + std::to_string(range.last_tokens),
                        "up to " + human_bytes(static_cast<std::uint64_t>(range.last_tokens * token_bytes)),
                        range.algorithm});
    return markdown_table(rows) + "\ncompile_ranges_endpoints: [" + joined(split_points(ranges), ", ") + "]\n";
}

std::string as_json(const CellKey& key, std::int64_t hidden_dim, std::span<const TokenRange> ranges) {
    YAML::Node document(YAML::NodeType::Map);
    document["pattern"] = text_node(to_string(key.pattern));
    document["dtype"] = text_node(to_string(key.dtype));
    document["quant"] = text_node(to_string(key.quant));
    document["world_size"] = number_node(key.world_size);
    document["hidden_dim"] = number_node(hidden_dim);
    document["compile_ranges_endpoints"] = YAML::Node(YAML::NodeType::Sequence);
    document["compile_ranges_endpoints"].SetStyle(YAML::EmitterStyle::Flow);
    for (const std::int64_t point : split_points(ranges))
        document["compile_ranges_endpoints"].push_back(number_node(point));
    for (const TokenRange& range : ranges) {
        YAML::Node node(YAML::NodeType::Map);
        node["first_tokens"] = number_node(range.first_tokens);
        node["last_tokens"] = number_node(range.last_tokens);
        node["algorithm"] = text_node(range.algorithm);
        node.SetStyle(YAML::EmitterStyle::Flow);
        document["ranges"].push_back(node);
    }
    return write_json(document);
}

const Cell& cell_in(const Table& table, const std::string& path, const CellKey& key) {
    if (const Cell* cell = find_cell(table, key)) return *cell;
    const std::string there = joined(table.cells, "; ", [](const Cell& cell) { return to_string(cell.key); });
    throw InputError(path, "no cell " + to_string(key), "choose one of: " + (there.empty() ? "none" : there));
}

} // namespace

int run_ranges(const std::vector<std::string>& arguments) {
    std::string path, pattern, dtype, quant;
    std::int64_t hidden_dim = 0, max_tokens = 0;
    CellKey key;
    bool json = false;
    po::options_description options;
    // clang-format off
    options.add_options()
        ("table", po::value(&path)->value_name("TABLE")->required(), "table.yaml")
        ("hidden-dim", po::value(&hidden_dim)->value_name("H")->required(), "hidden_dim of the model")
        ("world-size", po::value(&key.world_size)->value_name("N")->required(), "tensor-parallel degree")
        ("max-num-batched-tokens", po::value(&max_tokens)->value_name("M")->required(), "most tokens of one step")
        ("dtype", po::value(&dtype)->value_name("DTYPE")->default_value("bfloat16"), "bfloat16, float16 or float32")
        ("quant", po::value(&quant)->value_name("MODE")->default_value("none"), "none, fp8 or fp4")
        ("pattern", po::value(&pattern)->value_name("PATTERN")->default_value("allreduce_residual_rmsnorm"),
         "allreduce, allreduce_rmsnorm, allreduce_residual_rmsnorm, the last with `_sharded`; moe_dispatch or "
         "moe_combine with `_even`, `_one_hot` or `_zipf`, of which tokens are the mean over the ranks")
        ("json", po::bool_switch(&json), "JSON instead of text");
    // clang-format on
    if (!parse_options(kRangesUsage, options, arguments)) return 0;
    key.pattern = word_option("--pattern", pattern, kPatterns);
    key.dtype = word_option("--dtype", dtype, kDTypes);
    key.quant = word_option("--quant", quant, kQuants);
    check_hidden_dim(hidden_dim);
    constexpr std::int64_t kMostTokens = std::int64_t{1} << 40;
    if (max_tokens < 1 || max_tokens > kMostTokens)
        throw InputError("--max-num-batched-tokens", std::to_string(max_tokens) + " is no number of tokens",
                         "write 1 to " + std::to_string(kMostTokens));

    const Table table = read_table(path);
    const std::vector<TokenRange> ranges = token_ranges(cell_in(table, path, key), hidden_dim, max_tokens);
    const auto token_bytes = hidden_dim * static_cast<std::int64_t>(element_size(key.dtype));
    std::cout << (json ? as_json(key, hidden_dim, ranges) : as_text(ranges, token_bytes));
    return 0;
}

} // namespace crossover
