#pragma once
/// JSON text of the documents of tuner/yaml_writer.hpp.

#include <string>
#include <string_view>
#include <yaml-cpp/yaml.h>

namespace crossover {

/// "text" with quotes and escapes, UTF-8 as it is.
std::string json_quoted(std::string_view text);

/// A document (scalars made by text_node, number_node, bool_node) as JSON, keys in order, indented by 2.
std::string write_json(const YAML::Node& document);

} // namespace crossover
