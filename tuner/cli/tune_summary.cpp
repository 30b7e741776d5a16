// What `crossover tune` says: what is left out, the time that its table loses, and what the search cost.

#include "output/format.hpp"
#include "tuner/cli/tune.hpp"
#include "tuner/fit/regret.hpp"
#include "tuner/launch_name.hpp"
#include "tuner/plan/gpu_seconds.hpp"
#include "tuner/plan/plan.hpp"
#include "tuner/roles.hpp"

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <map>
#include <set>

namespace crossover {
namespace {

/// "Time lost against the best algorithm at 12 held-out points: mean …"
std::string regret_text(const std::string& which, const Regret& regret) {
    return "Time lost against the best algorithm at " + std::to_string(regret.points) + " " + which + ": mean " +
           percent(regret.mean, 2) + ", worst " + percent(regret.max, 1);
}

} // namespace

std::string dropped_lines(const Config& asked, const Config& used, int gpus, const std::string& where) {
    std::string lines;
    for (const int world_size : asked.world_sizes)
        if (std::ranges::find(used.world_sizes, world_size) == used.world_sizes.end())
            lines += "world size " + std::to_string(world_size) + ": not " + where + " (" + std::to_string(gpus) +
                     " GPUs), cells are marked not_measured\n";
    for (const DType dtype : asked.dtypes)
        if (std::ranges::find(used.dtypes, dtype) == used.dtypes.end())
            lines += std::string(to_string(dtype)) + ": not " + where + ", left out\n";
    for (const auto hidden_dim : asked.hidden_dims)
        if (std::ranges::find(used.hidden_dims, hidden_dim) == used.hidden_dims.end())
            lines += "hidden_dim " + std::to_string(hidden_dim) + ": not " + where + ", left out\n";
    return lines;
}

std::string held_out_lines(const Table& table, std::span<const Sample> held_out) {
    std::map<int, std::vector<PointRegret>> by_world_size; // worst first
    for (PointRegret& point : regret_report(held_out, table.cells).points)
        by_world_size[point.point.cell.world_size].push_back(std::move(point));
    std::string lines;
    for (const auto& [world_size, points] : by_world_size) {
        lines += regret_text("held-out points of world size " + std::to_string(world_size), summary(points));
        const PointRegret& worst = points.front();
        if (worst.regret() > 0) {
            const std::size_t sessions = sessions_of(worst.point, held_out);
            char times[100];
            std::snprintf(times, sizeof times, "takes %.2f us, %s %.2f us; measured in %zu session%s)", worst.chosen_us,
                          worst.best.c_str(), worst.best_us, sessions, sessions > 1 ? "s" : "");
            lines += " (" + to_string(worst.point) + ": " + worst.chosen + " " + times;
        }
        lines += '\n';
    }
    return lines;
}

std::string search_lines(const Table& table, std::span<const Sample> samples, const Replay& replay) {
    const std::vector<Point> points = grid_points(replay.config);
    const bool tuned = replay.config.launches == LaunchChoice::tuned;
    const auto is_asked = [&](const Sample& sample) {
        return std::ranges::find(replay.config.algorithms, tuned ? base_of(sample.algorithm) : sample.algorithm) !=
               replay.config.algorithms.end();
    };
    const auto in_grid = [&](const Sample& sample) {
        return is_asked(sample) && sample.session < replay.config.sessions &&
               std::binary_search(points.begin(), points.end(), sample.point);
    };
    std::vector<Sample> grid, searched, rest;
    std::ranges::copy_if(replay.recorded, std::back_inserter(grid), in_grid);
    std::ranges::copy_if(samples, std::back_inserter(searched), in_grid);
    std::set<Point> used;
    for (const Sample& sample : samples) used.insert(sample.point);
    std::ranges::copy_if(replay.recorded, std::back_inserter(rest),
                         [&](const Sample& sample) { return is_asked(sample) && !used.contains(sample.point); });

    const auto share = [](double part, double whole) { return percent(part / whole, 1).substr(1); }; // no sign
    std::string lines =
        "Samples of the search: " + std::to_string(searched.size()) + " of the grid's " + std::to_string(grid.size()) +
        " (" + share(static_cast<double>(searched.size()), static_cast<double>(grid.size())) + "), " +
        share(gpu_seconds(searched, replay.config), gpu_seconds(grid, replay.config)) + " of its GPU time\n";
    rest = in_roles(rest, replay.config);
    const Regret regret = summary(regret_report(rest, table.cells).points);
    if (regret.points > 0) lines += regret_text("other recorded points", regret) + '\n';
    return lines;
}

} // namespace crossover
