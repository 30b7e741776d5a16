#pragma once
/// The config of `crossover tune`: what to measure and when to stop. configs/default.yaml documents every key.

#include "tuner/plugin_info.hpp"
#include "tuner/workload.hpp"

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace crossover {

/// Whether a call's input finds its data in L2: `hot` re-uses a few buffers, `cold` rotates over more than the L2.
enum class CacheState : std::uint8_t { hot, cold };
inline constexpr std::array kCacheStates{Named<CacheState>{CacheState::hot, "hot"},
                                         Named<CacheState>{CacheState::cold, "cold"}};
constexpr std::string_view to_string(CacheState state) { return detail::name_in(kCacheStates, state); }

inline constexpr std::array kScaleLayouts{Named<ScaleLayout>{ScaleLayout::swizzled, "swizzled"},
                                          Named<ScaleLayout>{ScaleLayout::linear, "linear"}};
constexpr std::string_view to_string(ScaleLayout layout) { return detail::name_in(kScaleLayouts, layout); }

/// Which points of the sweep are measured: `adaptive` those that decide, `grid` all of them.
enum class Search : std::uint8_t { adaptive, grid };
inline constexpr std::array kSearches{Named<Search>{Search::adaptive, "adaptive"}, Named<Search>{Search::grid, "grid"}};
constexpr std::string_view to_string(Search search) { return detail::name_in(kSearches, search); }

/// How oneshot and twoshot are launched: `standard` by the kernels' own default, `tuned` by the fastest of a few, which
/// the table then holds.
enum class LaunchChoice : std::uint8_t { standard, tuned };
inline constexpr std::array kLaunchChoices{Named<LaunchChoice>{LaunchChoice::standard, "default"},
                                           Named<LaunchChoice>{LaunchChoice::tuned, "tuned"}};
constexpr std::string_view to_string(LaunchChoice choice) { return detail::name_in(kLaunchChoices, choice); }

/// For which there are kernels.
inline constexpr std::array kWorldSizes{2, 4, 8};

struct Config {
    // sweep: the cells are the product of these four
    std::vector<int> world_sizes;
    std::vector<Pattern> patterns;
    std::vector<DType> dtypes;
    std::vector<Quant> quants;
    // sweep: the shapes in each cell
    std::vector<std::int64_t> hidden_dims;
    std::vector<std::int64_t> num_tokens; // points above max_message_bytes are dropped
    std::uint64_t max_message_bytes = 64ull << 20;
    std::vector<std::string> algorithms; // names of tuner/workload.hpp, and of candidates

    // measurement
    Search search = Search::adaptive;
    LaunchChoice launches = LaunchChoice::tuned;
    std::int64_t budget_samples = 0; // of an adaptive search; 0 = no limit
    double budget_seconds = 0;       // of GPU time (tuner/plan/gpu_seconds.hpp) of an adaptive search; 0 = no limit
    int sessions = 4;
    int warmup = 3;            // replays thrown away
    int trials = 15;           // replays timed
    double precision = 0.0025; // standard error (share) at which a sample of an adaptive search ends; 0 = all trials
    int graph_calls = 20;      // calls in one CUDA graph
    CacheState cache = CacheState::hot;
    ScaleLayout scale_layout = ScaleLayout::swizzled; // of fp4's block scales
    double timeout_ms = 2000;                         // a device spin gives up after this

    // fit
    double guard_band = 0.02; // an algorithm must win by this much to displace the baseline
    std::uint64_t workspace_limit_bytes = 64ull << 20;

    // validation: shapes that no fit sees, every hidden dim with every token count; those of the sweep are left out
    std::vector<std::int64_t> validation_hidden_dims;
    std::vector<std::int64_t> validation_num_tokens;

    // kernels that are not ours; not for config files, but for what is made of --candidate (tuner/roles.hpp)
    std::vector<PluginInfo> candidates;

    bool operator==(const Config&) const = default;
};

/// Those of the config's algorithms that do this pattern, in its order.
std::vector<std::string> algorithms_of(const Config& config, Pattern pattern);
/// The quant modes of this pattern's cells: the config's, or none of a pattern that quantizes nothing.
std::vector<Quant> quants_of(const Config& config, Pattern pattern);

/// Reads and checks a config file. @throws InputError naming file:line for YAML errors, unknown keys, values out of
/// range (a world size other than 2, 4 and 8, a dimension below 1, a hidden_dim that is no multiple of 8, of 16 with
/// fp4), or algorithms that leave nothing to compare.
Config read_config(const std::filesystem::path& path);

/// The same, and whether the file says how many sessions it wants.
struct ConfigFile {
    Config config;
    bool names_sessions = false;
};
ConfigFile read_config_file(const std::filesystem::path& path);

/// @throws InputError, naming file:line of `world_sizes` in the config file, for a world size above `gpus`.
void require_gpus(const Config& config, int gpus, const std::filesystem::path& path);
/// Takes the world sizes above `gpus` out of the config, where they may have been all.
void drop_world_sizes_above(Config& config, int gpus);

/// The config as YAML, every key; read_config of it gives the same config.
std::string to_yaml(const Config& config);

} // namespace crossover
