#include "output/document.hpp"
#include "output/emit.hpp"
#include "tuner/provenance_yaml.hpp"
#include "tuner/read_file.hpp"
#include "tuner/yaml_map.hpp"
#include "tuner/yaml_writer.hpp"

#include <array>
#include <span>

namespace crossover {
namespace {

// ---- writing ----

template <class... Numbers>
YAML::Node flow_list(Numbers... numbers) {
    YAML::Node list(YAML::NodeType::Sequence);
    (list.push_back(number_node(numbers)), ...);
    list.SetStyle(YAML::EmitterStyle::Flow);
    return list;
}

void put_threshold(YAML::Node& cell, const std::string& name, const std::optional<Threshold>& threshold) {
    if (!threshold) return; // absent = not measured; 0 = never
    cell[name + "_max_bytes"] = number_node(threshold->max_bytes);
    if (threshold->ci95) cell[name + "_max_bytes_ci95"] = flow_list((*threshold->ci95)[0], (*threshold->ci95)[1]);
    cell[name + "_limited_by"] = text_node(to_string(threshold->limited_by));
    if (threshold->gain_at_edge) cell[name + "_gain_at_edge"] = number_node(*threshold->gain_at_edge);
}

YAML::Node to_node(const Interval& interval) {
    YAML::Node node(YAML::NodeType::Map);
    node["min_bytes"] = number_node(interval.min_bytes);
    node["max_bytes"] = interval.max_bytes ? number_node(*interval.max_bytes) : YAML::Node(YAML::NodeType::Null);
    node["algorithm"] = text_node(interval.algorithm);
    node.SetStyle(YAML::EmitterStyle::Flow);
    return node;
}

YAML::Node to_node(const Regret& regret) {
    YAML::Node node(YAML::NodeType::Map);
    node["mean"] = number_node(regret.mean);
    node["max"] = number_node(regret.max);
    node["points"] = number_node(regret.points);
    if (regret.held_out) node["held_out"] = bool_node(true);
    node.SetStyle(YAML::EmitterStyle::Flow);
    return node;
}

YAML::Node to_node(const Cell& cell) {
    YAML::Node node(YAML::NodeType::Map);
    node["pattern"] = text_node(to_string(cell.key.pattern));
    node["dtype"] = text_node(to_string(cell.key.dtype));
    node["quant"] = text_node(to_string(cell.key.quant));
    node["world_size"] = number_node(cell.key.world_size);
    node["status"] = text_node(to_string(cell.status));
    put_threshold(node, "oneshot", cell.oneshot);
    put_threshold(node, "twoshot", cell.twoshot);
    if (!cell.baseline.empty()) node["baseline"] = text_node(cell.baseline);
    if (cell.workspace_bytes > 0) node["workspace_bytes"] = number_node(cell.workspace_bytes);
    if (cell.measured_max_bytes > 0)
        node["measured_bytes"] = flow_list(cell.measured_min_bytes, cell.measured_max_bytes);
    for (const Interval& interval : cell.intervals) node["intervals"].push_back(to_node(interval));
    if (cell.regret) node["regret"] = to_node(*cell.regret);
    if (!cell.note.empty()) node["note"] = text_node(cell.note);
    return node;
}

// ---- reading ----

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

template <class E>
auto word_among(std::initializer_list<E> values) {
    return [values](const std::string& word) -> std::optional<E> {
        for (const E value : values)
            if (to_string(value) == word) return value;
        return std::nullopt;
    };
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
    if (has_limit)
        threshold.limited_by = cell.get_word(name + "_limited_by",
                                             word_among({LimitedBy::crossover, LimitedBy::range, LimitedBy::workspace}),
                                             "crossover, range, workspace");
    return threshold;
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

Cell parse_cell(const YAML::Node& node, const std::string& file) {
    YamlMap map(node, file, "a cell");
    Cell cell;
    cell.key.pattern =
        map.get_word("pattern", parse_pattern, "allreduce, allreduce_rmsnorm, allreduce_residual_rmsnorm");
    cell.key.dtype = map.get_word("dtype", parse_dtype, "bfloat16, float16, float32");
    cell.key.quant = map.get_word("quant", parse_quant, "none, fp8, fp4");
    cell.key.world_size = map.get<int>("world_size");
    if (cell.key.world_size < 2)
        map.fail(map.get_node("world_size"), "`world_size` is " + std::to_string(cell.key.world_size),
                 "write 2 or more");
    cell.status = map.get_word(
        "status",
        word_among({CellStatus::measured, CellStatus::tie, CellStatus::not_measured, CellStatus::unsupported}),
        "measured, tie, not_measured, unsupported");
    cell.oneshot = parse_threshold(map, "oneshot");
    cell.twoshot = parse_threshold(map, "twoshot");
    cell.baseline = map.find<std::string>("baseline").value_or("");
    cell.workspace_bytes = map.find<std::uint64_t>("workspace_bytes").value_or(0);
    if (const auto range = find_range(map, "measured_bytes")) {
        cell.measured_min_bytes = (*range)[0];
        cell.measured_max_bytes = (*range)[1];
    }
    cell.intervals = parse_intervals(map);
    if (const auto regret = map.find_node("regret")) cell.regret = parse_regret(*regret, file);
    cell.note = map.find<std::string>("note").value_or("");
    map.finish();

    if (cell.status == CellStatus::measured && cell.intervals.empty())
        map.fail(node, "a measured cell without `intervals`", "add them, or write status: not_measured");
    if (cell.status == CellStatus::tie && cell.baseline.empty())
        map.fail(node, "a tie without `baseline`", "name the algorithm to run");
    if ((cell.status == CellStatus::not_measured || cell.status == CellStatus::unsupported) &&
        (cell.oneshot || cell.twoshot || !cell.intervals.empty()))
        map.fail(node, "a cell that is " + std::string(to_string(cell.status)) + " has thresholds or intervals",
                 "remove them, or write status: measured");
    return cell;
}

} // namespace

YAML::Node to_document(const Table& table) {
    YAML::Node document(YAML::NodeType::Map);
    document["schema_version"] = number_node(table.schema_version);
    document["crossover_version"] = text_node(table.crossover_version);
    put_fingerprint(document, table.fingerprint);
    document["source"] = text_node(table.source);
    document["provenance"] = to_node(table.provenance);
    document["cells"] = YAML::Node(YAML::NodeType::Sequence);
    for (const Cell& cell : table.cells) document["cells"].push_back(to_node(cell));
    return document;
}

std::string emit_yaml(const Table& table) { return write_yaml(to_document(table)); }

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
    table.source = map.get_word(
        "source",
        [](const std::string& word) -> std::optional<std::string> {
            if (word == "gpu" || word == "recording" || word == "import") return word;
            return std::nullopt;
        },
        "gpu, recording, import");
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
