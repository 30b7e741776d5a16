// find_differences(), declared in comparison.hpp: can two tables be compared at all?

#include "output/comparison.hpp"

#include <map>
#include <set>

namespace crossover {

std::vector<Difference> find_differences(const Table& before, const Table& after, const CompareOptions& options) {
    std::vector<Difference> differences;
    const auto shown = [](const std::string& value) { return value.empty() ? std::string("not recorded") : value; };
    const auto hardware = [&](const std::string& what, const std::string& a, const std::string& b) {
        if (a != b) differences.push_back({what + ": " + shown(a) + " → " + shown(b), true, ""});
    };
    const auto software = [&](std::string_view word, const std::string& what, const std::string& a,
                              const std::string& b) {
        if (a == b) return;
        const bool blocks = options.across.count(word) == 0;
        differences.push_back(
            {what + ": " + shown(a) + " → " + shown(b), blocks, blocks ? "--across " + std::string(word) : ""});
    };

    const Fingerprint &old_machine = before.fingerprint, &new_machine = after.fingerprint;
    hardware("SKU", old_machine.sku, new_machine.sku);
    hardware("compute capability", old_machine.compute_capability, new_machine.compute_capability);
    hardware("topology", old_machine.topology, new_machine.topology);
    hardware("NVLink multicast", old_machine.multicast ? "on" : "off", new_machine.multicast ? "on" : "off");
    hardware("nodes", std::to_string(old_machine.nodes), std::to_string(new_machine.nodes));

    const Provenance &from = before.provenance, &to = after.provenance;
    software("driver", "driver", from.driver, to.driver);
    software("cuda", "CUDA", from.cuda, to.cuda);
    software("nccl", "NCCL", from.nccl, to.nccl);
    const auto value_of = [](const std::map<std::string, std::string>& values, const std::string& key) {
        const auto found = values.find(key);
        return found == values.end() ? std::string() : found->second;
    };
    std::map<std::string, std::string> names = from.environment;
    names.insert(to.environment.begin(), to.environment.end());
    for (const auto& [name, unused] : names)
        software("environment", name, value_of(from.environment, name), value_of(to.environment, name));
    software("cache", "cache state", value_of(from.extra, "cache"), value_of(to.extra, "cache"));
    // A sample of fewer calls or replays is noisier, and by another guard band limits move and ties come and go: told,
    // and blocks nothing.
    for (const std::string key : {"graph_calls", "trials", "guard_band", "scale_layout"})
        if (const std::string x = value_of(from.extra, key), y = value_of(to.extra, key);
            !x.empty() && !y.empty() && x != y)
            differences.push_back({key + ": " + x + " → " + y, false, ""});
    // Former measurements gave each call its share of a graph's start, some 6 µs.
    const auto graph_start = [&](const Provenance& of) {
        const std::string told = value_of(of.extra, "graph_start");
        return told.empty() ? std::string("timed") : told;
    };
    if (from.extra.contains("graph_calls") && to.extra.contains("graph_calls"))
        if (const std::string x = graph_start(from), y = graph_start(to); x != y)
            differences.push_back({"start of graphs: " + x + " → " + y, false, ""});
    // Another build of an engine's kernels is what a comparison is made for: it is told, and blocks nothing.
    std::set<std::string> candidates;
    for (const auto* const extra : {&from.extra, &to.extra})
        for (const auto& [key, unused] : *extra)
            if (key.starts_with(kCandidatePrefix)) candidates.insert(key);
    for (const std::string& key : candidates)
        if (const std::string a = value_of(from.extra, key), b = value_of(to.extra, key); a != b)
            differences.push_back({key + ": " + shown(a) + " → " + shown(b), false, ""});
    // A recording is a measurement, replayed; imported samples are another program's.
    const auto origin = [](const Table& table) {
        return std::string(table.source == "import" ? "import" : "measured");
    };
    software("source", "source", origin(before), origin(after));
    if (before.crossover_version != after.crossover_version)
        differences.push_back(
            {"Crossover: " + shown(before.crossover_version) + " → " + shown(after.crossover_version), false, ""});
    return differences;
}

} // namespace crossover
