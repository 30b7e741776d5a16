#include "tuner/make_table.hpp"

#include "kernels/workspace.hpp"
#include "tuner/fit/fit_cell.hpp"
#include "tuner/fit/regret.hpp"
#include "tuner/parse_number.hpp"
#include "tuner/plan/plan.hpp"
#include "tuner/roles.hpp"
#include "tuner/yaml_writer.hpp"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <map>
#include <set>

namespace crossover {
namespace {

constexpr const char* kGuardBandKey = "guard_band"; // of a table's provenance.extra

Cell unmeasured_cell(const CellKey& key, int gpus) {
    Cell cell;
    cell.key = key;
    cell.status = CellStatus::not_measured;
    if (gpus > 0 && key.world_size > gpus)
        cell.note =
            "world size " + std::to_string(key.world_size) + " needs as many GPUs, there were " + std::to_string(gpus);
    return cell;
}

/// "80x5120 (+2.3 %)", the worst first, of those that lose more than the guard band by what two sessions or more say.
std::string losing_points(const std::vector<PointRegret>& points, std::span<const Sample> held_out, double guard_band) {
    std::string names;
    for (const PointRegret& each : points) {
        if (each.regret() <= guard_band || sessions_of(each.point, held_out) < 2) continue;
        names += (names.empty() ? "" : ", ") + std::to_string(each.point.num_tokens) + "x" +
                 std::to_string(each.point.hidden_dim) + " (+" + percent_text(each.regret()) + ")";
    }
    return names;
}

void judge(std::vector<Cell>& cells, std::span<const Sample> held_out, double guard_band) {
    const std::vector<PointRegret> points = regret_report(held_out, cells).points;
    for (Cell& cell : cells) {
        std::vector<PointRegret> of_cell;
        std::copy_if(points.begin(), points.end(), std::back_inserter(of_cell),
                     [&](const PointRegret& point) { return point.point.cell == cell.key; });
        if (of_cell.empty()) continue;
        cell.regret = summary(of_cell);
        cell.regret->held_out = true;
        if (const std::string names = losing_points(of_cell, held_out, guard_band); !names.empty())
            add_note(cell.note, "shapes that were held out lose more than the guard band, whenever measured: " + names +
                                    "; with their hidden_dim in the config they are fitted");
    }
}

void note_spent_budget(std::vector<Cell>& cells, const std::set<CellKey>& cut) {
    for (Cell& cell : cells)
        if (cut.contains(cell.key))
            add_note(cell.note,
                     cell.status == CellStatus::not_measured
                         ? "the budget was spent before it was measured"
                         : "the budget was spent before the search ended: limits and intervals rest on less");
}

/// "candidate acme_oneshot": "oneshot, version 1.4.2, libacme.so 0123456789abcdef"
std::map<std::string, std::string> candidate_lines(const Config& config) {
    std::map<std::string, std::string> lines;
    for (const PluginInfo& candidate : config.candidates)
        lines[std::string(kCandidatePrefix) + candidate.name] =
            std::string(to_string(candidate.role)) + ", version " + candidate.version + ", " +
            std::filesystem::path(candidate.library).filename().string() + " " + candidate.checksum;
    return lines;
}

/// Workspace of the fused algorithms that a run measures; that of candidates is what they were set up with.
std::uint64_t fused_workspace(const Config& config, int world_size, std::uint64_t max_message_bytes) {
    const bool ours = std::any_of(config.algorithms.begin(), config.algorithms.end(), algorithm::is_fused);
    std::uint64_t bytes = 0;
    if (ours || config.candidates.empty())
        bytes = std::min(workspace_bytes(world_size, max_message_bytes), config.workspace_limit_bytes);
    for (const PluginInfo& candidate : config.candidates)
        if (const auto found = candidate.workspace_bytes.find(world_size);
            candidate.role != Role::unfused && found != candidate.workspace_bytes.end())
            bytes = std::max(bytes, found->second);
    return bytes;
}

} // namespace

SplitSamples split_samples(std::span<const Sample> samples, const RunRecord& record) {
    SplitSamples split;
    if (!record.config) return {.fitted = {samples.begin(), samples.end()}, .held_out = {}};
    const std::vector<Point> held_out = validation_points(*record.config);
    const std::vector<Sample> renamed = in_roles(samples, *record.config);
    std::partition_copy(
        renamed.begin(), renamed.end(), std::back_inserter(split.held_out), std::back_inserter(split.fitted),
        [&](const Sample& sample) { return std::binary_search(held_out.begin(), held_out.end(), sample.point); });
    return split;
}

RunTable make_table(std::span<const Sample> samples, const RunRecord& record, const FitOptions& options) {
    RunTable made;
    made.samples = split_samples(samples, record);
    Table& table = made.table;
    table.crossover_version = CROSSOVER_VERSION;
    table.fingerprint = record.fingerprint;
    table.source = record.source;
    table.provenance = record.provenance;
    std::set<int> sessions;
    for (const Sample& sample : samples) sessions.insert(sample.session);
    table.provenance.sessions = static_cast<int>(sessions.size());
    table.provenance.samples = std::ssize(samples);
    table.provenance.extra[kGuardBandKey] = number_node(options.guard_band).Scalar();
    table.cells = fit_cells(made.samples.fitted, options);
    judge(table.cells, made.samples.held_out, options.guard_band);
    if (record.config) {
        table.provenance.extra.merge(candidate_lines(*record.config));
        for (const CellKey& key : cell_keys(*record.config))
            if (!find_cell(table, key)) table.cells.push_back(unmeasured_cell(key, record.gpus));
        Config searched = *record.config; // the search ran without the worlds that the machine could not have
        if (record.gpus > 0) drop_world_sizes_above(searched, record.gpus);
        made.cut_by_budget = cells_cut_by_budget(searched, samples);
    }
    note_spent_budget(table.cells, made.cut_by_budget);
    std::sort(table.cells.begin(), table.cells.end(), [](const Cell& a, const Cell& b) { return a.key < b.key; });
    return made;
}

FitOptions fit_options(const Config& config) {
    // What was measured ran within config.workspace_limit_bytes: a shape that does not fit it is a skipped sample.
    return {.guard_band = config.guard_band,
            .workspace_bytes = [config](const CellKey& key, std::uint64_t max_message_bytes) {
                return fused_workspace(config, key.world_size, max_message_bytes);
            }};
}

std::optional<double> guard_band_of(const Table& table) {
    const auto found = table.provenance.extra.find(kGuardBandKey);
    if (found == table.provenance.extra.end()) return std::nullopt;
    double share = 0;
    if (parse_number(found->second, share) != std::errc{} || !(share >= 0 && share <= 0.5)) return std::nullopt;
    return share;
}

std::vector<CellKey> cell_keys(const Config& config) {
    std::vector<CellKey> keys;
    for (const Pattern pattern : config.patterns)
        for (const DType dtype : config.dtypes)
            for (const Quant quant : quants_of(config, pattern))
                for (const int world_size : config.world_sizes) keys.push_back({pattern, dtype, quant, world_size});
    std::sort(keys.begin(), keys.end());
    return keys;
}

} // namespace crossover
