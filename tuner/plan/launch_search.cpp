#include "tuner/plan/launch_search.hpp"

#include "tuner/fit/crossover.hpp"
#include "tuner/fit/launch_contest.hpp"
#include "tuner/fit/statistics.hpp"
#include "tuner/launch_name.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <set>

namespace crossover {
namespace {

using Index = Eigen::Index;

constexpr double kStep = 4; // octaves, of first looks: ×16
/// A hidden_dim without a point this near (octaves) to a size has none there.
constexpr double kNear = 1;
/// Behind the best on both sides by more than this (ln), a variant is not looked at between them.
constexpr double kLaunchBehind = 0.05;
/// Sessions after the first in which a launch comes back. A choice then rests on the median of three.
constexpr int kComesBack = 2;

double octaves_between(const Point& point, double size) { return std::abs(log2_bytes(point) - size); }

const Point& nearest_point(const std::vector<Point>& points, double size) {
    return *std::min_element(points.begin(), points.end(), [size](const Point& a, const Point& b) {
        return octaves_between(a, size) < octaves_between(b, size);
    });
}

/// The eligible variant that is least behind in a segment, but for the one that is to be used there.
std::optional<Index> runner_up(const LaunchContest& contest, const Segment& segment) {
    std::optional<Index> best;
    double least = std::numeric_limits<double>::infinity();
    for (const Index series : contest.eligible) {
        if (series == 0 || series == segment.algorithm) continue;
        const double behind = contest.behind.row(series).segment(segment.begin, segment.end - segment.begin).mean();
        if (behind >= least) continue;
        least = behind;
        best = series;
    }
    return best;
}

/// A segment's variant displaces the default by what is known, or is ahead by half of what it needs: worth another
/// look.
bool may_displace(const LaunchContest& contest, const Segment& segment, double guard_band) {
    if (segment.algorithm == 0) return false;
    const std::vector<double> gains = contest.gains(segment.algorithm);
    return displaces(contest, segment, guard_band) ||
           median({gains.begin() + segment.begin, gains.begin() + segment.end}) >=
               0.5 * std::log1p(launch_margin(guard_band));
}

/// Some point of the contest has the default and a variant in this session.
bool came_back_in(int session, const LaunchContest& contest, std::span<const Sample> samples) {
    std::map<Point, std::array<bool, 2>> has;
    for (const Sample& sample : samples)
        if (sample.session == session && sample.point.hidden_dim == contest.hidden_dim &&
            base_of(sample.algorithm) == contest.algorithm)
            has[sample.point][is_launch_variant(sample.algorithm)] = true;
    return std::any_of(has.begin(), has.end(), [](const auto& point) { return point.second[0] && point.second[1]; });
}

} // namespace

std::vector<double> sizes_apart(const std::vector<Point>& points, double step) {
    const auto by_size = [](const Point& a, const Point& b) { return message_bytes(a) < message_bytes(b); };
    const auto [smallest, largest] = std::minmax_element(points.begin(), points.end(), by_size);
    const double low = log2_bytes(*smallest), high = log2_bytes(*largest);
    const int steps = std::max(1, static_cast<int>(std::ceil((high - low) / step)));
    std::vector<double> sizes;
    for (int i = 0; i <= steps; ++i) sizes.push_back(low + (high - low) * i / steps);
    return sizes;
}

LaunchSearch::LaunchSearch(const std::vector<Point>& points, const std::vector<std::string>& algorithms,
                           double guard_band, LaunchesAt launches)
    : algorithms_(algorithms), guard_band_(guard_band), launches_(std::move(launches)) {
    if (!launches_ || points.empty()) return;
    for (const Point& point : points) points_[point.hidden_dim].push_back(point);
    std::set<Point> chosen;
    for (const double size : sizes_apart(points, kStep))
        for (const auto& [hidden_dim, of_dim] : points_)
            if (const Point& nearest = nearest_point(of_dim, size); octaves_between(nearest, size) <= kNear)
                chosen.insert(nearest);
    for (const Point& point : chosen)
        for (const std::string& algorithm : algorithms)
            if (std::vector<std::string> variants = launches_(algorithm, point); !variants.empty())
                places_.push_back({point, algorithm, std::move(variants)});
}

std::vector<Trial> LaunchSearch::wanted(int session, std::span<const Sample> samples,
                                        const IsNearBest& is_near_best) const {
    Names names;
    if (places_.empty() || session > kComesBack) return {};
    if (session > 0) ask_again(session, samples, names);
    if (session == 0) ask_first(samples, is_near_best, names);
    if (session == 0 && names.empty()) ask_between(samples, names);
    std::vector<Trial> trials;
    for (const auto& [point, asked] : names) {
        Trial& trial = trials.emplace_back(Trial{point, {}});
        for (const std::string& name : asked) // two stretches of sizes may ask for the same
            if (std::find(trial.algorithms.begin(), trial.algorithms.end(), name) == trial.algorithms.end())
                trial.algorithms.push_back(name);
    }
    return trials;
}

void LaunchSearch::ask_first(std::span<const Sample> samples, const IsNearBest& is_near_best, Names& names) const {
    std::set<std::pair<Point, std::string_view>> looked_at;
    for (const Sample& sample : samples)
        if (is_launch_variant(sample.algorithm)) looked_at.emplace(sample.point, base_of(sample.algorithm));
    const auto look = [&](const Point& point, const std::string& algorithm, const std::vector<std::string>& variants) {
        if (variants.empty() || looked_at.contains({point, algorithm})) return;
        std::vector<std::string>& at = names[point];
        at.push_back(algorithm);
        at.insert(at.end(), variants.begin(), variants.end());
    };
    std::map<std::pair<std::string, std::int64_t>, std::vector<double>> looks;
    for (const Place& place : places_) {
        if (!is_near_best(place.algorithm, place.point)) continue;
        look(place.point, place.algorithm, place.variants);
        looks[{place.algorithm, place.point.hidden_dim}].push_back(log2_bytes(place.point));
    }
    // The ends of where it is near the best lie between those sizes.
    for (const auto& [hidden_dim, points] : points_)
        for (const std::string& algorithm : algorithms_) {
            const auto near_best = [&](const Point& point) { return is_near_best(algorithm, point); };
            const auto first = std::find_if(points.begin(), points.end(), near_best);
            const auto last = std::find_if(points.rbegin(), points.rend(), near_best);
            if (first == points.end()) continue;
            std::vector<double>& sizes = looks[{algorithm, hidden_dim}];
            if (sizes.empty() || sizes.front() - log2_bytes(*first) > kNeighbours) {
                look(*first, algorithm, launches_(algorithm, *first));
                sizes.push_back(log2_bytes(*first));
            }
            if (log2_bytes(*last) - *std::max_element(sizes.begin(), sizes.end()) > kNeighbours)
                look(*last, algorithm, launches_(algorithm, *last));
        }
}

void LaunchSearch::ask_between(std::span<const Sample> samples, Names& names) const {
    for (const LaunchContest& contest : launch_contests(samples, guard_band_))
        for (std::size_t i = 0; i + 1 < contest.segments.size(); ++i) {
            const Index left = contest.segments[i].end - 1, right = left + 1;
            const Point& below = contest.observations.points[left];
            const Point& above = contest.observations.points[right];
            if (log2_bytes(above) - log2_bytes(below) <= kNeighbours) continue;
            const Point& middle =
                nearest_point(points_.at(contest.hidden_dim), 0.5 * (log2_bytes(below) + log2_bytes(above)));
            if (!(below < middle && middle < above)) continue;
            const auto may_be_best = [&](const std::string& name) {
                for (Index s = 0; s < std::ssize(contest.observations.series); ++s)
                    if (contest.observations.series[s].name == name)
                        return std::min(contest.behind(s, left), contest.behind(s, right)) <= kLaunchBehind;
                return true; // another launch than those of its neighbours
            };
            std::vector<std::string> variants = launches_(contest.algorithm, middle);
            std::erase_if(variants, [&](const std::string& name) { return !may_be_best(name); });
            if (variants.empty()) continue;
            std::vector<std::string>& at = names[middle];
            at.push_back(contest.algorithm);
            at.insert(at.end(), variants.begin(), variants.end());
        }
}

void LaunchSearch::ask_again(int session, std::span<const Sample> samples, Names& names) const {
    for (const LaunchContest& contest : launch_contests(samples, guard_band_)) {
        if (came_back_in(session, contest, samples)) continue;
        for (const Segment& segment : contest.segments) {
            if (!may_displace(contest, segment, guard_band_)) continue;
            std::vector<std::string> again{contest.algorithm, contest.observations.series[segment.algorithm].name};
            if (const auto second = runner_up(contest, segment); session == 1 && second)
                again.push_back(contest.observations.series[*second].name);
            const std::vector<double> gains = contest.gains(segment.algorithm);
            const Index most_ahead =
                std::max_element(gains.begin() + segment.begin, gains.begin() + segment.end) - gains.begin();
            const Index last = std::ssize(contest.observations.points) - 1;
            for (const Index p : std::set{std::max<Index>(segment.begin - 1, 0), segment.begin, most_ahead,
                                          segment.end - 1, std::min(segment.end, last)}) {
                std::vector<std::string>& at = names[contest.observations.points[p]];
                at.insert(at.end(), again.begin(), again.end());
            }
        }
    }
}

} // namespace crossover
