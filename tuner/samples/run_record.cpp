#include "tuner/samples/run_record.hpp"

#include "tuner/config_yaml.hpp"
#include "tuner/error.hpp"
#include "tuner/provenance_yaml.hpp"
#include "tuner/read_file.hpp"
#include "tuner/roles.hpp"
#include "tuner/write_atomically.hpp"
#include "tuner/yaml_map.hpp"
#include "tuner/yaml_writer.hpp"

#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

namespace crossover {
namespace {

YAML::Node to_document(const RunRecord& record) {
    YAML::Node document;
    document["crossover_version"] = text_node(record.crossover_version);
    document["source"] = text_node(record.source);
    put_fingerprint(document, record.fingerprint);
    document["gpus"] = number_node(record.gpus);
    document["provenance"] = to_node(record.provenance);
    if (record.config) document["config"] = to_node(*record.config);
    return document;
}

using KeyedValues = std::vector<std::pair<std::string, std::string>>;

/// ("config.sweep.world_sizes", "[2, 4, 8]") for every scalar and list of the document, in its order.
void flatten(const YAML::Node& node, const std::string& key, KeyedValues& values) {
    if (!node.IsMap()) {
        values.emplace_back(key, YAML::Dump(node));
        return;
    }
    for (const auto& entry : node)
        flatten(entry.second, key.empty() ? entry.first.Scalar() : key + "." + entry.first.Scalar(), values);
}

std::string value_of(const KeyedValues& values, const std::string& key) {
    for (const auto& [known, value] : values)
        if (known == key) return value;
    return "absent";
}

/// What may differ between a run and its continuation: when it was, how much there is, what is made of it. Not what
/// was recorded, nor what the times hold.
bool may_differ(std::string_view key) {
    if (key.starts_with("provenance.extra."))
        return key != "provenance.extra.recording" && key != "provenance.extra.graph_start";
    return key == "provenance.date" || key == "provenance.sessions" || key == "provenance.samples" ||
           key == "config.measurement.sessions" || key.starts_with("config.measurement.budget_") ||
           key == "config.fit.guard_band" || key.starts_with("config.validation.");
}

/// @throws InputError for the first key in which the two records differ and must not
void require_same_run(const std::filesystem::path& path, const RunRecord& then, const RunRecord& now) {
    KeyedValues before, after;
    flatten(to_document(then), "", before);
    flatten(to_document(now), "", after);
    KeyedValues all = before;
    all.insert(all.end(), after.begin(), after.end());
    for (const auto& [key, ignored] : all) {
        const std::string value = value_of(before, key), value_now = value_of(after, key);
        if (value == value_now || may_differ(key)) continue;
        const bool is_config = key.starts_with("config.");
        throw InputError(path.string(),
                         "cannot resume: `" + key + "` was " + value + " in the run that is there and is " + value_now +
                             " now",
                         std::string(is_config ? "pass the config of that run" : "continue on that machine") +
                             ", or name another folder with --out");
    }
}

void create_folder(const std::filesystem::path& folder) {
    if (folder.empty()) throw InputError("--out", "is empty", "name a folder that you may write to");
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    if (error || !std::filesystem::is_directory(folder))
        throw InputError(folder.string(),
                         "cannot create the folder: " + (error ? error.message() : "a file of that name is there"),
                         "name a folder that you may write to with --out");
}

/// Leaves links and read-only files, which are somebody's wish; writing them is another matter.
void remove_made(const std::filesystem::path& folder) {
    std::error_code ignored;
    for (const char* const name : kMadeOfSamples)
        if (const auto path = folder / name;
            std::filesystem::is_regular_file(std::filesystem::symlink_status(path, ignored)) &&
            ::access(path.c_str(), W_OK) == 0)
            std::filesystem::remove(path, ignored);
}

} // namespace

RunRecord read_provenance(const std::filesystem::path& path) {
    const std::string file = path.string();
    YamlMap map(load_yaml(read_file(path, "the provenance"), file), file, "the provenance");
    RunRecord record;
    record.crossover_version = map.get<std::string>("crossover_version");
    record.source = map.get_word("source", kSources);
    record.fingerprint = take_fingerprint(map);
    record.gpus = map.find<int>("gpus").value_or(0);
    record.provenance = parse_provenance(map.get_map("provenance"));
    if (const auto config = map.find_node("config")) record.config = parse_config(*config, file);
    map.finish();
    return record;
}

std::string to_yaml(const RunRecord& record) { return write_yaml(to_document(record)); }

void write_provenance(const std::filesystem::path& path, const RunRecord& record) {
    write_atomically(path, to_yaml(record));
}

RunRecord record_beside(const std::filesystem::path& samples) {
    const std::filesystem::path provenance = samples.parent_path() / "provenance.yaml";
    return std::filesystem::exists(provenance) ? read_provenance(provenance) : RunRecord{};
}

std::vector<Sample> read_samples_in_roles(const std::filesystem::path& path) {
    const std::vector<Sample> samples = read_samples(path);
    return in_roles(samples, record_beside(path).config.value_or(Config{}));
}

Journal begin_run(const std::filesystem::path& folder, const RunRecord& record, bool resume) {
    create_folder(folder);
    const std::filesystem::path samples = folder / "samples.csv", provenance = folder / "provenance.yaml";
    require_writable(provenance); // and all else that is written at the end, which would be the first to know
    for (const char* const name : kMadeOfSamples) require_writable(folder / name);
    const bool has_record = std::filesystem::exists(provenance);
    if (std::filesystem::exists(samples)) {
        if (!resume && has_record && read_provenance(provenance).source == "recording") {
            Journal::clear(samples);
            remove_made(folder);
        } else if (Journal journal(samples, resume); !journal.existing().empty()) { // throws unless it may go on
            if (!has_record)
                throw InputError(samples.string(), "cannot resume without a provenance.yaml beside it",
                                 "put it back, or name another folder with --out");
            require_same_run(provenance, read_provenance(provenance), record);
        }
    }
    write_provenance(provenance, record);
    return Journal(samples, resume);
}

} // namespace crossover
