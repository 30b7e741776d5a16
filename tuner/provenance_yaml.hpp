#pragma once
/// The keys by which table.yaml and provenance.yaml say where their numbers come from.

#include "tuner/table.hpp"
#include "tuner/yaml_map.hpp"

#include <yaml-cpp/yaml.h>

namespace crossover {

/// Adds sku, compute_capability, topology, multicast, nodes to a mapping.
void put_fingerprint(YAML::Node& document, const Fingerprint& fingerprint);
/// @throws InputError with file:line for a missing key, an unknown topology, a compute capability not like "9.0"
Fingerprint take_fingerprint(YamlMap& document);

/// Empty texts are left out.
YAML::Node to_node(const Provenance& provenance);
/// @throws InputError with file:line for an unknown key
Provenance parse_provenance(YamlMap map);

} // namespace crossover
