#pragma once
/// What a rank process has of candidates from libraries. No CUDA.

#include "tuner/config.hpp"
#include "tuner/plugins/isolation.hpp"
#include "tuner/plugins/library.hpp"

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace crossover {

struct PluginSession {
    /// Loads the config's libraries, each at work as long as that takes: in a process with a CUDA context one may do
    /// what it does not in that of inspect_library(). Leaves out candidates that a verdict says failed then.
    /// @param folder  of the session's files; empty: there are none
    /// @throws InputError as PluginLibrary, and if a file has changed since the run began
    PluginSession(const Config& config, const std::filesystem::path& folder, int rank);

    std::vector<Verdict> verdicts; // the same on all ranks
    InFlightFile in_flight;
    std::map<std::string, PluginLibrary> libraries;               // by path
    std::map<std::string, const crossover_candidate*> candidates; // those that are loaded, by name
};

} // namespace crossover
