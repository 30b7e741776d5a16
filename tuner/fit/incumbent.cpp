#include "tuner/fit/incumbent.hpp"

#include "tuner/fit/regret.hpp"
#include "tuner/read_file.hpp"
#include "tuner/table.hpp"
#include "tuner/yaml_map.hpp"

#include <algorithm>
#include <array>
#include <limits>

namespace crossover {
namespace {

constexpr Incumbent::Limit kAlways{.unit = Incumbent::Unit::bytes, .max = std::numeric_limits<std::uint64_t>::max()};

Incumbent::Limit parse_limit(const YamlMap& rule, const YAML::Node& node, const std::string& key) {
    if (node.IsScalar() && node.Scalar() == "always") return kAlways;
    if (node.IsScalar() && node.Scalar() == "never") return {}; // no message has 0 bytes
    if (!node.IsMap())
        rule.fail(node, "`" + key + "` is no limit", "write always, never, or a map such as {bytes: 1048576}");
    YamlMap map(node, rule.file(), "`" + key + "`");
    const auto bytes = map.find<std::uint64_t>("bytes");
    const auto bytes_times_world = map.find<std::uint64_t>("bytes_times_world");
    const auto tokens = map.find<std::uint64_t>("tokens");
    map.finish();
    if (bytes.has_value() + bytes_times_world.has_value() + tokens.has_value() != 1)
        map.fail(node, "`" + key + "` needs one quantity", "write one of bytes, bytes_times_world, tokens");
    if (bytes) return {.unit = Incumbent::Unit::bytes, .max = *bytes};
    if (tokens) return {.unit = Incumbent::Unit::tokens, .max = *tokens};
    return {.unit = Incumbent::Unit::bytes_times_world, .max = *bytes_times_world};
}

/// One value or a list of them, each of which `can_be`, or the rule would match nothing; none if the key is absent.
template <class T, class CanBe>
std::vector<T> one_or_more(YamlMap& map, const std::string& key, CanBe can_be, const std::string& remedy) {
    std::vector<T> values;
    const auto node = map.find_node(key);
    if (!node) return values;
    const auto add = [&](const YAML::Node& element) {
        values.push_back(map.as<T>(element, key));
        if (!can_be(values.back())) map.fail(element, "`" + key + "` is `" + element.Scalar() + "`", remedy);
    };
    if (!node->IsSequence()) return add(*node), values;
    for (const YAML::Node& element : *node) add(element);
    if (values.empty()) map.fail(*node, "`" + key + "` is empty", "leave it out for any");
    return values;
}

Incumbent::Rule parse_rule(const YAML::Node& node, const std::string& file) {
    YamlMap map(node, file, "a rule");
    Incumbent::Rule rule;
    rule.compute_capabilities =
        one_or_more<std::string>(map, "compute_capability", is_compute_capability, "write it like \"9.0\"");
    rule.world_sizes = one_or_more<int>(
        map, "world_size", [](int world_size) { return world_size >= 2; }, "write 2 or more");
    rule.fused_max = parse_limit(map, map.get_node("fused_max"), "fused_max");
    const auto oneshot = map.find_node("oneshot_max");
    rule.oneshot_max = oneshot ? parse_limit(map, *oneshot, "oneshot_max") : kAlways;
    map.finish();
    return rule;
}

bool within(const Point& point, const Incumbent::Limit& limit) {
    std::uint64_t quantity = message_bytes(point);
    if (limit.unit == Incumbent::Unit::bytes_times_world) quantity *= static_cast<std::uint64_t>(point.cell.world_size);
    if (limit.unit == Incumbent::Unit::tokens) quantity = static_cast<std::uint64_t>(point.num_tokens);
    return quantity <= limit.max;
}

template <class T>
bool matches(const std::vector<T>& wanted, const T& value) {
    return wanted.empty() || std::find(wanted.begin(), wanted.end(), value) != wanted.end();
}

} // namespace

bool is_incumbent(const std::string& text, const std::string& where) {
    const YAML::Node document = load_yaml(text, where);
    return document.IsMap() && document["incumbent"].IsDefined();
}

Incumbent parse_incumbent(const std::string& text, const std::string& where) {
    YamlMap map(load_yaml(text, where), where, "the incumbent");
    Incumbent incumbent;
    incumbent.name = map.get<std::string>("incumbent");
    if (incumbent.name.empty()) map.fail(map.get_node("incumbent"), "`incumbent` is empty", "name the engine");
    incumbent.source = map.get<std::string>("source");
    incumbent.date = map.get<std::string>("date");
    incumbent.note = map.find<std::string>("note").value_or("");
    incumbent.unfused_otherwise =
        map.get_word("otherwise", std::array{Named<bool>{true, "unfused"}, Named<bool>{false, "not_covered"}});
    map.find_word("unfused", std::array{Named<bool>{false, "fastest"}, Named<bool>{true, "nccl"}},
                  incumbent.unfused_is_nccl);
    const YAML::Node rules = map.get_node("rules");
    for (const YAML::Node& node : map.find_sequence("rules")) incumbent.rules.push_back(parse_rule(node, where));
    if (incumbent.rules.empty()) map.fail(rules, "`rules` is empty", "write at least one rule");
    map.finish();
    return incumbent;
}

Incumbent read_incumbent(const std::filesystem::path& path) {
    return parse_incumbent(read_file(path, "the incumbent"), path.string());
}

std::string choose(const Incumbent& incumbent, const std::string& compute_capability, const Point& point) {
    if (is_moe(point.cell.pattern)) return std::string(algorithm::not_measured); // their rules are for all-reduces
    std::string unfused(incumbent.unfused_is_nccl ? kNccl : kUnfused);
    for (const Incumbent::Rule& rule : incumbent.rules) {
        if (!matches(rule.compute_capabilities, compute_capability)) continue;
        if (!matches(rule.world_sizes, point.cell.world_size)) continue;
        if (!within(point, rule.fused_max)) return unfused;
        return std::string(within(point, rule.oneshot_max) ? algorithm::oneshot : algorithm::twoshot);
    }
    return incumbent.unfused_otherwise ? unfused : std::string(algorithm::not_measured);
}

} // namespace crossover
