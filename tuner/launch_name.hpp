#pragma once
/// Launch variants by name: `oneshot[cluster=8,clusters=16,threads=128,ahead=1,behind=1]` is oneshot launched so, and
/// `oneshot` alone as the kernel would by itself. Samples carry these names.

#include "kernels/launch_parameters.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace crossover {

/// "cluster=8,clusters=16,threads=128,ahead=1,behind=1", and back. @throws InputError naming the bad word, at `place`
/// (file:line) if there is one
std::string to_string(const LaunchParameters& launch);
LaunchParameters parse_launch(const std::string& text, const std::string& place = {});

struct LaunchedAlgorithm {
    std::string algorithm;
    std::optional<LaunchParameters> launch; // nothing = the kernel's default

    bool operator==(const LaunchedAlgorithm&) const = default;
};

/// Whether it names a fused algorithm with launch parameters.
bool is_launch_variant(std::string_view name);
/// "oneshot" of any of its variants' names; a name without launch parameters as it is.
std::string_view base_of(std::string_view name);
/// Any algorithm's name taken apart. @throws InputError as parse_launch()
LaunchedAlgorithm parse_launched(const std::string& name, const std::string& place = {});
std::string launched_name(std::string_view algorithm, const LaunchParameters& launch);

} // namespace crossover
