#pragma once
/// What a config, a run and a table know of a kernel that is not Crossover's: kernels/crossover_candidate.h.

#include "kernels/types.hpp"

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace crossover {

/// What it is in the table: oneshot and twoshot take the place of our own, unfused competes to be the baseline.
enum class Role : std::uint8_t { oneshot, twoshot, unfused };
inline constexpr std::array kRoles{Named<Role>{Role::oneshot, "oneshot"}, Named<Role>{Role::twoshot, "twoshot"},
                                   Named<Role>{Role::unfused, "unfused"}};
constexpr std::string_view to_string(Role role) { return detail::name_in(kRoles, role); }

struct PluginInfo {
    std::string name; // its algorithm's in samples
    Role role = Role::unfused;
    std::string library;                          // absolute path
    std::string version;                          // the library's own word
    std::string checksum;                         // of the file: a run is not resumed with another build
    std::map<int, std::uint64_t> workspace_bytes; // by world size, as set up

    bool operator==(const PluginInfo&) const = default;
};

/// Why `name` cannot be a plugin's (one line), or nothing: not a lower-case word, or an algorithm's of Crossover.
std::optional<std::string> bad_plugin_name(std::string_view name);

} // namespace crossover
