#include "output/read_limits.hpp"

#include "tuner/nearest.hpp"

#include <algorithm>

namespace crossover {
namespace {

/// Refuses a name within two letters of one of ours.
void check_name(const YamlMap& map, const YAML::Node& at, const std::string& key, const std::string& name,
                const Names& names) {
    constexpr std::size_t kSlip = 2;
    if (names.are_others || name == algorithm::not_measured || names.candidates.contains(name)) return;
    const std::string_view near = nearest(name, algorithm::kOwn);
    if (near == name || near.empty() || edit_distance(name, near) > kSlip) return;
    map.fail(at, "`" + key + "` is `" + name + "`, which no candidate in `provenance` is called",
             "did you mean `" + std::string(near) + "`?");
}

std::optional<Threshold> parse_threshold(YamlMap& cell, const std::string& name) {
    const auto max_bytes = cell.find<std::uint64_t>(name + "_max_bytes");
    const auto ci95 = find_range(cell, name + "_max_bytes_ci95");
    const bool has_limit = cell.find_node(name + "_limited_by").has_value();
    const auto gain = cell.find<double>(name + "_gain_at_edge");
    if (!max_bytes) {
        if (ci95 || has_limit || gain) cell.get_node(name + "_max_bytes"); // throws: it is missing
        return std::nullopt;
    }
    Threshold threshold{.max_bytes = *max_bytes, .ci95 = ci95, .gain_at_edge = gain};
    cell.find_word(name + "_limited_by", kLimitedBy, threshold.limited_by);
    return threshold;
}

/// `name`: onset_name()
std::optional<Onset> parse_onset(YamlMap& cell, const std::string& name) {
    const auto min_bytes = cell.find_node(name + "_min_bytes");
    const auto ci95 = find_range(cell, name + "_min_bytes_ci95");
    const auto gain = cell.find<double>(name + "_gain_at_edge");
    if (!min_bytes) {
        if (ci95 || gain) cell.get_node(name + "_min_bytes"); // throws: it is missing
        return std::nullopt;
    }
    Onset onset{.min_bytes = std::nullopt, .ci95 = ci95, .gain_at_edge = gain};
    if (!min_bytes->IsNull()) onset.min_bytes = cell.as<std::uint64_t>(*min_bytes, name + "_min_bytes");
    return onset;
}

Interval parse_interval(const YAML::Node& node, const std::string& file, const Names& names) {
    YamlMap map(node, file, "an interval");
    Interval interval;
    interval.min_bytes = map.get<std::uint64_t>("min_bytes");
    const YAML::Node max_bytes = map.get_node("max_bytes");
    if (scalar_as<std::uint64_t>(max_bytes) == UINT64_MAX)
        map.fail(max_bytes, "`max_bytes` leaves nothing above it", "write null");
    if (!max_bytes.IsNull()) interval.max_bytes = map.as<std::uint64_t>(max_bytes, "max_bytes");
    interval.algorithm = map.get<std::string>("algorithm");
    if (interval.algorithm.empty()) map.fail(node, "`algorithm` is empty", "name an algorithm or write not_measured");
    check_name(map, map.get_node("algorithm"), "algorithm", interval.algorithm, names);
    if (interval.max_bytes && *interval.max_bytes < interval.min_bytes)
        map.fail(max_bytes,
                 "the interval ends at " + std::to_string(*interval.max_bytes) + ", before its start at " +
                     std::to_string(interval.min_bytes),
                 "write max_bytes >= min_bytes (both inclusive)");
    map.finish();
    return interval;
}

/// Intervals start at 0, each next one a byte after the last, and the last one is open.
std::vector<Interval> parse_intervals(YamlMap& cell, const Names& names) {
    std::vector<Interval> intervals;
    std::uint64_t next = 0;
    for (const YAML::Node& node : cell.find_sequence("intervals")) {
        Interval interval = parse_interval(node, cell.file(), names);
        if (!intervals.empty() && !intervals.back().max_bytes)
            cell.fail(node, "an interval follows the open one", "give the earlier one its max_bytes");
        if (interval.min_bytes != next)
            cell.fail(node,
                      "the interval starts at " + std::to_string(interval.min_bytes) + " where " +
                          std::to_string(next) + " is next",
                      "let intervals join: the first from 0, each from the last max_bytes + 1");
        next = interval.max_bytes.value_or(0) + 1;
        intervals.push_back(std::move(interval));
    }
    if (!intervals.empty() && intervals.back().max_bytes)
        cell.fail(cell.get_node("intervals"), "the last interval ends at " + std::to_string(next - 1),
                  "end with one whose max_bytes is null");
    return intervals;
}

/// Where two limits can say what the intervals say, they must say the same.
template <class Limits>
void check_limits(YamlMap& map, const Limits& limits) {
    const std::optional<RangeEnds> ends = range_ends(limits.intervals);
    if (limits.status != CellStatus::measured || !ends) return;
    for (const std::string_view name : {algorithm::oneshot, algorithm::twoshot}) {
        const bool is_oneshot = name == algorithm::oneshot;
        const std::optional<Threshold>& limit = is_oneshot ? limits.oneshot : limits.twoshot;
        const std::uint64_t end = is_oneshot ? ends->oneshot : ends->twoshot;
        const std::string key = std::string(name) + "_max_bytes";
        const auto is_its = [&](const Interval& interval) { return interval.algorithm == name; };
        if (!limit && std::ranges::any_of(limits.intervals, is_its)) map.get_node(key); // throws: it is missing
        if (end == UINT64_MAX)
            map.fail(map.get_node("intervals"), "the interval of " + std::string(name) + " is open",
                     "end it at `" + key + "`");
        if (limit && limit->max_bytes != end)
            map.fail(map.get_node(key),
                     "`" + key + "` is " + std::to_string(limit->max_bytes) + ", but by its intervals " +
                         std::string(name) + " ends at " + std::to_string(end),
                     "change both alike");
    }
}

} // namespace

Names names_of(const Table& table) {
    Names names{.are_others = table.source == "import"};
    for (const auto& [key, value] : table.provenance.extra)
        if (key.starts_with(kCandidatePrefix)) names.candidates.insert(key.substr(kCandidatePrefix.size()));
    return names;
}

std::optional<std::array<std::uint64_t, 2>> find_range(YamlMap& map, const std::string& key) {
    const std::vector<YAML::Node> ends = map.find_sequence(key);
    if (ends.empty() && !map.find_node(key)) return std::nullopt;
    if (ends.size() != 2)
        map.fail(map.get_node(key), "`" + key + "` has " + std::to_string(ends.size()) + " entries",
                 "write [lowest, highest]");
    const std::array range{map.as<std::uint64_t>(ends[0], key), map.as<std::uint64_t>(ends[1], key)};
    if (range[0] > range[1])
        map.fail(ends[0], "`" + key + "` has its lowest above its highest", "write [lowest, highest]");
    return range;
}

/// Where a MoE cell's one limit can say what its intervals say, it must say the same.
template <class Limits>
void check_onset(YamlMap& map, Pattern pattern, const Limits& limits) {
    if (!is_moe(pattern) || limits.status != CellStatus::measured) return;
    const auto begin = onset_begin(limits.intervals);
    if (!begin) return;
    const std::string key = std::string(onset_name(pattern)) + "_min_bytes";
    if (!limits.onset && begin->min_bytes) map.get_node(key); // throws: it is missing
    if (!limits.onset || limits.onset->min_bytes == begin->min_bytes) return;
    const auto text = [](const std::optional<std::uint64_t>& bytes) { return bytes ? std::to_string(*bytes) : "null"; };
    map.fail(map.get_node(key),
             "`" + key + "` is " + text(limits.onset->min_bytes) + ", but by its intervals it is " +
                 text(begin->min_bytes),
             "change both alike");
}

template <class Limits>
void parse_limits(YamlMap& map, Pattern pattern, const Names& names, Limits& limits) {
    const YAML::Node& node = map.node();
    limits.status = map.get_word("status", kCellStatuses);
    limits.oneshot = parse_threshold(map, "oneshot");
    limits.twoshot = parse_threshold(map, "twoshot");
    if (is_moe(pattern)) limits.onset = parse_onset(map, std::string(onset_name(pattern)));
    if (const auto baseline = map.find_node("baseline")) {
        limits.baseline = map.as<std::string>(*baseline, "baseline");
        check_name(map, *baseline, "baseline", limits.baseline, names);
    }
    limits.workspace_bytes = map.find<std::uint64_t>("workspace_bytes").value_or(0);
    limits.intervals = parse_intervals(map, names);

    if (limits.status == CellStatus::measured && limits.intervals.empty())
        map.fail(node, "a measured cell without `intervals`", "add them, or write status: not_measured");
    if (limits.status == CellStatus::tie && limits.baseline.empty())
        map.fail(node, "a tie without `baseline`", "name the algorithm to run");
    if ((limits.status == CellStatus::not_measured || limits.status == CellStatus::unsupported) &&
        (limits.oneshot || limits.twoshot || limits.onset || !limits.intervals.empty()))
        map.fail(node, "a cell that is " + std::string(to_string(limits.status)) + " has thresholds or intervals",
                 "remove them, or write status: measured");
    check_limits(map, limits);
    check_onset(map, pattern, limits);
}

template void parse_limits(YamlMap& map, Pattern pattern, const Names& names, Cell& limits);
template void parse_limits(YamlMap& map, Pattern pattern, const Names& names, HiddenDimRow& limits);

} // namespace crossover
