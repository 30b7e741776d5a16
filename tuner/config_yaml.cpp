#include "tuner/config_yaml.hpp"

#include "tuner/launch_name.hpp"
#include "tuner/roles.hpp"
#include "tuner/yaml_map.hpp"
#include "tuner/yaml_writer.hpp"

#include <algorithm>
#include <optional>

namespace crossover {
namespace {

// Far beyond any model, and small enough that num_tokens × hidden_dim × 4 bytes cannot overflow.
constexpr std::int64_t kMaxHiddenDim = 1 << 20;
constexpr std::int64_t kMaxTokens = 1 << 30;

// ---- reading ----

/// The values of a list that must be there, none twice; `parse` makes one of a node or throws.
template <class Parse>
auto take_list(YamlMap& map, const std::string& key, Parse parse, bool may_be_empty = false) {
    const YAML::Node list = map.get_node(key);
    std::vector<decltype(parse(list))> values;
    for (const YAML::Node& node : map.find_sequence(key)) {
        auto value = parse(node);
        if (std::find(values.begin(), values.end(), value) != values.end())
            map.fail(node, "`" + key + "` has `" + node.Scalar() + "` twice", "keep one");
        values.push_back(std::move(value));
    }
    if (values.empty() && !may_be_empty) map.fail(list, "`" + key + "` is empty", "name at least one");
    return values;
}

/// What the word of `node` stands for: see tuner/named_words.hpp.
template <class Words>
auto take_word(const YamlMap& map, const YAML::Node& node, const std::string& key, const Words& words) {
    const auto word = map.as<std::string>(node, key);
    for (const auto& entry : words)
        if (word_of(entry) == word) return value_of(entry);
    map.fail(node, "`" + key + "` has unknown `" + word + "`",
             did_you_mean(word, words, "write one of " + listed(words)));
}

template <class Words>
auto take_words(YamlMap& map, const std::string& key, const Words& words) {
    return take_list(map, key, [&](const YAML::Node& node) { return take_word(map, node, key, words); });
}

/// Sizes of one dimension: positive, at most `highest`, multiples of `step`.
std::vector<std::int64_t> take_dimension(YamlMap& map, const std::string& key, std::int64_t highest, int step,
                                         const std::string& why_step, bool may_be_empty) {
    const auto take_size = [&](const YAML::Node& node) {
        const auto size = map.as<std::int64_t>(node, key);
        const std::string found = "`" + key + "` has " + std::to_string(size);
        if (size < 1 || size > highest)
            map.fail(node, found, "write sizes from " + std::to_string(step) + " to " + std::to_string(highest));
        if (size % step != 0)
            map.fail(node, found + ", not a multiple of " + std::to_string(step) + why_step,
                     "write " + std::to_string(size / step * step + step) + " or another multiple");
        return size;
    };
    return take_list(map, key, take_size, may_be_empty);
}

/// Hidden dims that the kernels of these quant modes can take.
std::vector<std::int64_t> take_hidden_dims(YamlMap& map, const Config& config, bool may_be_empty) {
    const bool has_fp4 = std::find(config.quants.begin(), config.quants.end(), Quant::fp4) != config.quants.end();
    return take_dimension(map, "hidden_dims", kMaxHiddenDim, has_fp4 ? 16 : 8,
                          has_fp4 ? " (fp4 has blocks of 16)" : " (16-byte vectors)", may_be_empty);
}

/// Overwrites `value` if the key is there and lies in lowest…highest.
template <class T>
void take_number(YamlMap& map, const std::string& key, T& value, T lowest, T highest) {
    const auto found = map.find<T>(key);
    if (!found) return;
    if (*found < lowest || *found > highest) {
        const auto text = [](T number) { return number_node(number).Scalar(); };
        map.fail(map.get_node(key), "`" + key + "` is " + text(*found),
                 "write a value from " + text(lowest) + " to " + text(highest));
    }
    value = *found;
}

/// What must be in `algorithms` for a pattern, and is not: the reason and the remedy.
struct Lack {
    const char* what;
    const char* remedy;
};
std::optional<Lack> lack_of(const Config& config, Pattern pattern) {
    const std::vector<std::string> algorithms = algorithms_of(in_roles(config), pattern);
    const auto challengers = std::count_if(algorithms.begin(), algorithms.end(), [](const std::string& name) {
        return algorithm::is_challenger(base_of(name));
    });
    const auto bounds = std::count(algorithms.begin(), algorithms.end(), algorithm::floor);
    const bool no_challenger = challengers == 0;
    if (!no_challenger && challengers + bounds < std::ssize(algorithms)) return std::nullopt;
    if (is_moe_dispatch(pattern))
        return no_challenger ? Lack{"nothing quantizes before the gather", "add quantize_nccl_allgather or push"}
                             : Lack{"nothing quantizes after the gather", "add nccl_allgather_quantize"};
    if (is_moe_combine(pattern))
        return no_challenger ? Lack{"no reduce-scatter", "add nccl_reduce_scatter or push"}
                             : Lack{"no all-reduce to compare with", "add nccl_allreduce_slice"};
    if (is_sharded(pattern))
        return no_challenger ? Lack{"no fused algorithm", "add twoshot"}
                             : Lack{"no unfused algorithm to compare with", "add nccl_sharded_norm"};
    return no_challenger ? Lack{"no fused algorithm", "add oneshot or twoshot"}
                         : Lack{"no unfused algorithm to compare with", "add nccl_fused_norm or another unfused one"};
}

void take_sweep(YamlMap map, Config& config) {
    config.world_sizes = take_list(map, "world_sizes", [&](const YAML::Node& entry) {
        const int size = map.as<int>(entry, "world_sizes");
        if (std::find(kWorldSizes.begin(), kWorldSizes.end(), size) == kWorldSizes.end())
            map.fail(entry, "`world_sizes` has " + std::to_string(size), "write 2, 4 or 8");
        return size;
    });
    config.patterns = take_words(map, "patterns", kPatterns);
    config.dtypes = take_words(map, "dtypes", kDTypes);
    config.quants = take_words(map, "quants", kQuants);
    config.hidden_dims = take_hidden_dims(map, config, false);
    config.num_tokens = take_dimension(map, "num_tokens", kMaxTokens, 1, "", false);
    take_number(map, "max_message_bytes", config.max_message_bytes, std::uint64_t{1}, std::uint64_t{1} << 40);
    config.algorithms = take_list(map, "algorithms", [&](const YAML::Node& entry) {
        auto word = map.as<std::string>(entry, "algorithms");
        for (const PluginInfo& candidate : config.candidates)
            if (candidate.name == word) return word;
        if (parse_launched(word, place_of(map.file(), entry)).launch) return word;
        return take_word(map, entry, "algorithms", algorithm::kOwn);
    });
    map.finish();

    for (const Pattern pattern : config.patterns) {
        const std::string of_pattern =
            is_moe(pattern) || is_sharded(pattern) ? " for " + std::string(to_string(pattern)) : "";
        if (const auto lack = lack_of(config, pattern))
            map.fail(map.get_node("algorithms"), lack->what + of_pattern, lack->remedy);
    }
    for (const DType dtype : config.dtypes) {
        const auto smallest = *std::min_element(config.hidden_dims.begin(), config.hidden_dims.end()) *
                              *std::min_element(config.num_tokens.begin(), config.num_tokens.end()) *
                              static_cast<std::int64_t>(element_size(dtype));
        if (static_cast<std::uint64_t>(smallest) > config.max_message_bytes)
            map.fail(map.get_node("max_message_bytes"),
                     "the smallest " + std::string(to_string(dtype)) + " message has " + std::to_string(smallest) +
                         " bytes, above `max_message_bytes`",
                     "raise it, or add smaller shapes");
    }
}

PluginInfo parse_candidate(const YAML::Node& node, const std::string& file) {
    YamlMap map(node, file, "a candidate");
    PluginInfo info;
    info.name = map.get<std::string>("name");
    if (const auto problem = bad_plugin_name(info.name))
        map.fail(map.get_node("name"), "`name` is `" + info.name + "`, " + *problem, "write the library's own name");
    info.role = map.get_word("role", kRoles);
    info.library = map.get<std::string>("library");
    info.version = map.get<std::string>("version");
    info.checksum = map.get<std::string>("checksum");
    const YAML::Node workspace = map.get_node("workspace_bytes");
    const YamlMap sizes(workspace, file, "`workspace_bytes`");
    for (const auto& entry : workspace)
        info.workspace_bytes[sizes.as<int>(entry.first, "workspace_bytes")] =
            sizes.as<std::uint64_t>(entry.second, "workspace_bytes");
    map.finish();
    return info;
}

void take_measurement(YamlMap map, Config& config) {
    map.find_word("search", kSearches, config.search);
    map.find_word("launches", kLaunchChoices, config.launches);
    take_number(map, "budget_samples", config.budget_samples, std::int64_t{0}, std::int64_t{1} << 40);
    take_number(map, "budget_seconds", config.budget_seconds, 0.0, 1e9);
    take_number(map, "sessions", config.sessions, 1, 1000);
    take_number(map, "warmup", config.warmup, 0, 100000);
    take_number(map, "trials", config.trials, 1, 100000);
    take_number(map, "precision", config.precision, 0.0, 0.5);
    take_number(map, "graph_calls", config.graph_calls, 1, 10000);
    map.find_word("cache", kCacheStates, config.cache);
    map.find_word("scale_layout", kScaleLayouts, config.scale_layout);
    take_number(map, "timeout_ms", config.timeout_ms, 1.0, 600000.0);
    map.finish();
}

void take_fit(YamlMap map, Config& config) {
    take_number(map, "guard_band", config.guard_band, 0.0, 0.5);
    take_number(map, "workspace_limit_bytes", config.workspace_limit_bytes, std::uint64_t{1} << 20,
                std::uint64_t{1} << 40);
    map.finish();
}

void take_validation(YamlMap map, Config& config) {
    if (map.node().size() == 0) return; // nothing is held out
    config.validation_hidden_dims = take_hidden_dims(map, config, true);
    config.validation_num_tokens = take_dimension(map, "num_tokens", kMaxTokens, 1, "", true);
    map.finish();
}

// ---- writing ----

template <class Values, class ToNode>
YAML::Node list_node(const Values& values, ToNode to_node) {
    YAML::Node list(YAML::NodeType::Sequence);
    for (const auto& value : values) list.push_back(to_node(value));
    list.SetStyle(YAML::EmitterStyle::Flow);
    return list;
}

constexpr auto kNumber = [](auto value) { return number_node(value); };
constexpr auto kName = [](auto value) { return text_node(to_string(value)); };

YAML::Node candidate_node(const PluginInfo& info) {
    YAML::Node node;
    node["name"] = text_node(info.name);
    node["role"] = text_node(to_string(info.role));
    node["library"] = text_node(info.library);
    node["version"] = text_node(info.version);
    node["checksum"] = text_node(info.checksum);
    node["workspace_bytes"] = YAML::Node(YAML::NodeType::Map);
    for (const auto& [world_size, bytes] : info.workspace_bytes)
        node["workspace_bytes"][std::to_string(world_size)] = number_node(bytes);
    return node;
}

} // namespace

Config parse_config(const YAML::Node& node, const std::string& file) {
    YamlMap map(node, file, "the config");
    Config config;
    for (const YAML::Node& candidate : map.find_sequence("candidates"))
        config.candidates.push_back(parse_candidate(candidate, file));
    take_sweep(map.get_map("sweep"), config);
    if (const auto measurement = map.find_map("measurement")) take_measurement(*measurement, config);
    if (const auto fit = map.find_map("fit")) take_fit(*fit, config);
    if (const auto validation = map.find_map("validation")) take_validation(*validation, config);
    map.finish();
    return config;
}

YAML::Node to_node(const Config& config) {
    YAML::Node node;
    YAML::Node sweep = node["sweep"];
    sweep["world_sizes"] = list_node(config.world_sizes, kNumber);
    sweep["patterns"] = list_node(config.patterns, kName);
    sweep["dtypes"] = list_node(config.dtypes, kName);
    sweep["quants"] = list_node(config.quants, kName);
    sweep["hidden_dims"] = list_node(config.hidden_dims, kNumber);
    sweep["num_tokens"] = list_node(config.num_tokens, kNumber);
    sweep["max_message_bytes"] = number_node(config.max_message_bytes);
    sweep["algorithms"] = list_node(config.algorithms, text_node);
    YAML::Node measurement = node["measurement"];
    measurement["search"] = text_node(to_string(config.search));
    measurement["launches"] = text_node(to_string(config.launches));
    measurement["budget_samples"] = number_node(config.budget_samples);
    measurement["budget_seconds"] = number_node(config.budget_seconds);
    measurement["sessions"] = number_node(config.sessions);
    measurement["warmup"] = number_node(config.warmup);
    measurement["trials"] = number_node(config.trials);
    measurement["precision"] = number_node(config.precision);
    measurement["graph_calls"] = number_node(config.graph_calls);
    measurement["cache"] = text_node(to_string(config.cache));
    measurement["scale_layout"] = text_node(to_string(config.scale_layout));
    measurement["timeout_ms"] = number_node(config.timeout_ms);
    YAML::Node fit = node["fit"];
    fit["guard_band"] = number_node(config.guard_band);
    fit["workspace_limit_bytes"] = number_node(config.workspace_limit_bytes);
    YAML::Node validation = node["validation"];
    validation["hidden_dims"] = list_node(config.validation_hidden_dims, kNumber);
    validation["num_tokens"] = list_node(config.validation_num_tokens, kNumber);
    for (const PluginInfo& candidate : config.candidates) node["candidates"].push_back(candidate_node(candidate));
    return node;
}

} // namespace crossover
