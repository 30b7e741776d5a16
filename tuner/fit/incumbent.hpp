#pragma once
/// The rule by which an engine chooses today, typed in by hand (configs/incumbents/*.yaml), so that its regret can be
/// told on any samples.
///
/// configs/incumbents/*.yaml:
///     incumbent: vLLM                  # name in reports
///     source: https://…                # where it was read
///     date: 2026-09                    # when
///     note: …                          # optional
///     otherwise: unfused               # what no rule matches: unfused | not_covered
///     unfused: fastest                 # optional: fastest (the default) | nccl (the fastest of nccl_*)
///     rules:                           # the first that matches decides
///       - compute_capability: "9.0"    # optional, also a list; left out = any
///         world_size: 2                # optional, also a list
///         fused_max: {bytes: 67108864} # up to and with this the fused kernels are used; or: always | never
///         oneshot_max: {bytes: 33554432}   # up to and with this oneshot, above twoshot; left out = always
/// A limit is a map with one key, the quantity as that engine counts it, inclusive: `bytes` of one rank's input tensor,
/// `bytes_times_world` (that × world size) or `tokens`.

#include "tuner/workload.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace crossover {

struct Incumbent {
    enum class Unit : std::uint8_t { bytes, bytes_times_world, tokens };
    struct Limit {
        Unit unit = Unit::bytes;
        std::uint64_t max = 0; // inclusive
    };
    struct Rule {
        std::vector<std::string> compute_capabilities; // empty = any
        std::vector<int> world_sizes;                  // empty = any
        Limit fused_max;
        Limit oneshot_max;
    };

    std::string name;
    std::string source;
    std::string date;
    std::string note;
    bool unfused_otherwise = true; // false: nothing to say where no rule matches
    bool unfused_is_nccl = false;  // its unfused path is NCCL's all-reduce, whatever else was measured
    std::vector<Rule> rules;
};

/// Whether a YAML text is one of these (has `incumbent`) and not a table. `where` stands for the file in errors.
bool is_incumbent(const std::string& text, const std::string& where);

/// @throws InputError with file:line for malformed YAML, unknown or missing keys, units or words
Incumbent parse_incumbent(const std::string& text, const std::string& where);
Incumbent read_incumbent(const std::filesystem::path& path);

/// `oneshot`, `twoshot`, `unfused` or `nccl` (kUnfused, kNccl of regret.hpp) or `not_measured`.
std::string choose(const Incumbent& incumbent, const std::string& compute_capability, const Point& point);

} // namespace crossover
