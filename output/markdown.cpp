#include "output/emit.hpp"
#include "output/format.hpp"

#include <vector>

namespace crossover {
namespace {

std::string size_text(std::uint64_t bytes) { return std::to_string(bytes) + " (" + human_bytes(bytes) + ")"; }

std::string threshold_text(const Cell& cell, const std::optional<Threshold>& threshold) {
    if (cell.status == CellStatus::tie) return "tie";
    if (cell.status == CellStatus::unsupported) return "unsupported";
    if (!threshold) return "not measured";
    if (threshold->max_bytes == 0)
        return cell.measured_min_bytes > 0 ? "0 (never from " + human_bytes(cell.measured_min_bytes) + " on)"
                                           : "0 (never)";
    std::string size = size_text(threshold->max_bytes);
    switch (threshold->limited_by) {
    case LimitedBy::crossover:
        return size;
    case LimitedBy::range:
        return "≥ " + size;
    case LimitedBy::workspace:
        return size + ", workspace";
    }
    return size;
}

std::string ci_text(const std::optional<Threshold>& threshold) {
    if (!threshold || !threshold->ci95) return "–";
    const auto [low, high] = *threshold->ci95;
    return human_bytes(low) + " … " + human_bytes(high);
}

std::string gain_text(const std::optional<Threshold>& threshold) {
    return threshold && threshold->gain_at_edge ? percent(*threshold->gain_at_edge) : "–";
}

std::vector<std::string> summary_row(const Cell& cell) {
    return {std::to_string(cell.key.world_size),
            std::string(to_string(cell.key.quant)),
            threshold_text(cell, cell.oneshot),
            ci_text(cell.oneshot),
            gain_text(cell.oneshot),
            threshold_text(cell, cell.twoshot),
            ci_text(cell.twoshot),
            gain_text(cell.twoshot),
            cell.baseline.empty() ? "–" : cell.baseline};
}

std::string group_name(const CellKey& key) {
    return std::string(to_string(key.pattern)) + ", " + std::string(to_string(key.dtype));
}

std::string interval_text(const Interval& interval) {
    if (!interval.max_bytes) return "from " + size_text(interval.min_bytes) + ": " + interval.algorithm;
    return size_text(interval.min_bytes) + " to " + size_text(*interval.max_bytes) + ": " + interval.algorithm;
}

std::string cell_details(const Cell& cell) {
    std::string out = "### " + to_string(cell.key) + "\n\n- status: " + std::string(to_string(cell.status)) + "\n";
    if (!cell.baseline.empty()) out += "- baseline: " + cell.baseline + "\n";
    if (cell.measured_max_bytes > 0)
        out += "- measured from " + size_text(cell.measured_min_bytes) + " to " + size_text(cell.measured_max_bytes) +
               "\n";
    if (cell.workspace_bytes > 0)
        out += "- workspace of the fused algorithms: " + size_text(cell.workspace_bytes) + "\n";
    if (cell.regret)
        out += "- time lost against the best algorithm at " + std::to_string(cell.regret->points) + " points: mean " +
               percent(cell.regret->mean, 2) + ", worst " + percent(cell.regret->max, 2) + "\n";
    if (!cell.note.empty()) out += "- note: " + one_line(cell.note) + "\n";
    for (const Interval& interval : cell.intervals) out += "- " + interval_text(interval) + "\n";
    return out;
}

std::string provenance_table(const Table& table) {
    const Provenance& provenance = table.provenance;
    const Fingerprint& machine = table.fingerprint;
    std::vector<std::vector<std::string>> rows{{"what", "value"},
                                               {"GPU", machine.sku},
                                               {"compute capability", machine.compute_capability},
                                               {"topology", machine.topology},
                                               {"NVLink multicast", machine.multicast ? "on" : "off"},
                                               {"nodes", std::to_string(machine.nodes)},
                                               {"source", table.source},
                                               {"driver", provenance.driver},
                                               {"CUDA", provenance.cuda},
                                               {"NCCL", provenance.nccl},
                                               {"date", provenance.date},
                                               {"sessions", std::to_string(provenance.sessions)},
                                               {"samples", std::to_string(provenance.samples)},
                                               {"Crossover", table.crossover_version}};
    for (const auto& [key, value] : provenance.environment) rows.push_back({key, value});
    for (const auto& [key, value] : provenance.extra) rows.push_back({key, value});
    std::erase_if(rows, [](const auto& row) { return row[1].empty(); });
    return markdown_table(rows);
}

} // namespace

std::string emit_summary(const Table& table) {
    const std::vector<std::string> head{"world size",  "quant",         "oneshot max",  "95 % interval", "gain at edge",
                                        "twoshot max", "95 % interval", "gain at edge", "baseline"};
    std::string out;
    for (auto cell = table.cells.begin(); cell != table.cells.end();) {
        const std::string group = group_name(cell->key);
        std::vector<std::vector<std::string>> rows{head};
        for (; cell != table.cells.end() && group_name(cell->key) == group; ++cell) rows.push_back(summary_row(*cell));
        out += (out.empty() ? "" : "\n") + group + "\n\n" + markdown_table(rows);
    }
    return out.empty() ? "no cells\n" : out;
}

std::string emit_markdown(const Table& table) {
    std::string out =
        "# Dispatch table for " + one_line(table.fingerprint.sku) + "\n\n" + emit_summary(table) +
        "\nSizes are bytes of one rank's input tensor (tokens × hidden_dim × element size), inclusive: up to\n"
        "\"oneshot max\" use oneshot, above it and up to \"twoshot max\" twoshot, above that the baseline. 0 means\n"
        "never. \"≥\": still the fastest at the largest size measured. The gain at an edge is the time of the next\n"
        "algorithm over this one's, at the largest measured size not above the threshold.\n"
        "\n## Where the numbers come from\n\n" +
        provenance_table(table) + "\n## Cells\n";
    for (const Cell& cell : table.cells) out.append("\n").append(cell_details(cell));
    return out;
}

} // namespace crossover
