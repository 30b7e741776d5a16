#pragma once
/// The config as a YAML node: a config file and the record of a run (provenance.yaml) share it.

#include "tuner/config.hpp"

#include <string>
#include <yaml-cpp/yaml.h>

namespace crossover {

/// Every key, in configs/default.yaml's order.
YAML::Node to_node(const Config& config);
/// @throws InputError as read_config does
Config parse_config(const YAML::Node& node, const std::string& file);

} // namespace crossover
