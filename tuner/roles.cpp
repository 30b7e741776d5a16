#include "tuner/roles.hpp"

#include "tuner/error.hpp"
#include "tuner/launch_name.hpp"

#include <algorithm>

namespace crossover {
namespace {

/// What the table calls `name`.
std::string role_of(const std::string& name, const Config& config) {
    for (const PluginInfo& candidate : config.candidates)
        if (candidate.name == name && candidate.role != Role::unfused) return std::string(to_string(candidate.role));
    return name;
}

} // namespace

void add_candidates(Config& config, std::span<const PluginInfo> candidates) {
    for (const PluginInfo& candidate : candidates) {
        for (const PluginInfo& other : config.candidates)
            if (other.name == candidate.name)
                throw InputError("--candidate",
                                 other.library + " and " + candidate.library + " both have a candidate `" +
                                     candidate.name + "`",
                                 "rename one");
        config.algorithms.push_back(candidate.name);
        config.candidates.push_back(candidate);
    }
}

void take_candidates(Config& config, std::span<const PluginInfo> candidates) {
    add_candidates(config, candidates);
    for (const Role role : {Role::oneshot, Role::twoshot}) {
        std::vector<std::string> names;
        for (const PluginInfo& candidate : config.candidates)
            if (candidate.role == role) names.push_back(candidate.name);
        if (names.size() > 1)
            throw InputError("--candidate",
                             "`" + names[0] + "` and `" + names[1] + "` both have the role " +
                                 std::string(to_string(role)) + ", and a table has room for one",
                             "make a run for each of them, or compare them with `crossover bench`");
        if (!names.empty())
            std::erase_if(config.algorithms, [&](const std::string& name) { return base_of(name) == to_string(role); });
    }
}

std::vector<Sample> in_roles(std::span<const Sample> samples, const Config& config) {
    std::vector<Sample> renamed(samples.begin(), samples.end());
    if (config.candidates.empty()) return renamed;
    for (Sample& sample : renamed) sample.algorithm = role_of(sample.algorithm, config);
    return renamed;
}

Config in_roles(Config config) {
    for (std::string& name : config.algorithms) name = role_of(name, config);
    config.candidates.clear();
    return config;
}

std::string name_in_samples(const std::string& name, const Config& config) {
    for (const PluginInfo& candidate : config.candidates)
        if (role_of(candidate.name, config) == name) return candidate.name;
    return name;
}

} // namespace crossover
