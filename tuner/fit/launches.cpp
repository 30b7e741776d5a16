#include "tuner/fit/launches.hpp"

#include "tuner/fit/launch_contest.hpp"
#include "tuner/launch_name.hpp"

#include <algorithm>
#include <set>
#include <utility>

namespace crossover {
namespace {

/// Later sessions that take the place of the one by which a launch was chosen. A single one may have been disturbed,
/// and there would be nothing to tell it by.
constexpr int kAnew = 2;

bool has_variants(std::span<const Sample> samples) {
    return std::any_of(samples.begin(), samples.end(),
                       [](const Sample& sample) { return is_launch_variant(sample.algorithm); });
}

} // namespace

Launches fit_launches(std::span<const Sample> samples, double guard_band) {
    if (!has_variants(samples)) return {};
    struct OfCell {
        std::vector<Sample> fused;
        std::uint64_t max_bytes = 0;
    };
    std::map<CellKey, OfCell> cells;
    for (const Sample& sample : samples) {
        OfCell& cell = cells[sample.point.cell];
        cell.max_bytes = std::max(cell.max_bytes, message_bytes(sample.point));
        if (algorithm::is_fused(base_of(sample.algorithm))) cell.fused.push_back(sample);
    }
    Launches launches;
    for (const auto& [key, of_cell] : cells)
        for (const LaunchContest& contest : launch_contests(of_cell.fused, guard_band))
            for (LaunchRow& row : rows_of(contest, guard_band, of_cell.max_bytes))
                launches[key].push_back(std::move(row));
    return launches;
}

Launches launches_of(std::span<const Cell> cells) {
    Launches launches;
    for (const Cell& cell : cells)
        if (!cell.launches.empty()) launches[cell.key] = cell.launches;
    return launches;
}

std::string launched(std::string_view algorithm, const Point& point, const Launches& launches) {
    const auto cell = launches.find(point.cell);
    const LaunchRow* row =
        cell == launches.end() ? nullptr : find_launch(cell->second, algorithm, point.hidden_dim, message_bytes(point));
    return row ? launched_name(algorithm, row->launch) : std::string(algorithm);
}

std::vector<Sample> as_launched(std::span<const Sample> samples, const Launches& launches, bool anew) {
    if (!has_variants(samples)) return {samples.begin(), samples.end()};
    struct OfPoint {
        std::string launch;          // the name of it
        std::map<int, int> variants; // by session: how many
        std::set<int> sessions;      // that have the launch
    };
    std::map<std::pair<std::string_view, Point>, OfPoint> points;
    std::map<std::string, std::string> spelled; // variants as launched_name() writes them
    const auto name_of = [&](const Sample& sample) -> const std::string& {
        if (!is_launch_variant(sample.algorithm)) return sample.algorithm;
        std::string& name = spelled[sample.algorithm];
        if (name.empty()) {
            const auto [algorithm, launch] = parse_launched(sample.algorithm);
            name = launched_name(algorithm, *launch);
        }
        return name;
    };
    std::set<Point> compared; // with an unfused algorithm
    for (const Sample& sample : samples) {
        const std::string_view base = base_of(sample.algorithm);
        if (!algorithm::is_fused(base)) {
            compared.insert(sample.point);
            continue;
        }
        OfPoint& point = points[{base, sample.point}];
        if (point.launch.empty()) point.launch = launched(base, sample.point, launches);
        point.variants[sample.session] += is_launch_variant(sample.algorithm);
        if (name_of(sample) == point.launch) point.sessions.insert(sample.session);
    }
    std::vector<Sample> kept;
    for (const Sample& sample : samples) {
        const std::string_view base = base_of(sample.algorithm);
        if (!algorithm::is_fused(base)) {
            kept.push_back(sample);
            continue;
        }
        if (!compared.contains(sample.point)) continue;
        const OfPoint& point = points.at({base, sample.point});
        if (name_of(sample) != (point.sessions.empty() ? std::string(base) : point.launch)) continue;
        const auto measured_anew =
            std::count_if(point.sessions.upper_bound(sample.session), point.sessions.end(),
                          [&](int later) { return point.variants.at(later) < point.variants.at(sample.session); });
        if (anew && is_launch_variant(sample.algorithm) && measured_anew >= kAnew) continue;
        kept.push_back(sample);
        kept.back().algorithm = base;
    }
    return kept;
}

} // namespace crossover
