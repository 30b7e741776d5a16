/// table.yaml, read and checked. yaml.cpp writes it.
#include "output/emit.hpp"
#include "tuner/provenance_yaml.hpp"
#include "tuner/read_file.hpp"
#include "tuner/yaml_map.hpp"
#include "tuner/yaml_writer.hpp"

#include <algorithm>
#include <array>
#include <span>
#include <tuple>

namespace crossover {
namespace {

/// Steps of the migration path: element v-1 turns a document of schema v into one of schema v+1. Raising
/// kTableSchemaVersion without adding the step does not compile.
using Migration = void (*)(YAML::Node& document);
constexpr std::span<const Migration> kMigrations{};
static_assert(kMigrations.size() == kTableSchemaVersion - 1);

void migrate(YAML::Node& document, const std::string& file) {
    YamlMap map(document, file, "the table");
    const int version = map.get<int>("schema_version");
    if (version > kTableSchemaVersion)
        map.fail(map.get_node("schema_version"),
                 "schema_version " + std::to_string(version) + " is newer than " + std::to_string(kTableSchemaVersion) +
                     ", the newest this Crossover reads",
                 "read it with the Crossover that wrote it" +
                     (map.find_node("crossover_version") ? ", " + map.get<std::string>("crossover_version") : ""));
    if (version < 1)
        map.fail(map.get_node("schema_version"), "schema_version is " + std::to_string(version), "write 1 or more");
    for (int step = version; step < kTableSchemaVersion; ++step)
        kMigrations[static_cast<std::size_t>(step) - 1](document);
    document["schema_version"] = number_node(kTableSchemaVersion);
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

Interval parse_interval(const YAML::Node& node, const std::string& file) {
    YamlMap map(node, file, "an interval");
    Interval interval;
    interval.min_bytes = map.get<std::uint64_t>("min_bytes");
    const YAML::Node max_bytes = map.get_node("max_bytes");
    if (scalar_as<std::uint64_t>(max_bytes) == UINT64_MAX)
        map.fail(max_bytes, "`max_bytes` leaves nothing above it", "write null");
    if (!max_bytes.IsNull()) interval.max_bytes = map.as<std::uint64_t>(max_bytes, "max_bytes");
    interval.algorithm = map.get<std::string>("algorithm");
    if (interval.algorithm.empty()) map.fail(node, "`algorithm` is empty", "name an algorithm or write not_measured");
    if (interval.max_bytes && *interval.max_bytes < interval.min_bytes)
        map.fail(max_bytes,
                 "the interval ends at " + std::to_string(*interval.max_bytes) + ", before its start at " +
                     std::to_string(interval.min_bytes),
                 "write max_bytes >= min_bytes (both inclusive)");
    map.finish();
    return interval;
}

/// Intervals start at 0, each next one a byte after the last, and the last one is open.
std::vector<Interval> parse_intervals(YamlMap& cell) {
    std::vector<Interval> intervals;
    std::uint64_t next = 0;
    for (const YAML::Node& node : cell.find_sequence("intervals")) {
        Interval interval = parse_interval(node, cell.file());
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

Regret parse_regret(const YAML::Node& node, const std::string& file) {
    YamlMap map(node, file, "`regret`");
    const Regret regret{.mean = map.get<double>("mean"),
                        .max = map.get<double>("max"),
                        .points = map.get<int>("points"),
                        .held_out = map.find<bool>("held_out").value_or(false)};
    map.finish();
    return regret;
}

HiddenDimSpread parse_spread(const YAML::Node& node, const std::string& file) {
    YamlMap map(node, file, "`spread`");
    const HiddenDimSpread spread{.hidden_dims = map.get<int>("hidden_dims"),
                                 .oneshot = find_range(map, "oneshot_max_bytes"),
                                 .twoshot = find_range(map, "twoshot_max_bytes"),
                                 .mean_cost = map.get<double>("mean_cost"),
                                 .worst_cost = map.get<double>("worst_cost")};
    map.finish();
    return spread;
}

/// What a cell and a row of one hidden_dim share, and what must hold of it.
template <class Limits>
void parse_limits(YamlMap& map, const YAML::Node& node, Pattern pattern, Limits& limits) {
    limits.status = map.get_word("status", kCellStatuses);
    limits.oneshot = parse_threshold(map, "oneshot");
    limits.twoshot = parse_threshold(map, "twoshot");
    if (is_moe(pattern)) limits.onset = parse_onset(map, std::string(onset_name(pattern)));
    limits.baseline = map.find<std::string>("baseline").value_or("");
    limits.workspace_bytes = map.find<std::uint64_t>("workspace_bytes").value_or(0);
    limits.intervals = parse_intervals(map);

    if (limits.status == CellStatus::measured && limits.intervals.empty())
        map.fail(node, "a measured cell without `intervals`", "add them, or write status: not_measured");
    if (limits.status == CellStatus::tie && limits.baseline.empty())
        map.fail(node, "a tie without `baseline`", "name the algorithm to run");
    if ((limits.status == CellStatus::not_measured || limits.status == CellStatus::unsupported) &&
        (limits.oneshot || limits.twoshot || limits.onset || !limits.intervals.empty()))
        map.fail(node, "a cell that is " + std::string(to_string(limits.status)) + " has thresholds or intervals",
                 "remove them, or write status: measured");
}

HiddenDimRow parse_row(const YAML::Node& node, const std::string& file, Pattern pattern) {
    YamlMap map(node, file, "a row of `hidden_dims`");
    HiddenDimRow row;
    row.hidden_dim = map.get<std::int64_t>("hidden_dim");
    if (row.hidden_dim < 1)
        map.fail(map.get_node("hidden_dim"), "`hidden_dim` is " + std::to_string(row.hidden_dim), "write 1 or more");
    parse_limits(map, node, pattern, row);
    if (row.status != CellStatus::measured && row.status != CellStatus::tie)
        map.fail(map.get_node("status"), "a row that says nothing", "leave it out: the cell's limits then hold");
    map.finish();
    return row;
}

/// A number that a kernel could be launched with.
int take_launch_number(YamlMap& map, const std::string& key, int lowest, int highest, int step = 1) {
    const int value = map.get<int>(key);
    if (value < lowest || value > highest || value % step != 0)
        map.fail(map.get_node(key), "`" + key + "` is " + std::to_string(value),
                 "write " + std::string(step > 1 ? "a multiple of " + std::to_string(step) + " " : "") + "from " +
                     std::to_string(lowest) + " to " + std::to_string(highest));
    return value;
}

LaunchRow parse_launch_row(const YAML::Node& node, const std::string& file) {
    constexpr int kMany = 1 << 15; // more CTAs than any GPU holds at a time
    YamlMap map(node, file, "a row of `launches`");
    LaunchRow row;
    row.algorithm = map.get<std::string>("algorithm");
    if (!algorithm::is_fused(row.algorithm))
        map.fail(map.get_node("algorithm"), "`algorithm` is `" + row.algorithm + "`", "write oneshot or twoshot");
    row.hidden_dim = map.get<std::int64_t>("hidden_dim");
    if (row.hidden_dim < 1)
        map.fail(map.get_node("hidden_dim"), "`hidden_dim` is " + std::to_string(row.hidden_dim), "write 1 or more");
    row.min_bytes = map.get<std::uint64_t>("min_bytes");
    row.max_bytes = map.get<std::uint64_t>("max_bytes");
    if (row.max_bytes < row.min_bytes)
        map.fail(map.get_node("max_bytes"), "the row ends before its start at " + std::to_string(row.min_bytes),
                 "write max_bytes >= min_bytes (both inclusive)");
    row.launch.cluster_size = take_launch_number(map, "cluster_size", 1, 16);
    row.launch.clusters = take_launch_number(map, "clusters", 1, kMany);
    row.launch.threads = take_launch_number(map, "threads", 32, 512, 32);
    row.launch.push_ahead = take_launch_number(map, "push_ahead", 0, kMany);
    row.launch.consume_behind = take_launch_number(map, "consume_behind", 0, kMany);
    map.finish();
    return row;
}

/// Rows by algorithm, hidden_dim and bytes; none overlaps the one before it.
std::vector<LaunchRow> parse_launches(YamlMap& cell) {
    std::vector<LaunchRow> rows;
    for (const YAML::Node& node : cell.find_sequence("launches")) {
        rows.push_back(parse_launch_row(node, cell.file()));
        if (rows.size() == 1) continue;
        const LaunchRow& before = rows[rows.size() - 2];
        const LaunchRow& row = rows.back();
        const auto of = [](const LaunchRow& each) { return std::tie(each.algorithm, each.hidden_dim); };
        if (of(before) > of(row) || (of(before) == of(row) && before.max_bytes >= row.min_bytes))
            cell.fail(node, "a row of `launches` that does not ascend",
                      "sort them by algorithm, hidden_dim and bytes, without overlaps");
    }
    return rows;
}

Cell parse_cell(const YAML::Node& node, const std::string& file) {
    YamlMap map(node, file, "a cell");
    Cell cell;
    cell.key.pattern = map.get_word("pattern", kPatterns);
    cell.key.dtype = map.get_word("dtype", kDTypes);
    cell.key.quant = map.get_word("quant", kQuants);
    cell.key.world_size = map.get<int>("world_size");
    if (cell.key.world_size < 2)
        map.fail(map.get_node("world_size"), "`world_size` is " + std::to_string(cell.key.world_size),
                 "write 2 or more");
    parse_limits(map, node, cell.key.pattern, cell);
    if (const auto range = find_range(map, "measured_bytes")) {
        cell.measured_min_bytes = (*range)[0];
        cell.measured_max_bytes = (*range)[1];
    }
    if (const auto spread = map.find_node("spread")) cell.spread = parse_spread(*spread, file);
    for (const YAML::Node& row : map.find_sequence("hidden_dims")) {
        cell.hidden_dims.push_back(parse_row(row, file, cell.key.pattern));
        const auto& rows = cell.hidden_dims;
        if (rows.size() > 1 && rows.back().hidden_dim <= rows[rows.size() - 2].hidden_dim)
            map.fail(row, "hidden_dim " + std::to_string(rows.back().hidden_dim) + " does not ascend",
                     "sort the rows by hidden_dim, one each");
    }
    if (!cell.hidden_dims.empty() && cell.status != CellStatus::measured && cell.status != CellStatus::tie)
        map.fail(node, "a cell that is " + std::string(to_string(cell.status)) + " has `hidden_dims`",
                 "remove them, or write status: measured");
    cell.launches = parse_launches(map);
    if (const auto regret = map.find_node("regret")) cell.regret = parse_regret(*regret, file);
    cell.note = map.find<std::string>("note").value_or("");
    map.finish();
    return cell;
}

} // namespace

Table parse_table(const std::string& text, const std::string& where) {
    YAML::Node document = load_yaml(text, where);
    if (document.IsNull())
        throw InputError(where, "the table is empty", "name a table.yaml that `crossover fit` wrote");
    migrate(document, where);

    YamlMap map(document, where, "the table");
    Table table;
    table.schema_version = map.get<int>("schema_version");
    table.crossover_version = map.get<std::string>("crossover_version");
    table.fingerprint = take_fingerprint(map);
    table.source = map.get_word("source", kSources);
    if (const auto provenance = map.find_node("provenance")) table.provenance = parse_provenance(*provenance, where);
    map.get_node("cells"); // an empty list is a table; a missing one is a mistake
    for (const YAML::Node& node : map.find_sequence("cells")) {
        table.cells.push_back(parse_cell(node, where));
        const CellKey& key = table.cells.back().key;
        for (const Cell& earlier : std::span(table.cells).first(table.cells.size() - 1))
            if (earlier.key == key) map.fail(node, "the cell " + to_string(key) + " stands twice", "keep one");
    }
    map.finish();
    std::sort(table.cells.begin(), table.cells.end(), [](const Cell& a, const Cell& b) { return a.key < b.key; });
    return table;
}

Table read_table(const std::filesystem::path& path) { return parse_table(read_file(path, "the table"), path.string()); }

} // namespace crossover
