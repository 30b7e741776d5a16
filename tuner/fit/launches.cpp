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

/// Names of launches, written as launched_name() does.
class Spelling {
  public:
    const std::string& operator()(const Sample& sample) {
        if (!is_launch_variant(sample.algorithm)) return sample.algorithm;
        std::string& name = spelled_[sample.algorithm];
        if (name.empty()) {
            const auto [algorithm, launch] = parse_launched(sample.algorithm);
            name = launched_name(algorithm, *launch);
        }
        return name;
    }

  private:
    std::map<std::string, std::string> spelled_;
};

/// The launches of a fused algorithm at a point.
struct OfPoint {
    struct Launch {
        std::set<int> sessions;
        int timed = 0; // samples without failures
    };
    std::map<std::string, Launch> launches; // by name
    std::map<int, int> variants;            // by session: how many
    std::string launch;                     // the one that counts

    void add(const Sample& sample, const std::string& name) {
        launches[name].sessions.insert(sample.session);
        launches[name].timed += sample.status == SampleStatus::ok;
        variants[sample.session] += is_launch_variant(name);
    }
    void choose(std::string wanted, std::string_view default_name) {
        launch = std::move(wanted);
        if (!launches.contains(launch)) launch = default_name;
        if (launches.contains(launch)) return;
        const auto most = std::ranges::max_element(launches, {}, [](const auto& each) { return each.second.timed; });
        if (most->second.timed > 0) launch = most->first;
    }
    /// Later sessions that have the launch and fewer variants.
    std::ptrdiff_t measured_anew(int session) const {
        const std::set<int>& sessions = launches.at(launch).sessions;
        return std::count_if(sessions.upper_bound(session), sessions.end(),
                             [&](int later) { return variants.at(later) < variants.at(session); });
    }
};

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
    Spelling name_of;
    std::set<Point> compared; // with an unfused algorithm
    std::map<std::pair<std::string_view, Point>, OfPoint> points;
    for (const Sample& sample : samples) {
        const std::string_view base = base_of(sample.algorithm);
        if (algorithm::is_fused(base))
            points[{base, sample.point}].add(sample, name_of(sample));
        else
            compared.insert(sample.point);
    }
    for (auto& [of, point] : points) point.choose(launched(of.first, of.second, launches), of.first);

    std::vector<Sample> kept;
    for (const Sample& sample : samples) {
        const std::string_view base = base_of(sample.algorithm);
        if (!algorithm::is_fused(base)) {
            kept.push_back(sample);
            continue;
        }
        const OfPoint& point = points.at({base, sample.point});
        if (!compared.contains(sample.point) || name_of(sample) != point.launch) continue;
        if (anew && is_launch_variant(sample.algorithm) && point.measured_anew(sample.session) >= kAnew) continue;
        kept.push_back(sample);
        kept.back().algorithm = base;
    }
    return kept;
}

} // namespace crossover
