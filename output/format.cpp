#include "output/format.hpp"

#include "output/limits.hpp"
#include "tuner/launch_name.hpp"
#include "tuner/one_line.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

namespace crossover {
namespace {

std::string escaped(const std::string& cell) {
    std::string out;
    for (const char c : cell) {
        if (c == '|') out += '\\';
        out += c == '\n' || c == '\r' ? ' ' : c;
    }
    return out;
}

/// Code points: what a terminal shows of "≥" or "µ" is one column wide.
std::size_t width(const std::string& text) {
    return static_cast<std::size_t>(
        std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

} // namespace

std::string human_bytes(std::uint64_t bytes) {
    constexpr std::array kUnits{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    std::size_t unit = 0;
    auto value = static_cast<double>(bytes);
    for (; value >= 1023.5 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
    std::array<char, 32> text;
    std::snprintf(text.data(), text.size(), "%.*f", value < 10 ? 2 : value < 100 ? 1 : 0, value);
    double shown = std::stod(text.data());
    std::string digits = text.data();
    if (digits.find('.') != std::string::npos) {
        digits.erase(digits.find_last_not_of('0') + 1);
        if (digits.back() == '.') digits.pop_back();
    }
    return (shown == value ? "" : "~") + digits + " " + kUnits[unit];
}

std::string fixed(double value, int decimals) {
    std::array<char, 64> text;
    std::snprintf(text.data(), text.size(), "%.*f", decimals, value);
    const std::string digits = text.data();
    return digits.front() == '-' && digits.find_first_not_of("-0.") == std::string::npos ? digits.substr(1) : digits;
}

std::string percent(double fraction, int decimals) {
    std::array<char, 64> text;
    std::snprintf(text.data(), text.size(), "%+.*f %%", decimals, fraction * 100);
    return text.data();
}

std::string comment_line(std::string text) {
    text = one_line(std::move(text));
    std::replace(text.begin(), text.end(), '\\', ' ');
    return text;
}

std::string machine_text(const Fingerprint& machine) {
    return comment_line(machine.sku + ", compute capability " + machine.compute_capability + ", " + machine.topology +
                        ", multicast " + (machine.multicast ? "on" : "off") + ", nodes " +
                        std::to_string(machine.nodes));
}

std::string origin_text(const Table& table) {
    const Provenance& from = table.provenance;
    std::string text = "source " + table.source;
    const auto add = [&text](const char* name, const std::string& value) {
        if (!value.empty()) text.append(", ").append(name).append(" ").append(value);
    };
    add("Crossover", table.crossover_version);
    add("driver", from.driver);
    add("CUDA", from.cuda);
    add("NCCL", from.nccl);
    add("date", from.date);
    add("sessions", std::to_string(from.sessions));
    add("samples", std::to_string(from.samples));
    return comment_line(text);
}

std::string size_text(std::uint64_t bytes) { return std::to_string(bytes) + " (" + human_bytes(bytes) + ")"; }

std::string threshold_text(const Cell& cell, std::string_view name) {
    const std::optional<Threshold>& threshold = threshold_of(cell, name);
    if (cell.status == CellStatus::tie) return "tie";
    if (cell.status == CellStatus::unsupported) return "unsupported";
    if (!threshold) return algorithm::does(name, cell.key.pattern) ? "not measured" : "unsupported";
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

std::string range_text(const std::optional<std::array<std::uint64_t, 2>>& bytes) {
    return bytes ? human_bytes((*bytes)[0]) + " … " + human_bytes((*bytes)[1]) : "–";
}

std::string interval_text(const Interval& interval) {
    if (!interval.max_bytes) return "from " + size_text(interval.min_bytes) + ": " + interval.algorithm;
    return size_text(interval.min_bytes) + " to " + size_text(*interval.max_bytes) + ": " + interval.algorithm;
}

std::string onset_text(const Cell& cell) {
    if (cell.status == CellStatus::tie) return "tie";
    if (cell.status == CellStatus::unsupported) return "unsupported";
    if (!cell.onset) return "not measured";
    if (!cell.onset->min_bytes) return "never up to " + human_bytes(cell.measured_max_bytes);
    return *cell.onset->min_bytes == 0 ? "0 (always)" : size_text(*cell.onset->min_bytes);
}

std::string then_text(const Cell& cell) {
    std::string names;
    for (const Interval& interval : cell.intervals)
        if (algorithm::is_challenger(interval.algorithm) && names.find(interval.algorithm) == std::string::npos)
            names += (names.empty() ? "" : ", ") + interval.algorithm;
    return names.empty() ? "–" : names;
}

std::string group_name(const CellKey& key) {
    return std::string(to_string(key.pattern)) + ", " + std::string(to_string(key.dtype));
}

std::vector<std::string> cell_facts(const Cell& cell) {
    std::vector<std::string> facts{"status: " + std::string(to_string(cell.status))};
    if (!cell.baseline.empty()) facts.push_back("baseline: " + cell.baseline);
    if (cell.measured_max_bytes > 0)
        facts.push_back("measured from " + size_text(cell.measured_min_bytes) + " to " +
                        size_text(cell.measured_max_bytes));
    if (cell.workspace_bytes > 0)
        facts.push_back("workspace of the fused algorithms: " + size_text(cell.workspace_bytes));
    if (cell.regret)
        facts.push_back("time lost against the best algorithm at " + std::to_string(cell.regret->points) +
                        (cell.regret->held_out ? " held-out points: mean " : " points, those it was fitted to: mean ") +
                        percent(cell.regret->mean, 2) + ", worst " + percent(cell.regret->max, 2));
    if (!cell.note.empty()) facts.push_back("note: " + comment_line(cell.note));
    for (const Interval& interval : cell.intervals) facts.push_back(interval_text(interval));
    return facts;
}

std::vector<std::string> row_facts(const Cell& cell) {
    std::vector<std::string> facts;
    for (const HiddenDimRow& row : cell.hidden_dims) {
        const Cell model = for_hidden_dim(cell, row.hidden_dim);
        const std::string limits = is_moe(cell.key.pattern)
                                       ? then_text(model) + " from " + onset_text(model)
                                       : "oneshot max " + threshold_text(model, algorithm::oneshot) + ", twoshot max " +
                                             threshold_text(model, algorithm::twoshot);
        std::string fact =
            "hidden_dim " + std::to_string(row.hidden_dim) + " by itself: " + limits + ", baseline " + model.baseline;
        if (!limits_tell_all(model))
            for (const Interval& interval : row.intervals) fact += "; " + interval_text(interval);
        facts.push_back(std::move(fact));
    }
    return facts;
}

std::vector<std::string> launch_facts(const Cell& cell) {
    std::vector<std::string> facts;
    for (const LaunchRow& row : cell.launches)
        facts.push_back(row.algorithm + " at hidden_dim " + std::to_string(row.hidden_dim) + ", " +
                        size_text(row.min_bytes) + " to " + size_text(row.max_bytes) + ", launched with " +
                        to_string(row.launch));
    return facts;
}

std::string how_to_read(const std::vector<Cell>& cells) {
    const auto moe = [](const Cell& cell) { return is_moe(cell.key.pattern); };
    std::string words = "Sizes are bytes of one rank's input tensor (tokens × hidden_dim × element size), inclusive";
    if (cells.empty() || !std::ranges::all_of(cells, moe))
        words +=
            ": up to “oneshot max” use oneshot, above it and up to “twoshot max” twoshot, above that the baseline, "
            "the fastest unfused algorithm there. 0 means never; “≥”: still the fastest at the largest size "
            "measured. The gain at an edge is the time of the next algorithm over this one's, at the largest "
            "measured size not above the limit. NCCL sums in the tensor's dtype and in an order of its own: where a "
            "limit to an unfused algorithm moves, results change in their last bits";
    words += ".";
    if (std::ranges::any_of(cells, moe))
        words +=
            " Of MoE operations they are the mean over the ranks: below “quantize before gather from” and "
            "“reduce-scatter from” use the baseline, from there on what displaces it. Their gain at an edge is the "
            "baseline's time over the challenger's, at the smallest measured size from the limit on.";
    return words;
}

std::vector<std::vector<std::string>> provenance_rows(const Table& table) {
    const Provenance& provenance = table.provenance;
    const Fingerprint& machine = table.fingerprint;
    std::vector<std::vector<std::string>> rows{{"GPU", machine.sku},
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
    return rows;
}

std::string markdown_table(const std::vector<std::vector<std::string>>& rows) {
    std::vector<std::size_t> widths(rows.front().size(), 3);
    for (const auto& row : rows)
        for (std::size_t column = 0; column < row.size(); ++column)
            widths[column] = std::max(widths[column], width(escaped(row[column])));

    std::string out;
    for (std::size_t index = 0; index < rows.size(); ++index) {
        out += "|";
        for (std::size_t column = 0; column < rows[index].size(); ++column) {
            const std::string cell = escaped(rows[index][column]);
            out += " " + cell + std::string(widths[column] - width(cell), ' ') + " |";
        }
        out += "\n";
        if (index > 0) continue;
        out += "|";
        for (const std::size_t column : widths) out += std::string(column + 2, '-') + "|";
        out += "\n";
    }
    return out;
}

} // namespace crossover
