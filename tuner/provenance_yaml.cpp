#include "tuner/provenance_yaml.hpp"

#include "tuner/yaml_writer.hpp"

namespace crossover {
namespace {

YAML::Node to_node(const std::map<std::string, std::string>& texts) {
    YAML::Node node(YAML::NodeType::Map);
    for (const auto& [key, value] : texts) node[text_node(key)] = text_node(value);
    return node;
}

std::map<std::string, std::string> take_texts(YamlMap& document, const std::string& key) {
    std::map<std::string, std::string> texts;
    const auto map = document.find_map(key);
    if (!map) return texts;
    for (const auto& entry : map->node())
        texts[entry.first.Scalar()] = map->as<std::string>(entry.second, entry.first.Scalar());
    return texts;
}

} // namespace

void put_fingerprint(YAML::Node& document, const Fingerprint& fingerprint) {
    document["sku"] = text_node(fingerprint.sku);
    document["compute_capability"] = text_node(fingerprint.compute_capability);
    document["topology"] = text_node(fingerprint.topology);
    document["multicast"] = bool_node(fingerprint.multicast);
    document["nodes"] = number_node(fingerprint.nodes);
}

Fingerprint take_fingerprint(YamlMap& document) {
    Fingerprint fingerprint;
    fingerprint.sku = document.get<std::string>("sku");
    if (fingerprint.sku.empty()) document.fail(document.get_node("sku"), "`sku` is empty", "name the GPU");
    fingerprint.compute_capability = document.get<std::string>("compute_capability");
    if (!is_compute_capability(fingerprint.compute_capability))
        document.fail(document.get_node("compute_capability"),
                      "`compute_capability` is `" + fingerprint.compute_capability + "`", "write it like \"9.0\"");
    fingerprint.topology = document.get_word("topology", kTopologies);
    fingerprint.multicast = document.get<bool>("multicast");
    fingerprint.nodes = document.get<int>("nodes");
    if (fingerprint.nodes < 1)
        document.fail(document.get_node("nodes"), "`nodes` is " + std::to_string(fingerprint.nodes),
                      "write how many hosts took part, 1 or more");
    return fingerprint;
}

YAML::Node to_node(const Provenance& provenance) {
    YAML::Node node(YAML::NodeType::Map);
    const auto put_text = [&node](const char* key, const std::string& text) {
        if (!text.empty()) node[key] = text_node(text);
    };
    put_text("driver", provenance.driver);
    put_text("cuda", provenance.cuda);
    put_text("nccl", provenance.nccl);
    put_text("date", provenance.date);
    node["sessions"] = number_node(provenance.sessions);
    node["samples"] = number_node(provenance.samples);
    if (!provenance.environment.empty()) node["environment"] = to_node(provenance.environment);
    if (!provenance.extra.empty()) node["extra"] = to_node(provenance.extra);
    return node;
}

Provenance parse_provenance(YamlMap map) {
    Provenance provenance;
    provenance.driver = map.find<std::string>("driver").value_or("");
    provenance.cuda = map.find<std::string>("cuda").value_or("");
    provenance.nccl = map.find<std::string>("nccl").value_or("");
    provenance.date = map.find<std::string>("date").value_or("");
    provenance.sessions = map.find<int>("sessions").value_or(0);
    provenance.samples = map.find<std::int64_t>("samples").value_or(0);
    provenance.environment = take_texts(map, "environment");
    provenance.extra = take_texts(map, "extra");
    map.finish();
    return provenance;
}

} // namespace crossover
