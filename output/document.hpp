#pragma once
/// A table as a document: the keys that table.yaml and the JSON form share.

#include "tuner/table.hpp"

#include <string>
#include <yaml-cpp/yaml.h>

namespace crossover {

YAML::Node to_document(const Table& table);

} // namespace crossover
