#pragma once
/// Kernels that are not ours, as the table sees them. Samples carry the name that a library gave its candidate, so that
/// they say what was measured. The search, the fit and the table know `oneshot` and `twoshot`: a candidate with one of
/// these roles is what the engine would run there, so it takes the place of ours, and provenance tells its name.

#include "tuner/config.hpp"
#include "tuner/samples/sample.hpp"

#include <span>
#include <string>
#include <vector>

namespace crossover {

/// Adds candidates to what a config measures. @throws InputError if two have one name
void add_candidates(Config& config, std::span<const PluginInfo> candidates);
/// The same for a table, where one with the role of an algorithm of ours takes its place.
/// @throws InputError also if two have the role oneshot, or twoshot
void take_candidates(Config& config, std::span<const PluginInfo> candidates);

/// The names that candidates have in the table, for those that they have in samples. All else stays as it is.
std::vector<Sample> in_roles(std::span<const Sample> samples, const Config& config);
/// The config of a run whose samples are in_roles(): no candidates.
Config in_roles(Config config);
/// The name in samples of an algorithm of that config.
std::string name_in_samples(const std::string& name, const Config& config);

} // namespace crossover
