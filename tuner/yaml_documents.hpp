#pragma once

#include <yaml-cpp/mark.h>

#include <optional>
#include <string>

namespace crossover {

/// Where the second YAML document of a text begins, if there is one: YAML::Load drops it, and YAML::LoadAll does not
/// end on some texts (",:", yaml-cpp 0.7). @throws YAML::Exception for malformed YAML
std::optional<YAML::Mark> second_document(const std::string& text);

} // namespace crossover
