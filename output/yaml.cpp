/// table.yaml, written. read_table.cpp reads it.
#include "output/document.hpp"
#include "output/emit.hpp"
#include "tuner/provenance_yaml.hpp"
#include "tuner/yaml_writer.hpp"

#include <array>
#include <optional>

namespace crossover {
namespace {

template <class... Numbers>
YAML::Node flow_list(Numbers... numbers) {
    YAML::Node list(YAML::NodeType::Sequence);
    (list.push_back(number_node(numbers)), ...);
    list.SetStyle(YAML::EmitterStyle::Flow);
    return list;
}

void put_threshold(YAML::Node& cell, const std::string& name, const std::optional<Threshold>& threshold) {
    if (!threshold) return; // absent = not measured; 0 = never
    cell[name + "_max_bytes"] = number_node(threshold->max_bytes);
    if (threshold->ci95) cell[name + "_max_bytes_ci95"] = flow_list((*threshold->ci95)[0], (*threshold->ci95)[1]);
    cell[name + "_limited_by"] = text_node(to_string(threshold->limited_by));
    if (threshold->gain_at_edge) cell[name + "_gain_at_edge"] = number_node(*threshold->gain_at_edge);
}

/// `name`: onset_name()
void put_onset(YAML::Node& cell, const std::string& name, const std::optional<Onset>& onset) {
    if (!onset) return; // absent = not measured, or no MoE pattern; null = at no size measured
    cell[name + "_min_bytes"] = onset->min_bytes ? number_node(*onset->min_bytes) : YAML::Node(YAML::NodeType::Null);
    if (onset->ci95) cell[name + "_min_bytes_ci95"] = flow_list((*onset->ci95)[0], (*onset->ci95)[1]);
    if (onset->gain_at_edge) cell[name + "_gain_at_edge"] = number_node(*onset->gain_at_edge);
}

YAML::Node to_node(const Interval& interval) {
    YAML::Node node(YAML::NodeType::Map);
    node["min_bytes"] = number_node(interval.min_bytes);
    node["max_bytes"] = interval.max_bytes ? number_node(*interval.max_bytes) : YAML::Node(YAML::NodeType::Null);
    node["algorithm"] = text_node(interval.algorithm);
    node.SetStyle(YAML::EmitterStyle::Flow);
    return node;
}

YAML::Node to_node(const Regret& regret) {
    YAML::Node node(YAML::NodeType::Map);
    node["mean"] = number_node(regret.mean);
    node["max"] = number_node(regret.max);
    node["points"] = number_node(regret.points);
    if (regret.held_out) node["held_out"] = bool_node(true);
    node.SetStyle(YAML::EmitterStyle::Flow);
    return node;
}

void put_range(YAML::Node& node, const std::string& key, const std::optional<std::array<std::uint64_t, 2>>& range) {
    if (range) node[key] = flow_list((*range)[0], (*range)[1]);
}

YAML::Node to_node(const HiddenDimSpread& spread) {
    YAML::Node node(YAML::NodeType::Map);
    node["hidden_dims"] = number_node(spread.hidden_dims);
    put_range(node, "oneshot_max_bytes", spread.oneshot);
    put_range(node, "twoshot_max_bytes", spread.twoshot);
    node["mean_cost"] = number_node(spread.mean_cost);
    node["worst_cost"] = number_node(spread.worst_cost);
    node.SetStyle(YAML::EmitterStyle::Flow);
    return node;
}

/// What a cell and a row of one hidden_dim share.
template <class Limits>
void put_limits(YAML::Node& node, const Limits& limits, Pattern pattern) {
    node["status"] = text_node(to_string(limits.status));
    put_threshold(node, "oneshot", limits.oneshot);
    put_threshold(node, "twoshot", limits.twoshot);
    put_onset(node, std::string(onset_name(pattern)), limits.onset);
    if (!limits.baseline.empty()) node["baseline"] = text_node(limits.baseline);
    if (limits.workspace_bytes > 0) node["workspace_bytes"] = number_node(limits.workspace_bytes);
}

template <class Limits>
void put_intervals(YAML::Node& node, const Limits& limits) {
    for (const Interval& interval : limits.intervals) node["intervals"].push_back(to_node(interval));
}

YAML::Node to_node(const HiddenDimRow& row, Pattern pattern) {
    YAML::Node node(YAML::NodeType::Map);
    node["hidden_dim"] = number_node(row.hidden_dim);
    put_limits(node, row, pattern);
    put_intervals(node, row);
    return node;
}

YAML::Node to_node(const LaunchRow& row) {
    YAML::Node node(YAML::NodeType::Map);
    node["algorithm"] = text_node(row.algorithm);
    node["hidden_dim"] = number_node(row.hidden_dim);
    node["min_bytes"] = number_node(row.min_bytes);
    node["max_bytes"] = number_node(row.max_bytes);
    node["cluster_size"] = number_node(row.launch.cluster_size);
    node["clusters"] = number_node(row.launch.clusters);
    node["threads"] = number_node(row.launch.threads);
    node["push_ahead"] = number_node(row.launch.push_ahead);
    node["consume_behind"] = number_node(row.launch.consume_behind);
    node.SetStyle(YAML::EmitterStyle::Flow);
    return node;
}

YAML::Node to_node(const Cell& cell) {
    YAML::Node node(YAML::NodeType::Map);
    node["pattern"] = text_node(to_string(cell.key.pattern));
    node["dtype"] = text_node(to_string(cell.key.dtype));
    node["quant"] = text_node(to_string(cell.key.quant));
    node["world_size"] = number_node(cell.key.world_size);
    put_limits(node, cell, cell.key.pattern);
    if (cell.measured_max_bytes > 0)
        node["measured_bytes"] = flow_list(cell.measured_min_bytes, cell.measured_max_bytes);
    put_intervals(node, cell);
    if (cell.spread) node["spread"] = to_node(*cell.spread);
    for (const HiddenDimRow& row : cell.hidden_dims) node["hidden_dims"].push_back(to_node(row, cell.key.pattern));
    for (const LaunchRow& row : cell.launches) node["launches"].push_back(to_node(row));
    if (cell.regret) node["regret"] = to_node(*cell.regret);
    if (!cell.note.empty()) node["note"] = text_node(cell.note);
    return node;
}

} // namespace

YAML::Node to_document(const Table& table) {
    YAML::Node document(YAML::NodeType::Map);
    document["schema_version"] = number_node(table.schema_version);
    document["crossover_version"] = text_node(table.crossover_version);
    put_fingerprint(document, table.fingerprint);
    document["source"] = text_node(table.source);
    document["provenance"] = to_node(table.provenance);
    document["cells"] = YAML::Node(YAML::NodeType::Sequence);
    for (const Cell& cell : table.cells) document["cells"].push_back(to_node(cell));
    return document;
}

std::string emit_yaml(const Table& table) { return write_yaml(to_document(table)); }

} // namespace crossover
