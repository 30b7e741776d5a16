#include "tuner/config.hpp"

#include "tuner/config_yaml.hpp"
#include "tuner/read_file.hpp"
#include "tuner/yaml_map.hpp"
#include "tuner/yaml_writer.hpp"

#include <algorithm>

namespace crossover {

std::vector<std::string> algorithms_of(const Config& config, Pattern pattern) {
    std::vector<std::string> algorithms = config.algorithms;
    const auto lists = [&](std::string_view name) {
        return std::ranges::find(config.algorithms, name) != config.algorithms.end();
    };
    // Without a norm this is NCCL alone, under another name.
    const auto doubles = [&](std::string_view name) {
        return (name == algorithm::nccl_fused_norm && lists(algorithm::nccl)) ||
               (name == algorithm::nccl_symm_fused_norm && lists(algorithm::nccl_symm));
    };
    std::erase_if(algorithms, [&](const std::string& name) {
        return !algorithm::does(name, pattern) || (!has_norm(pattern) && doubles(name));
    });
    return algorithms;
}

std::vector<Quant> quants_of(const Config& config, Pattern pattern) {
    return is_quantized(pattern) ? config.quants : std::vector{Quant::none};
}

Config read_config(const std::filesystem::path& path) { return read_config_file(path).config; }

ConfigFile read_config_file(const std::filesystem::path& path) {
    const YAML::Node node = load_yaml(read_file(path, "the config"), path.string());
    ConfigFile file{.config = parse_config(node, path.string())};
    if (const YAML::Node measurement = node["measurement"]) file.names_sessions = measurement["sessions"].IsDefined();
    return file;
}

std::string to_yaml(const Config& config) { return write_yaml(to_node(config)); }

void require_gpus(const Config& config, int gpus, const std::filesystem::path& path) {
    const int largest = *std::max_element(config.world_sizes.begin(), config.world_sizes.end());
    if (largest <= gpus) return;
    YamlMap map(load_yaml(read_file(path, "the config"), path.string()), path.string(), "the config");
    YamlMap sweep(map.get_node("sweep"), path.string(), "`sweep`");
    sweep.fail(sweep.get_node("world_sizes"),
               "world size " + std::to_string(largest) + " needs as many GPUs, and there are " + std::to_string(gpus),
               "take it out of `world_sizes`");
}

void drop_world_sizes_above(Config& config, int gpus) {
    std::erase_if(config.world_sizes, [gpus](int world_size) { return world_size > gpus; });
}

} // namespace crossover
