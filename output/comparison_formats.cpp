#include "output/comparison.hpp"
#include "output/format.hpp"
#include "output/json.hpp"
#include "tuner/joined.hpp"
#include "tuner/yaml_writer.hpp"

#include <algorithm>
#include <cmath>

namespace crossover {
namespace {

std::string limit_text(const std::optional<Threshold>& limit) {
    if (!limit) return "not measured";
    if (limit->max_bytes == 0) return "never";
    return (limit->limited_by == LimitedBy::range ? "≥ " : "") + std::to_string(limit->max_bytes) + " (" +
           human_bytes(limit->max_bytes) + ")";
}

std::string change_text(const ThresholdChange& change) {
    const std::string before = limit_text(change.before), after = limit_text(change.after);
    return before == after ? before : before + " → " + after;
}

std::string change_text(const CellComparison& cell, std::string_view algorithm) {
    for (const ThresholdChange& change : cell.thresholds)
        if (change.algorithm == algorithm) return change_text(change);
    return "–";
}

/// Computed over the common points, or "about" what the thresholds' moves say.
std::string time_text(const CellComparison& cell) {
    if (cell.time_lost) return percent(*cell.time_lost) + " at " + std::to_string(cell.common_points) + " points";
    double stake = 0;
    for (const ThresholdChange& change : cell.thresholds)
        if (change.verdict != CellVerdict::same && std::abs(change.time_at_stake) > std::abs(stake))
            stake = change.time_at_stake;
    return stake == 0 ? "–" : "about " + percent(stake) + " between the limits";
}

std::vector<const CellComparison*> by_urgency(const Comparison& comparison) {
    using enum CellVerdict;
    std::vector<const CellComparison*> cells;
    for (const CellVerdict verdict : std::array{worse, missing, not_comparable, better, moved, added, same})
        for (const CellComparison& cell : comparison.cells)
            if (cell.verdict == verdict) cells.push_back(&cell);
    return cells;
}

/// "12 cells: 10 same, 1 worse"
std::string counts_text(const Comparison& comparison) {
    std::string text = std::to_string(comparison.cells.size()) + " cells";
    const char* separator = ": ";
    for (const auto& [verdict, name] : kCellVerdicts)
        if (const int count = comparison.count(verdict); count > 0) {
            text.append(separator).append(std::to_string(count)).append(" ").append(name);
            separator = ", ";
        }
    return text;
}

/// "NOT COMPARED" where nothing is known to be worse and nothing to be the same either.
std::string answer_word(const Comparison& comparison) {
    if (!comparison.fails()) return "OK: ";
    const bool any_fails = std::any_of(comparison.cells.begin(), comparison.cells.end(),
                                       [&](const CellComparison& cell) { return comparison.fails(cell); });
    return comparison.compared() || any_fails ? "FAIL: " : "NOT COMPARED: ";
}

std::string answer_text(const Comparison& comparison) {
    const std::string limit = " (limit " + percent(comparison.max_regression).substr(1) + " of time" +
                              (comparison.strict ? ", strict)" : ")");
    return answer_word(comparison) + counts_text(comparison) + limit;
}

std::string difference_text(const Difference& difference) {
    if (!difference.blocks) return difference.text;
    return difference.text + "; not comparable" +
           (difference.remedy.empty() ? "" : ", `" + difference.remedy + "` compares all the same");
}

/// What changed in the same way over all cells.
std::vector<const TimeChange*> machine_changes(const Comparison& comparison) {
    std::vector<const TimeChange*> changes;
    for (const TimeChange& change : comparison.machine_wide)
        if (change.verdict != CellVerdict::same) changes.push_back(&change);
    return changes;
}

std::string machine_text(const TimeChange& change) {
    return std::string(to_string(change.verdict)) + " over all cells: " + to_string(change);
}

std::string xml_escaped(std::string_view text) {
    std::string out;
    for (const char c : text) {
        if (c == '<')
            out += "&lt;";
        else if (c == '>')
            out += "&gt;";
        else if (c == '&')
            out += "&amp;";
        else if (c == '"')
            out += "&quot;";
        else if (c == '\n')
            out += "&#10;";
        else if (static_cast<unsigned char>(c) < 0x20)
            out += ' '; // not allowed in XML 1.0
        else
            out += c;
    }
    return out;
}

YAML::Node to_node(const std::optional<Threshold>& limit) {
    return limit ? number_node(limit->max_bytes) : YAML::Node(YAML::NodeType::Null);
}

YAML::Node to_node(const std::vector<TimeChange>& changes) {
    YAML::Node list(YAML::NodeType::Sequence);
    for (const TimeChange& change : changes) {
        YAML::Node entry(YAML::NodeType::Map);
        entry["what"] = text_node(change.what);
        entry["points"] = number_node(change.points);
        entry["verdict"] = text_node(to_string(change.verdict));
        entry["time_lost"] = number_node(change.lost);
        YAML::Node interval(YAML::NodeType::Sequence);
        interval.SetStyle(YAML::EmitterStyle::Flow);
        for (const double end : change.ci95) interval.push_back(number_node(end));
        entry["time_lost_ci95"] = interval;
        list.push_back(entry);
    }
    return list;
}

YAML::Node to_node(const CellComparison& cell, bool fails) {
    YAML::Node node(YAML::NodeType::Map);
    node["pattern"] = text_node(to_string(cell.key.pattern));
    node["dtype"] = text_node(to_string(cell.key.dtype));
    node["quant"] = text_node(to_string(cell.key.quant));
    node["world_size"] = number_node(cell.key.world_size);
    node["verdict"] = text_node(to_string(cell.verdict));
    node["fails"] = bool_node(fails);
    if (cell.time_lost) node["time_lost"] = number_node(*cell.time_lost);
    node["common_points"] = number_node(cell.common_points);
    node["unmatched_points"] = number_node(cell.unmatched_points);
    node["thresholds"] = YAML::Node(YAML::NodeType::Sequence);
    for (const ThresholdChange& change : cell.thresholds) {
        YAML::Node entry(YAML::NodeType::Map);
        entry["algorithm"] = text_node(change.algorithm);
        entry["old_max_bytes"] = to_node(change.before);
        entry["new_max_bytes"] = to_node(change.after);
        entry["verdict"] = text_node(to_string(change.verdict));
        entry["octaves"] = number_node(change.octaves);
        entry["estimated_time_lost"] = number_node(change.time_at_stake);
        node["thresholds"].push_back(entry);
    }
    node["times"] = to_node(cell.times);
    node["why"] = YAML::Node(YAML::NodeType::Sequence);
    for (const std::string& line : cell.why) node["why"].push_back(text_node(line));
    return node;
}

} // namespace

std::string compare_text(const Comparison& comparison) {
    constexpr std::size_t kVerdictWidth = 16;
    std::string out = "OLD " + comparison.before + "\nNEW " + comparison.after + "\n";
    for (const Difference& difference : comparison.differences) out += "differs: " + difference_text(difference) + "\n";
    for (const TimeChange* change : machine_changes(comparison)) out += machine_text(*change) + "\n";
    out += "\n";
    for (const CellComparison* cell : by_urgency(comparison)) {
        std::string verdict(to_string(cell->verdict));
        verdict.resize(kVerdictWidth, ' ');
        out += verdict + to_string(cell->key) + "\n";
        const auto detail = [&](const std::string& line) { out += std::string(kVerdictWidth + 2, ' ') + line + "\n"; };
        if (cell->verdict != CellVerdict::same)
            for (const ThresholdChange& change : cell->thresholds)
                detail(std::string(change.algorithm) + " max " + change_text(change));
        if (cell->time_lost) detail("time " + time_text(*cell));
        for (const std::string& line : cell->why) detail(line);
    }
    if (!comparison.cells.empty()) out += "\n";
    if (!comparison.caveat.empty()) out += comparison.caveat + "\n";
    return out + answer_text(comparison) + "\n";
}

std::string compare_markdown(const Comparison& comparison) {
    std::string out = "## " + answer_text(comparison) + "\n\nOLD `" + comparison.before + "`, NEW `" +
                      comparison.after + "`, " + comparison.fingerprint.sku + "\n";
    if (!comparison.differences.empty() || !machine_changes(comparison).empty()) out += "\n";
    for (const Difference& difference : comparison.differences)
        out += "- differs: " + difference_text(difference) + "\n";
    for (const TimeChange* change : machine_changes(comparison)) out += "- " + machine_text(*change) + "\n";
    if (comparison.cells.empty()) return out;
    std::vector<std::vector<std::string>> rows{{"verdict", "cell", "oneshot max", "twoshot max", "time"}};
    for (const CellComparison* cell : by_urgency(comparison))
        rows.push_back({(comparison.fails(*cell) ? "**" + std::string(to_string(cell->verdict)) + "**"
                                                 : std::string(to_string(cell->verdict))),
                        to_string(cell->key), change_text(*cell, algorithm::oneshot),
                        change_text(*cell, algorithm::twoshot), time_text(*cell)});
    out += "\n" + markdown_table(rows);
    bool first = true;
    for (const CellComparison* cell : by_urgency(comparison)) {
        if (cell->why.empty()) continue;
        if (first) out += "\n";
        first = false;
        out += "- " + to_string(cell->key) + ": " + joined(cell->why, "; ") + "\n";
    }
    if (!comparison.caveat.empty()) out += "\n" + comparison.caveat + "\n";
    return out;
}

std::string compare_json(const Comparison& comparison) {
    YAML::Node document(YAML::NodeType::Map);
    document["old"] = text_node(comparison.before);
    document["new"] = text_node(comparison.after);
    document["sku"] = text_node(comparison.fingerprint.sku);
    document["fails"] = bool_node(comparison.fails());
    document["comparable"] = bool_node(comparison.comparable());
    document["compared"] = bool_node(comparison.compared());
    document["max_regression"] = number_node(comparison.max_regression);
    document["strict"] = bool_node(comparison.strict);
    document["differences"] = YAML::Node(YAML::NodeType::Sequence);
    for (const Difference& difference : comparison.differences)
        document["differences"].push_back(text_node(difference_text(difference)));
    YAML::Node counts(YAML::NodeType::Map);
    for (const auto& [verdict, name] : kCellVerdicts)
        counts[std::string(name)] = number_node(comparison.count(verdict));
    document["counts"] = counts;
    document["caveat"] = text_node(comparison.caveat);
    document["all_cells"] = to_node(comparison.machine_wide);
    document["cells"] = YAML::Node(YAML::NodeType::Sequence);
    for (const CellComparison& cell : comparison.cells)
        document["cells"].push_back(to_node(cell, comparison.fails(cell)));
    return write_json(document);
}

std::string compare_junit(const Comparison& comparison) {
    std::string cases;
    int tests = 0, failures = 0, skipped = 0;
    const auto add = [&](const std::string& name, const std::string& verdict, const std::string& text, bool fails,
                         bool skips) {
        cases += "    <testcase classname=\"crossover.compare." + xml_escaped(comparison.fingerprint.sku) +
                 "\" name=\"" + xml_escaped(name) + "\"";
        ++tests;
        failures += fails;
        skipped += skips && !fails;
        const std::string message = xml_escaped(verdict + (text.empty() ? "" : ": " + text));
        if (fails)
            cases += ">\n      <failure type=\"" + xml_escaped(verdict) + "\" message=\"" + message +
                     "\"/>\n    </testcase>\n";
        else if (skips)
            cases += ">\n      <skipped message=\"" + message + "\"/>\n    </testcase>\n";
        else
            cases += ">\n      <system-out>" + message + "</system-out>\n    </testcase>\n";
    };
    if (!comparison.comparable()) {
        std::vector<std::string> lines;
        for (const Difference& difference : comparison.differences) lines.push_back(difference_text(difference));
        add("same machine and software", "not comparable", joined(lines, "; "), comparison.strict, true);
    }
    if (!comparison.compared()) add("any cell", "not compared", counts_text(comparison), true, false);
    for (const TimeChange* change : machine_changes(comparison))
        add("all cells", std::string(to_string(change->verdict)), to_string(*change),
            change->verdict == CellVerdict::worse, false);
    for (const CellComparison& cell : comparison.cells) {
        std::vector<std::string> lines = cell.why;
        if (cell.time_lost) lines.insert(lines.begin(), "time " + time_text(cell));
        for (auto change = cell.thresholds.rbegin(); change != cell.thresholds.rend(); ++change)
            lines.insert(lines.begin(), std::string(change->algorithm) + " max " + change_text(*change));
        add(to_string(cell.key), std::string(to_string(cell.verdict)), joined(lines, "; "), comparison.fails(cell),
            cell.verdict == CellVerdict::not_comparable);
    }
    const std::string totals = "tests=\"" + std::to_string(tests) + "\" failures=\"" + std::to_string(failures) +
                               "\" errors=\"0\" skipped=\"" + std::to_string(skipped) + "\"";
    return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites " + totals +
           ">\n  <testsuite name=\"crossover compare\" " + totals + ">\n" + cases + "  </testsuite>\n</testsuites>\n";
}

} // namespace crossover
