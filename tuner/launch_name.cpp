#include "tuner/launch_name.hpp"

#include "tuner/error.hpp"
#include "tuner/parse_number.hpp"
#include "tuner/workload.hpp"

#include <array>
#include <set>
#include <sstream>
#include <utility>

namespace crossover {
namespace {

using Field = std::pair<std::string_view, int LaunchParameters::*>;
constexpr std::array kFields{
    Field{"cluster", &LaunchParameters::cluster_size}, Field{"clusters", &LaunchParameters::clusters},
    Field{"threads", &LaunchParameters::threads}, Field{"ahead", &LaunchParameters::push_ahead},
    Field{"behind", &LaunchParameters::consume_behind}};

} // namespace

std::string to_string(const LaunchParameters& launch) {
    std::string text;
    for (const auto& [name, field] : kFields)
        text.append(text.empty() ? "" : ",").append(name).append("=").append(std::to_string(launch.*field));
    return text;
}

LaunchParameters parse_launch(const std::string& text, const std::string& place) {
    LaunchParameters launch;
    std::set<std::string_view> given;
    std::istringstream words(text);
    for (std::string word; std::getline(words, word, ',');) {
        const auto equals = word.find('=');
        const std::string_view name = std::string_view(word).substr(0, equals);
        bool known = false;
        for (const auto& [field_name, field] : kFields) {
            if (field_name != name || equals == std::string::npos || !given.insert(field_name).second) continue;
            known = parse_number(std::string_view(word).substr(equals + 1), launch.*field) == std::errc{};
        }
        if (!known)
            throw InputError((place.empty() ? "" : place + ": ") + "launch parameters `" + text + "`",
                             "cannot read `" + word + "`", "write cluster=N,clusters=N,threads=N,ahead=N,behind=N");
    }
    return launch;
}

bool is_launch_variant(std::string_view name) {
    const auto bracket = name.find('[');
    return bracket != std::string_view::npos && name.ends_with(']') && algorithm::is_fused(name.substr(0, bracket));
}

std::string_view base_of(std::string_view name) {
    return is_launch_variant(name) ? name.substr(0, name.find('[')) : name;
}

LaunchedAlgorithm parse_launched(const std::string& name, const std::string& place) {
    if (!is_launch_variant(name)) return {.algorithm = name, .launch = std::nullopt};
    const auto bracket = name.find('[');
    return {.algorithm = name.substr(0, bracket),
            .launch = parse_launch(name.substr(bracket + 1, name.size() - bracket - 2), place)};
}

std::string launched_name(std::string_view algorithm, const LaunchParameters& launch) {
    return std::string(algorithm) + "[" + to_string(launch) + "]";
}

} // namespace crossover
