#include "output/emit.hpp"
#include "output/format.hpp"

#include <vector>

namespace crossover {
namespace {

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

std::string cell_details(const Cell& cell) {
    std::string out = "### " + to_string(cell.key) + "\n\n";
    for (const std::string& fact : cell_facts(cell)) out += "- " + fact + "\n";
    for (const Interval& interval : cell.intervals) out += "- " + interval_text(interval) + "\n";
    return out;
}

std::string provenance_table(const Table& table) {
    std::vector<std::vector<std::string>> rows = provenance_rows(table);
    rows.insert(rows.begin(), {"what", "value"});
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
