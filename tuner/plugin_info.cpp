#include "tuner/plugin_info.hpp"

#include "tuner/workload.hpp"

#include <algorithm>

namespace crossover {
namespace {

constexpr std::size_t kLongestName = 40;

} // namespace

std::optional<std::string> bad_plugin_name(std::string_view name) {
    const auto is_lower = [](char c) { return c >= 'a' && c <= 'z'; };
    const auto is_word = [&](char c) { return is_lower(c) || (c >= '0' && c <= '9') || c == '_'; };
    if (name.empty() || name.size() > kLongestName || !is_lower(name.front()) || !std::ranges::all_of(name, is_word))
        return "which is no lower-case letter and up to 39 letters, digits and underscores";
    const auto is_name = [&](std::string_view known) { return known == name; };
    if (std::ranges::any_of(algorithm::kOwn, is_name) || name == algorithm::not_measured ||
        detail::value_in<Role>(kRoles, name))
        return "which is an algorithm of Crossover";
    return std::nullopt;
}

} // namespace crossover
