#include "tuner/plan/cell_search.hpp"

#include "tuner/launch_name.hpp"
#include "tuner/plan/cell_questions.hpp"
#include "tuner/plan/standings.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>
#include <string_view>
#include <utility>

namespace crossover {
namespace {

constexpr double kCoarseStep = 2; // octaves: ×4

/// What of these trials the session does not have. A launch that was chosen again has some, which nobody should wait
/// for.
std::vector<Trial> without_measured(std::vector<Trial> trials, int session, std::span<const Sample> samples) {
    std::set<std::pair<Point, std::string_view>> measured;
    for (const Sample& sample : samples)
        if (sample.session == session) measured.emplace(sample.point, sample.algorithm);
    for (Trial& trial : trials)
        std::erase_if(trial.algorithms, [&](const std::string& name) {
            return measured.contains({trial.point, name});
        });
    std::erase_if(trials, [](const Trial& trial) { return trial.algorithms.empty(); });
    return trials;
}

} // namespace

CellSearch::CellSearch(std::vector<Point> points, std::vector<std::string> algorithms, int sessions, FitOptions options,
                       LaunchesAt launches)
    : points_(std::move(points)), algorithms_(std::move(algorithms)), sessions_(sessions), options_(std::move(options)),
      launches_(std::move(launches)), launch_search_(points_, algorithms_, options_.guard_band, launches_) {}

std::vector<Trial> CellSearch::coarse_look() const {
    const auto by_size = [](const Point& a, const Point& b) { return message_bytes(a) < message_bytes(b); };
    const auto [smallest, largest] = std::minmax_element(points_.begin(), points_.end(), by_size);
    const std::vector<double> sizes = sizes_apart(points_, kCoarseStep);
    const std::vector<std::int64_t> hidden_dims = hidden_dims_of(points_);

    std::set<Point> chosen{*smallest, *largest};
    for (std::size_t i = 1; i + 1 < sizes.size(); ++i) {
        const std::int64_t in_turn = hidden_dims[i % hidden_dims.size()];
        const auto distance = [&](const Point& point) { // another hidden dim only where that one has nothing near
            const double octaves = std::abs(log2_bytes(point) - sizes[i]);
            return std::pair(point.hidden_dim == in_turn && octaves <= 0.5 ? 0 : 1, octaves);
        };
        chosen.insert(*std::min_element(points_.begin(), points_.end(),
                                        [&](const Point& a, const Point& b) { return distance(a) < distance(b); }));
    }
    std::vector<Trial> trials;
    for (const Point& point : chosen) trials.push_back({point, algorithms_});
    return trials;
}

Launches CellSearch::chosen_launches(std::span<const Sample> samples) const {
    return launch_search_.looks() == 0 ? Launches{} : fit_launches(samples, options_.guard_band);
}

std::vector<Trial> CellSearch::launches_in_place_of_defaults(std::span<const Sample> samples,
                                                             const Launches& launches) const {
    if (launches.empty()) return {};
    std::map<Point, std::set<std::string>> measured;
    for (const Sample& sample : samples) measured[sample.point].insert(sample.algorithm);
    std::vector<Trial> trials;
    for (const auto& [point, names] : measured) {
        if (std::all_of(names.begin(), names.end(),
                        [](const std::string& name) { return algorithm::is_fused(base_of(name)); }))
            continue; // launches alone
        std::vector<std::string> seen;
        for (const std::string& name : algorithms_)
            if (algorithm::is_fused(name) && names.contains(name)) seen.push_back(name);
        Trial trial{point, launched_algorithms(seen, point, launches, launches_)};
        std::erase_if(trial.algorithms, [&, &names = names](const std::string& name) { return names.contains(name); });
        if (!trial.algorithms.empty()) trials.push_back(std::move(trial));
    }
    return trials;
}

std::vector<Trial> CellSearch::wanted(int session, std::span<const Sample> samples) const {
    if (samples.empty()) return coarse_look();
    const Launches launches = chosen_launches(samples);
    const std::vector<Sample> chosen = as_launched(samples, launches);
    const Standings standings(algorithms_, chosen);
    const auto is_near_best = [&](const std::string& name, const Point& point) {
        return standings.is_near_best(name, log2_bytes(point));
    };
    std::vector<Trial> trials =
        without_measured(launch_search_.wanted(session, samples, is_near_best), session, samples);
    if (trials.empty()) trials = without_measured(launches_in_place_of_defaults(samples, launches), session, samples);
    if (!trials.empty()) return trials;
    const bool brackets = session == 0 || session + 1 < sessions_;
    trials = open_questions({.points = points_,
                             .algorithms = algorithms_,
                             .options = options_,
                             .session = session,
                             .samples = chosen,
                             .standings = standings},
                            brackets);
    for (Trial& trial : trials)
        trial.algorithms = launched_algorithms(std::move(trial.algorithms), trial.point, launches, launches_);
    return without_measured(std::move(trials), session, samples);
}

std::vector<Trial> CellSearch::beside(const Point& point, std::span<const Sample> samples) const {
    const Launches launches = chosen_launches(samples);
    const Standings standings(algorithms_, as_launched(samples, launches));
    std::vector<Trial> trials;
    for (const std::int64_t hidden_dim : hidden_dims_of(points_)) {
        std::array<const Point*, 2> nearest{}; // below, above; points of a hidden dim ascend
        for (const Point& each : points_) {
            if (each.hidden_dim != hidden_dim) continue;
            const bool above = message_bytes(each) > message_bytes(point);
            if (!above || !nearest[1]) nearest[above] = &each;
        }
        for (const Point* each : nearest)
            if (each)
                trials.push_back({*each, launched_algorithms(standings.contenders(*each), *each, launches, launches_)});
    }
    return trials;
}

} // namespace crossover
