/// table.yaml, read and checked. yaml.cpp writes it.
#include "output/emit.hpp"
#include "output/read_limits.hpp"
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

/// Says so where it is another file of Crossover's, by a key that only these have.
void refuse_other_files(YamlMap& map) {
    struct Other {
        const char *key, *what, *remedy;
    };
    constexpr Other kRun{"gpus", "the provenance.yaml of a run", "name the table.yaml beside it"};
    constexpr Other kOthers[] = {kRun,
                                 {"config", kRun.what, kRun.remedy},
                                 {"sweep", "a config", "name a table.yaml that `crossover tune` wrote"},
                                 {"incumbent", "an engine's rule", "only `evaluate` and `report --against` take one"}};
    for (const Other& other : kOthers)
        if (map.find_node(other.key))
            map.fail(map.node(), "is " + std::string(other.what) + ", no table", other.remedy);
}

void migrate(YAML::Node& document, const std::string& file) {
    YamlMap map(document, file, "the table");
    const bool has_maker = map.find_node("crossover_version").has_value(); // no misspelt schema_version
    if (!map.find_node("schema_version")) refuse_other_files(map);
    const int version = map.get<int>("schema_version");
    if (version > kTableSchemaVersion)
        map.fail(map.get_node("schema_version"),
                 "schema_version " + std::to_string(version) + " is newer than " + std::to_string(kTableSchemaVersion) +
                     ", the newest this Crossover reads",
                 "read it with the Crossover that wrote it" +
                     (has_maker ? ", " + map.get<std::string>("crossover_version") : ""));
    if (version < 1)
        map.fail(map.get_node("schema_version"), "schema_version is " + std::to_string(version), "write 1 or more");
    for (int step = version; step < kTableSchemaVersion; ++step)
        kMigrations[static_cast<std::size_t>(step) - 1](document);
    document["schema_version"] = number_node(kTableSchemaVersion);
}

Regret parse_regret(YamlMap map) {
    const Regret regret{.mean = map.get<double>("mean"),
                        .max = map.get<double>("max"),
                        .points = map.get<int>("points"),
                        .held_out = map.find<bool>("held_out").value_or(false)};
    map.finish();
    return regret;
}

HiddenDimSpread parse_spread(YamlMap map) {
    const HiddenDimSpread spread{.hidden_dims = map.get<int>("hidden_dims"),
                                 .oneshot = find_range(map, "oneshot_max_bytes"),
                                 .twoshot = find_range(map, "twoshot_max_bytes"),
                                 .mean_cost = map.get<double>("mean_cost"),
                                 .worst_cost = map.get<double>("worst_cost")};
    map.finish();
    return spread;
}

HiddenDimRow parse_row(const YAML::Node& node, const std::string& file, Pattern pattern, const Names& names) {
    YamlMap map(node, file, "a row of `hidden_dims`");
    HiddenDimRow row;
    row.hidden_dim = map.get<std::int64_t>("hidden_dim");
    if (row.hidden_dim < 1)
        map.fail(map.get_node("hidden_dim"), "`hidden_dim` is " + std::to_string(row.hidden_dim), "write 1 or more");
    parse_limits(map, pattern, names, row);
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

Cell parse_cell(const YAML::Node& node, const std::string& file, const Names& names) {
    YamlMap map(node, file, "a cell");
    Cell cell;
    cell.key.pattern = map.get_word("pattern", kPatterns);
    cell.key.dtype = map.get_word("dtype", kDTypes);
    cell.key.quant = map.get_word("quant", kQuants);
    cell.key.world_size = map.get<int>("world_size");
    if (cell.key.world_size < 2)
        map.fail(map.get_node("world_size"), "`world_size` is " + std::to_string(cell.key.world_size),
                 "write 2 or more");
    parse_limits(map, cell.key.pattern, names, cell);
    if (const auto range = find_range(map, "measured_bytes")) {
        cell.measured_min_bytes = (*range)[0];
        cell.measured_max_bytes = (*range)[1];
    }
    if (const auto spread = map.find_map("spread")) cell.spread = parse_spread(*spread);
    for (const YAML::Node& row : map.find_sequence("hidden_dims")) {
        cell.hidden_dims.push_back(parse_row(row, file, cell.key.pattern, names));
        const auto& rows = cell.hidden_dims;
        if (rows.size() > 1 && rows.back().hidden_dim <= rows[rows.size() - 2].hidden_dim)
            map.fail(row, "hidden_dim " + std::to_string(rows.back().hidden_dim) + " does not ascend",
                     "sort the rows by hidden_dim, one each");
    }
    if (!cell.hidden_dims.empty() && cell.status != CellStatus::measured && cell.status != CellStatus::tie)
        map.fail(node, "a cell that is " + std::string(to_string(cell.status)) + " has `hidden_dims`",
                 "remove them, or write status: measured");
    cell.launches = parse_launches(map);
    if (const auto regret = map.find_map("regret")) cell.regret = parse_regret(*regret);
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
    if (const auto provenance = map.find_map("provenance")) table.provenance = parse_provenance(*provenance);
    const Names names = names_of(table);
    map.get_node("cells"); // an empty list is a table; a missing one is a mistake
    for (const YAML::Node& node : map.find_sequence("cells")) {
        table.cells.push_back(parse_cell(node, where, names));
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
