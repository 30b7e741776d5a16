#pragma once
/// The limits and intervals of table.yaml, read and checked.

#include "tuner/table.hpp"
#include "tuner/yaml_map.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <string>

namespace crossover {

/// What algorithms a table may name beside ours. The set of names is open, so a name is refused only where it looks
/// like one of ours misspelt, and nobody says that it is something else.
struct Names {
    bool are_others = false; // of an imported tool
    std::set<std::string, std::less<>> candidates = {};
};
/// By the table's source and provenance.
Names names_of(const Table& table);

/// [lowest, highest]; nothing if the key is absent.
std::optional<std::array<std::uint64_t, 2>> find_range(YamlMap& map, const std::string& key);

/// What a Cell and a HiddenDimRow share, and what must hold of it.
template <class Limits>
void parse_limits(YamlMap& map, Pattern pattern, const Names& names, Limits& limits);

} // namespace crossover
