#include "tuner/fit/launch_contest.hpp"

#include "tuner/fit/guard_band.hpp"
#include "tuner/launch_name.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

namespace crossover {
namespace {

using Index = Eigen::Index;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
/// Sessions of a kernel on one machine differ by up to this.
constexpr double kSessionsDiffer = 0.01;
/// A row reaches no further than this beyond its last size: so far ahead its launch is known to be supported
/// (tuner/plan/launch_ladder.hpp).
constexpr std::uint64_t kReach = 2;

bool is_ok(const Sample& sample) { return sample.status == SampleStatus::ok && sample.latency_us > 0; }

LaunchContest judged(LaunchContest contest, double guard_band) {
    const std::vector<Series>& series = contest.observations.series;
    const auto sessions_of = [&](const Series& each) { return each.log_us.isFinite().rowwise().count().maxCoeff(); };
    const bool came_back =
        std::any_of(series.begin() + 1, series.end(), [&](const Series& each) { return sessions_of(each) > 1; });
    for (Index s = 0; s < std::ssize(series); ++s)
        if (s == 0 || !came_back || sessions_of(series[s]) > 1) contest.eligible.push_back(s);

    const auto points = static_cast<Index>(contest.observations.points.size());
    contest.behind = Eigen::ArrayXXd::Constant(std::ssize(series), points, kInfinity);
    for (Index p = 0; p < points; ++p) {
        double fastest = kInfinity;
        for (const Index s : contest.eligible)
            if (std::isfinite(series[s].typical[p])) fastest = std::min(fastest, series[s].typical[p]);
        for (const Index s : contest.eligible)
            if (std::isfinite(series[s].typical[p])) contest.behind(s, p) = series[s].typical[p] - fastest;
        if (!std::isfinite(series[0].typical[p])) contest.behind(0, p) = 0; // an outlier taken out: no reason to change
    }
    const std::vector<int> rank(series.size(), 0);
    contest.segments = least_regret_segments(contest.behind, rank, 0.5 * std::log1p(launch_margin(guard_band)), false);
    return contest;
}

} // namespace

double launch_margin(double guard_band) { return std::max(guard_band, kSessionsDiffer); }

std::vector<double> LaunchContest::gains(Index series) const {
    std::vector<double> gains;
    for (std::size_t p = 0; p < observations.points.size(); ++p) {
        const double gain = observations.series[0].typical[static_cast<Index>(p)] -
                            observations.series[series].typical[static_cast<Index>(p)];
        gains.push_back(std::isfinite(gain) ? gain : -kInfinity);
    }
    return gains;
}

std::vector<LaunchContest> launch_contests(std::span<const Sample> samples, double guard_band) {
    struct OfPoint {
        std::vector<const Sample*> samples;
        bool standard = false, variant = false; // has a time of it
    };
    std::map<std::pair<std::string_view, std::int64_t>, std::map<Point, OfPoint>> groups;
    for (const Sample& sample : samples) {
        if (!algorithm::is_fused(base_of(sample.algorithm))) continue;
        OfPoint& point = groups[{base_of(sample.algorithm), sample.point.hidden_dim}][sample.point];
        point.samples.push_back(&sample);
        (is_launch_variant(sample.algorithm) ? point.variant : point.standard) |= is_ok(sample);
    }
    std::vector<LaunchContest> contests;
    for (const auto& [key, points] : groups) {
        std::vector<const Sample*> contested;
        for (const auto& [point, of_point] : points)
            if (of_point.standard && of_point.variant)
                contested.insert(contested.end(), of_point.samples.begin(), of_point.samples.end());
        if (contested.empty()) continue;
        contests.push_back(judged({.algorithm = std::string(key.first),
                                   .hidden_dim = key.second,
                                   .observations = arrange_cell(contested),
                                   .eligible = {},
                                   .behind = {},
                                   .segments = {}},
                                  guard_band));
    }
    return contests;
}

bool displaces(const LaunchContest& contest, const Segment& segment, double guard_band) {
    if (segment.algorithm == 0) return false;
    const Series& standard = contest.observations.series[0];
    const Series& variant = contest.observations.series[segment.algorithm];
    std::optional<double> noise;
    if (standard.noise > 0 && variant.noise > 0) noise = std::hypot(standard.noise, variant.noise);
    const GuardBand band(contest.gains(segment.algorithm), launch_margin(guard_band), noise);
    return band.wins(static_cast<std::size_t>(segment.begin), static_cast<std::size_t>(segment.end));
}

std::vector<LaunchRow> rows_of(const LaunchContest& contest, double guard_band, std::uint64_t max_bytes) {
    const std::vector<Point>& points = contest.observations.points;
    std::vector<LaunchRow> rows;
    std::uint64_t begin = 0;
    for (const Segment& segment : contest.segments) {
        const auto last = static_cast<std::size_t>(segment.end) - 1;
        std::uint64_t half_way = max_bytes;
        if (last + 1 < points.size())
            half_way = static_cast<std::uint64_t>(std::sqrt(static_cast<double>(message_bytes(points[last]))) *
                                                  std::sqrt(static_cast<double>(message_bytes(points[last + 1]))));
        const std::uint64_t end = std::min({kReach * message_bytes(points[last]), half_way, max_bytes});
        if (displaces(contest, segment, guard_band))
            rows.push_back({.algorithm = contest.algorithm,
                            .hidden_dim = contest.hidden_dim,
                            .min_bytes = begin,
                            .max_bytes = end,
                            .launch = *parse_launched(contest.observations.series[segment.algorithm].name).launch});
        begin = half_way + 1;
    }
    return rows;
}

} // namespace crossover
