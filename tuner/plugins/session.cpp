#include "tuner/plugins/session.hpp"

#include "tuner/error.hpp"

namespace crossover {

PluginSession::PluginSession(const Config& config, const std::filesystem::path& folder, int rank)
    : verdicts(read_verdicts(folder)), in_flight(folder, rank) {
    std::map<std::string, std::vector<std::string>> names; // by library
    for (const PluginInfo& info : config.candidates) {
        if (!may_load(verdicts, info.name)) continue;
        if (plugin_checksum(info.library) != info.checksum)
            throw InputError(info.library, "has changed since the run began", "begin a new run with it");
        names[info.library].push_back(info.name);
    }
    for (const auto& [path, of_library] : names) {
        const InFlightFile::Scope scope(in_flight, Phase::load, {}, of_library);
        const PluginLibrary& library = libraries.try_emplace(path, path).first->second;
        for (const std::string& name : of_library) candidates[name] = &library.find(name);
    }
}

} // namespace crossover
