#pragma once
/// A run's folder holds samples.csv (the journal) and provenance.yaml: on which machine, with which software and config
/// the samples were made. A folder under configs/recordings is such a run, kept.

#include "tuner/config.hpp"
#include "tuner/samples/journal.hpp"
#include "tuner/table.hpp"

#include <array>
#include <filesystem>
#include <optional>
#include <string>

namespace crossover {

/// provenance.yaml
struct RunRecord {
    std::string crossover_version = CROSSOVER_VERSION;
    std::string source = "gpu"; // of kSources
    Fingerprint fingerprint;
    int gpus = 0; // of the machine, or of all hosts together; 0 = unknown (imports)
    Provenance provenance;
    std::optional<Config> config; // absent for imports

    bool operator==(const RunRecord&) const = default;
};

/// What `tune` makes of a run's samples and writes beside them: the table, its header, and both reports.
inline constexpr std::array kMadeOfSamples{"table.yaml", "oneshot_thresholds.h", "report.md", "report.html"};

/// @throws InputError with file:line for malformed YAML, missing or unknown keys
RunRecord read_provenance(const std::filesystem::path& path);
/// provenance.yaml's text; read_provenance of it gives the same record.
std::string to_yaml(const RunRecord& record);
/// Writes it atomically. @throws InputError if it cannot
void write_provenance(const std::filesystem::path& path, const RunRecord& record);

/// The run of these samples, by the provenance.yaml beside them; without one nothing is known of it.
RunRecord record_beside(const std::filesystem::path& samples);

/// Reads samples.csv as the table of its run sees it: candidates under the names of their roles (tuner/roles.hpp), if
/// the provenance.yaml beside it tells of some. @throws InputError as the readers of both
std::vector<Sample> read_samples_in_roles(const std::filesystem::path& path);

/// Opens `folder` for a run, before anything is measured: creates it, writes provenance.yaml, opens samples.csv.
///
/// With `resume`, samples that are there are kept, and their record must agree with `record` in machine, software and
/// config; only the number of sessions and the fit's options may differ. Without, a folder that holds samples is
/// an error, unless they are a replay's, which can be had again at any time: they go, and with them what was made of
/// them, so that a run that is interrupted leaves no table of other samples.
/// @throws InputError naming what differs, or why the folder cannot be written
Journal begin_run(const std::filesystem::path& folder, const RunRecord& record, bool resume);

} // namespace crossover
