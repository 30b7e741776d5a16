#include "output/emit.hpp"
#include "output/format.hpp"
#include "output/limits.hpp"
#include "tuner/joined.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

namespace crossover {
namespace {

const std::vector<std::string> kSummaryHead{"world size",    "quant",        "oneshot max",
                                            "95 % interval", "gain at edge", "twoshot max",
                                            "95 % interval", "gain at edge", "baseline"};

/// MoE: the limit is where the baseline ends, and above it may be several.
std::vector<std::string> moe_head(Pattern pattern) {
    return {"world size",
            "quant",
            is_moe_dispatch(pattern) ? "quantize before gather from" : "reduce-scatter from",
            "95 % interval",
            "gain at edge",
            "baseline",
            "then"};
}

std::vector<std::string> summary_row(const Cell& cell) {
    if (is_moe(cell.key.pattern))
        return {std::to_string(cell.key.world_size),
                std::string(to_string(cell.key.quant)),
                onset_text(cell),
                ci_text(cell.onset),
                gain_text(cell.onset),
                cell.baseline.empty() ? "–" : cell.baseline,
                then_text(cell)};
    return {std::to_string(cell.key.world_size),
            std::string(to_string(cell.key.quant)),
            threshold_text(cell, algorithm::oneshot),
            ci_text(cell.oneshot),
            gain_text(cell.oneshot),
            threshold_text(cell, algorithm::twoshot),
            ci_text(cell.twoshot),
            gain_text(cell.twoshot),
            cell.baseline.empty() ? "–" : cell.baseline};
}

/// What a row of the summary cannot say; nothing for most cells.
std::string remark_on(const Cell& cell) {
    if (limits_tell_all(cell)) return "";
    std::string intervals;
    for (const Interval& interval : cell.intervals)
        intervals += (intervals.empty() ? "" : "; ") + interval_text(interval);
    return "\nWorld size " + std::to_string(cell.key.world_size) + ", " + std::string(to_string(cell.key.quant)) +
           ", is more than its limits: " + intervals + "\n";
}

/// A share that cannot be negative, without a sign.
std::string share(double fraction, int decimals = 2) { return percent(fraction, decimals).substr(1); }

/// The claim that a limit is on the size of the tensor, whatever its shape, tested on every cell with two hidden_dims.
std::string is_it_bytes(const Table& table) {
    std::vector<std::vector<std::string>> rows{{"cell", "hidden dims", "oneshot max of each", "twoshot max of each",
                                                "mean cost of one pair", "worst", "rows of their own"}};
    std::size_t with_rows = 0;
    double worst_without = 0, worst = 0;
    for (const Cell& cell : table.cells) {
        if (!cell.spread) continue;
        const std::string own = joined(cell.hidden_dims, ", ", &HiddenDimRow::hidden_dim);
        with_rows += !own.empty();
        double& extreme = own.empty() ? worst_without : worst;
        extreme = std::max(extreme, cell.spread->worst_cost);
        rows.push_back({to_string(cell.key), std::to_string(cell.spread->hidden_dims), range_text(cell.spread->oneshot),
                        range_text(cell.spread->twoshot), percent(cell.spread->mean_cost, 2),
                        share(cell.spread->worst_cost), own.empty() ? "–" : own});
    }
    const bool measured = std::any_of(table.cells.begin(), table.cells.end(),
                                      [](const Cell& cell) { return cell.status == CellStatus::measured; });
    if (rows.size() == 1)
        return measured ? "\n## Is it bytes?\n\nNot tested: no cell has two hidden dims with samples around their "
                          "own limits.\n"
                        : "";
    const std::size_t cells = rows.size() - 1;
    const std::string answer =
        with_rows == 0
            ? "Yes, in " + (cells == 1 ? "the only cell" : "all " + std::to_string(cells) + " cells") +
                  " with several hidden dims: one pair of limits in bytes costs at most " + share(worst_without) +
                  "\nof time against limits for each hidden_dim alone.\n"
            : "No, not in " + std::to_string(with_rows) + " of " + std::to_string(cells) +
                  " cells: there one pair of limits in bytes costs over 1 % of time (up to " + share(worst, 1) +
                  ") at some\nhidden_dim, which has a row of its own. In the others it costs at most " +
                  share(worst_without) + ".\n";
    return "\n## Is it bytes?\n\n" + answer + "\n" + markdown_table(rows);
}

std::string cell_details(const Cell& cell) {
    std::string out = "### " + to_string(cell.key) + "\n\n";
    for (const auto& facts : {cell_facts(cell), row_facts(cell), launch_facts(cell)})
        for (const std::string& fact : facts) out += "- " + fact + "\n";
    return out;
}

std::string provenance_table(const Table& table) {
    std::vector<std::vector<std::string>> rows = provenance_rows(table);
    rows.insert(rows.begin(), {"what", "value"});
    return markdown_table(rows);
}

} // namespace

std::string emit_summary(const Table& table) {
    std::string out;
    for (auto cell = table.cells.begin(); cell != table.cells.end();) {
        const std::string group = group_name(cell->key);
        std::vector<std::vector<std::string>> rows{is_moe(cell->key.pattern) ? moe_head(cell->key.pattern)
                                                                             : kSummaryHead};
        std::string remarks;
        for (; cell != table.cells.end() && group_name(cell->key) == group; ++cell) {
            rows.push_back(summary_row(*cell));
            remarks += remark_on(*cell);
        }
        out += (out.empty() ? "" : "\n") + group + "\n\n" + markdown_table(rows) + remarks;
    }
    return out.empty() ? "no cells\n" : out;
}

std::string emit_markdown(const Table& table) {
    std::string out = "# Dispatch table for " + comment_line(table.fingerprint.sku) + "\n\n" + emit_summary(table) +
                      "\n" + how_to_read(table.cells) + "\n\n## Where the numbers come from\n\n" +
                      provenance_table(table) + is_it_bytes(table) + "\n## Cells\n";
    for (const Cell& cell : table.cells) out.append("\n").append(cell_details(cell));
    return out;
}

} // namespace crossover
