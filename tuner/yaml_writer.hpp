#pragma once
/// Documents as YAML nodes and their one text form: same document, same bytes, and no reader mistakes text for a
/// number.

#include <cstdint>
#include <string>
#include <string_view>
#include <yaml-cpp/yaml.h>

namespace crossover {

/// Scalars that remember whether they are text; put only these into a document.
YAML::Node text_node(std::string_view text);
YAML::Node number_node(std::int64_t value);
YAML::Node number_node(std::uint64_t value);
inline YAML::Node number_node(int value) { return number_node(static_cast<std::int64_t>(value)); }
/// The shortest decimal that reads back as the same double, without exponent (PyYAML takes 1e-05 for text).
YAML::Node number_node(double value);
YAML::Node bool_node(bool value);

bool is_text(const YAML::Node& scalar);

/// Keys in the order they were added. Flow style where a node asks for it, quotes where text could be read as
/// anything else.
std::string write_yaml(const YAML::Node& document);

} // namespace crossover
