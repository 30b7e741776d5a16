#include "tuner/plan/cell_search.hpp"

#include "tuner/fit/cell_model.hpp"
#include "tuner/fit/fit_cell.hpp"
#include "tuner/fit/statistics.hpp"
#include "tuner/launch_name.hpp"
#include "tuner/plan/stopping_rule.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <tuple>

namespace crossover {
namespace {

using Index = Eigen::Index;

constexpr double kCoarseStep = 2; // octaves: ×4
/// Between two sizes that the same algorithm wins, its lead (ln) may be lost and won again if it is smaller than this
/// for each octave between them: ratios near crossings change by some 0.3 an octave, there and back. Sizes an octave
/// apart are near enough: what hides between them is as narrow as the grid's own steps.
constexpr double kLeadLost = 0.15;
constexpr double kNearEnough = 1.1;
/// An algorithm is no contender between two sizes if it is behind (ln) by this much and this much more for each octave
/// to the nearer of them.
constexpr double kBehind = 0.1, kBehindAnOctave = 0.15;
/// By how much (ln) another launch may be faster than the one measured.
constexpr double kLaunchGain = 0.2;

double log2_bytes(const Point& point) { return std::log2(static_cast<double>(message_bytes(point))); }

std::vector<std::int64_t> hidden_dims_of(const std::vector<Point>& points) {
    std::set<std::int64_t> hidden_dims;
    for (const Point& point : points) hidden_dims.insert(point.hidden_dim);
    return {hidden_dims.begin(), hidden_dims.end()};
}

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

/// A change of algorithm in the fitted cell.
struct FittedEdge {
    double log2_bytes = 0;
    std::string below, above;
    std::optional<std::array<double, 2>> interval;
    bool in_table = true; // its interval, too: more sessions are worth something
};

/// One question after the other to the samples so far.
class Questions {
  public:
    Questions(const std::vector<Point>& points, const std::vector<std::string>& algorithms, const FitOptions& options,
              int session, std::span<const Sample> samples)
        : points_(points), algorithms_(algorithms), options_(options), session_(session),
          observations_(std::move(arrange(samples).front())), model_(observations_) {
        for (const Sample& sample : samples) {
            measured_[sample.point].insert(sample.algorithm);
            if (sample.session == session) measured_now_[sample.point].insert(sample.algorithm);
        }
        for (const std::uint64_t bytes : model_.sizes()) sizes_.push_back(std::log2(static_cast<double>(bytes)));
    }

    std::vector<Trial> answers(bool brackets) {
        if (sizes_.empty()) return {}; // nothing can be compared
        if (brackets) ask_brackets();
        if (wanted_.empty()) {
            ask_edges();
            ask_ties();
        }
        std::vector<Trial> trials;
        for (const auto& [point, names] : wanted_) {
            Trial trial{point, {}};
            for (const std::string& name : algorithms_)
                if (names.contains(name)) trial.algorithms.push_back(name);
            trials.push_back(std::move(trial));
        }
        return trials;
    }

    /// What comes near the fastest at a point, and a baseline to compare with.
    std::vector<std::string> contenders(const Point& point) const {
        std::vector<std::string> names;
        for (const std::string& name : algorithms_)
            if (is_contender(name, log2_bytes(point))) names.push_back(name);
        if (std::all_of(names.begin(), names.end(), algorithm::is_challenger))
            names.emplace_back(nearest_baseline(log2_bytes(point)));
        return names;
    }

    /// Whether `name`, or a faster launch of it, may be the best at `at`: by its distance (ln) to the fastest,
    /// interpolated between the sizes that have times of it.
    bool is_near_best(const std::string& name, double at) const {
        const Index algorithm = index_of(name);
        if (algorithm == std::ssize(observations_.series)) return false;
        std::optional<std::pair<double, double>> left, right; // size, behind
        for (Index k = 0; k < size_count(); ++k) {
            if (!std::isfinite(behind(algorithm, k))) continue;
            if (sizes_[k] <= at) left = {sizes_[k], behind(algorithm, k)};
            if (sizes_[k] >= at && !right) right = {sizes_[k], behind(algorithm, k)};
        }
        if (!left || !right) return (left || right) && (left ? left : right)->second <= kLaunchGain;
        const double share = right->first > left->first ? (at - left->first) / (right->first - left->first) : 0;
        return std::lerp(left->second, right->second, share) <= kLaunchGain;
    }

  private:
    Index size_count() const { return static_cast<Index>(sizes_.size()); }
    Index fastest(Index size) const {
        return model_.best(size, [](Index) { return true; });
    }
    double guard() const { return std::log1p(options_.guard_band); }

    /// ln by which `algorithm` is behind the fastest at a size; NaN where it was not measured.
    double behind(Index algorithm, Index size) const { return model_.advantage(fastest(size), algorithm, size); }

    /// By how much the fastest leads at a size.
    double lead(Index size) const {
        double least = std::numeric_limits<double>::infinity();
        for (Index a = 0; a < std::ssize(observations_.series); ++a)
            if (a != fastest(size) && std::isfinite(behind(a, size))) least = std::min(least, behind(a, size));
        return least;
    }

    /// Whether `name` may be among the best at `at` (log2 bytes), by the sizes there and next to it that have a time of
    /// it. One that does badly there alone may have been disturbed.
    bool is_contender(const std::string& name, double at) const {
        const auto found = std::find_if(observations_.series.begin(), observations_.series.end(),
                                        [&](const Series& series) { return series.name == name; });
        if (found == observations_.series.end()) return true; // never measured
        const Index algorithm = found - observations_.series.begin();
        Index left = -1, here = -1, right = -1;
        for (Index k = 0; k < size_count(); ++k) {
            if (!std::isfinite(behind(algorithm, k))) continue;
            if (sizes_[k] < at) left = k;
            if (sizes_[k] == at) here = k;
            if (sizes_[k] > at && right < 0) right = k;
        }
        // Where it was measured, nothing can have happened since the next size.
        const double an_octave = here >= 0 ? 0 : kBehindAnOctave;
        return std::ranges::any_of(std::array{left, here, right}, [&](Index k) {
            return k >= 0 && behind(algorithm, k) <= kBehind + an_octave * std::abs(sizes_[k] - at);
        });
    }

    /// The fastest unfused algorithm at the measured size nearest to `at`.
    std::string_view nearest_baseline(double at) const {
        Index nearest = 0;
        for (Index k = 1; k < size_count(); ++k)
            if (std::abs(sizes_[k] - at) < std::abs(sizes_[nearest] - at)) nearest = k;
        return model_.name(model_.baseline_at(nearest));
    }

    /// Asks for the contenders at a point, and `always`, of which there is no sample yet.
    /// @param now  in this session; else in any
    void ask(const Point& point, const std::set<std::string>& always, bool now) {
        std::set<std::string> names = always;
        for (const std::string& name : algorithms_)
            if (is_contender(name, log2_bytes(point))) names.insert(name);
        const auto& known = measured_[point];
        if (std::all_of(known.begin(), known.end(), algorithm::is_challenger)) // a size needs a baseline to count
            names.insert(std::string(nearest_baseline(log2_bytes(point))));
        for (const std::string& name : names)
            if (!(now ? measured_now_ : measured_)[point].contains(name) &&
                std::find(algorithms_.begin(), algorithms_.end(), name) != algorithms_.end())
                wanted_[point].insert(name);
    }

    // ---- brackets ----

    bool is_open(Index k) const {
        const Index left = fastest(k), right = fastest(k + 1);
        const double octaves = sizes_[k + 1] - sizes_[k];
        if (left == right) return octaves > kNearEnough && std::min(lead(k), lead(k + 1)) < kLeadLost * octaves;
        const double at_left = model_.advantage(left, right, k), at_right = model_.advantage(right, left, k + 1);
        return !(at_left < 2 * guard() && at_right < 2 * guard()); // NaN: beaten by so far that it was not measured
    }

    void ask_brackets() {
        std::map<std::int64_t, int> of_dim; // points so far
        for (const auto& [point, names] : measured_) ++of_dim[point.hidden_dim];
        for (Index k = 0; k + 1 < size_count(); ++k) {
            if (!is_open(k)) continue;
            const double middle = 0.5 * (sizes_[k] + sizes_[k + 1]);
            const Point* chosen = nullptr;
            const auto worth = [&](const Point& point) { // near the middle, of a hidden dim that was seen little
                return std::tuple(std::round(std::abs(log2_bytes(point) - middle) / kSameSize),
                                  of_dim[point.hidden_dim], std::abs(log2_bytes(point) - middle));
            };
            for (const Point& point : points_) {
                const double at = log2_bytes(point);
                if (at < sizes_[k] + kSameSize || at > sizes_[k + 1] - kSameSize) continue;
                if (!chosen || worth(point) < worth(*chosen)) chosen = &point;
            }
            if (!chosen) continue;
            ++of_dim[chosen->hidden_dim];
            ask(*chosen, {}, false);
        }
    }

    // ---- edges ----

    std::vector<FittedEdge> fitted_edges() const {
        const Cell cell = fit_cell(observations_, options_);
        std::vector<FittedEdge> edges;
        const auto log2_of = [](const std::array<std::uint64_t, 2>& bytes) {
            return std::array{std::log2(static_cast<double>(std::max<std::uint64_t>(bytes[0], 1))),
                              std::log2(static_cast<double>(bytes[1]))};
        };
        const auto interval_of = [&](const Threshold& threshold) -> std::optional<std::array<double, 2>> {
            if (!threshold.ci95) return std::nullopt;
            return log2_of(*threshold.ci95);
        };
        for (std::size_t i = 0; i + 1 < cell.intervals.size(); ++i) {
            const Interval& below = cell.intervals[i];
            const Interval& above = cell.intervals[i + 1];
            if (above.algorithm == algorithm::not_measured) continue;
            FittedEdge edge{std::log2(static_cast<double>(*below.max_bytes) + 0.5), below.algorithm, above.algorithm,
                            std::nullopt,
                            algorithm::is_challenger(below.algorithm) || algorithm::is_challenger(above.algorithm)};
            for (const auto& threshold : {cell.oneshot, cell.twoshot})
                if (threshold && threshold->max_bytes == *below.max_bytes) edge.interval = interval_of(*threshold);
            if (cell.onset && cell.onset->min_bytes == *below.max_bytes + 1 && cell.onset->ci95)
                edge.interval = log2_of(*cell.onset->ci95);
            edges.push_back(std::move(edge));
        }
        return edges;
    }

    /// ln(below ÷ above) by size.
    std::vector<RatioPoint> curve_of(const FittedEdge& edge) const {
        const Index below = index_of(edge.below), above = index_of(edge.above);
        std::vector<RatioPoint> curve;
        for (Index k = 0; k < size_count(); ++k)
            if (const double ratio = -model_.advantage(below, above, k); std::isfinite(ratio))
                curve.push_back({sizes_[k], ratio});
        return curve;
    }

    Index index_of(const std::string& name) const {
        return std::find_if(observations_.series.begin(), observations_.series.end(),
                            [&](const Series& series) { return series.name == name; }) -
               observations_.series.begin();
    }

    /// ln(below ÷ above) at a point; NaN if unknown.
    double ratio_at(const FittedEdge& edge, const Point& point) const {
        const auto found = std::lower_bound(observations_.points.begin(), observations_.points.end(), point);
        if (found == observations_.points.end() || *found != point) return std::nan("");
        const Index p = found - observations_.points.begin();
        return observations_.series[index_of(edge.below)].typical[p] -
               observations_.series[index_of(edge.above)].typical[p];
    }

    EdgeEvidence evidence_of(const FittedEdge& edge) const {
        const auto upper = std::upper_bound(sizes_.begin(), sizes_.end(), edge.log2_bytes);
        EdgeEvidence evidence;
        evidence.bracket = {upper == sizes_.begin() ? sizes_.front() : *(upper - 1),
                            upper == sizes_.end() ? sizes_.back() : *upper};
        evidence.interval = edge.interval;
        evidence.wants_interval = edge.in_table;
        evidence.sessions = observations_.sessions;
        return evidence;
    }

    void ask_edges() {
        for (const FittedEdge& edge : fitted_edges()) {
            const bool settled = is_settled(curve_of(edge), evidence_of(edge), options_.guard_band);
            if (settled || (!edge.in_table && session_ > 0)) continue;
            for (const std::int64_t hidden_dim : hidden_dims_of(points_)) ask_beside(edge, hidden_dim);
        }
    }

    /// The points of a hidden dim on either side of an edge; one further where the curves have not crossed there.
    void ask_beside(const FittedEdge& edge, std::int64_t hidden_dim) {
        constexpr int kFurther = 2;
        std::vector<Point> of_dim;
        for (const Point& point : points_)
            if (point.hidden_dim == hidden_dim) of_dim.push_back(point);
        const auto upper = std::find_if(of_dim.begin(), of_dim.end(),
                                        [&](const Point& point) { return log2_bytes(point) > edge.log2_bytes; });
        const std::set<std::string> sides{edge.below, edge.above};
        // The slope on either side, against which the fit tells a step: once is enough.
        const std::vector<std::int64_t> hidden_dims = hidden_dims_of(points_);
        if (hidden_dim == hidden_dims[hidden_dims.size() / 2]) {
            if (of_dim.end() - upper >= 2) ask(*(upper + 1), sides, false);
            if (upper - of_dim.begin() >= 2) ask(*(upper - 2), sides, false);
        }
        auto point = upper;
        for (int i = 0; i <= kFurther && point != of_dim.end(); ++i, ++point) {
            ask(*point, sides, true);
            if (!(ratio_at(edge, *point) < -guard())) break; // `below` does not win here
        }
        point = upper;
        for (int i = 0; i <= kFurther && point != of_dim.begin(); ++i) {
            ask(*--point, sides, true);
            if (!(ratio_at(edge, *point) > guard())) break;
        }
    }

    // ---- ties ----

    void ask_ties() {
        std::vector<double> gains;
        for (Index k = 0; k < size_count(); ++k) {
            const Index fused = model_.best(k, [&](Index a) { return model_.is_challenger(a); });
            if (fused < 0) continue;
            gains.push_back(std::abs(model_.advantage(fused, model_.baseline_at(k), k)));
        }
        if (gains.empty() || median(gains) > 2 * guard()) return;
        const auto known = measured_; // ask() adds to it
        for (const auto& [point, names] : known) ask(point, {}, true);
    }

    const std::vector<Point>& points_;
    const std::vector<std::string>& algorithms_;
    const FitOptions& options_;
    int session_;
    CellObservations observations_;
    CellModel model_;
    std::vector<double> sizes_;                           // log2 bytes, of model_.sizes()
    std::map<Point, std::set<std::string>> measured_;     // in any session
    std::map<Point, std::set<std::string>> measured_now_; // in this one
    std::map<Point, std::set<std::string>> wanted_;
};

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
    const Launches launches = launch_search_.looks() == 0 ? Launches{} : fit_launches(samples, options_.guard_band);
    Questions questions(points_, algorithms_, options_, session, as_launched(samples, launches));
    const auto is_near_best = [&](const std::string& name, const Point& point) {
        return questions.is_near_best(name, log2_bytes(point));
    };
    std::vector<Trial> trials =
        without_measured(launch_search_.wanted(session, samples, is_near_best), session, samples);
    if (trials.empty()) trials = without_measured(launches_in_place_of_defaults(samples, launches), session, samples);
    if (!trials.empty()) return trials;
    const bool brackets = session == 0 || session + 1 < sessions_;
    trials = questions.answers(brackets);
    for (Trial& trial : trials)
        trial.algorithms = launched_algorithms(std::move(trial.algorithms), trial.point, launches, launches_);
    return without_measured(std::move(trials), session, samples);
}

std::vector<Trial> CellSearch::beside(const Point& point, std::span<const Sample> samples) const {
    const Launches launches = launch_search_.looks() == 0 ? Launches{} : fit_launches(samples, options_.guard_band);
    const Questions questions(points_, algorithms_, options_, 0, as_launched(samples, launches));
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
                trials.push_back({*each, launched_algorithms(questions.contenders(*each), *each, launches, launches_)});
    }
    return trials;
}

} // namespace crossover
