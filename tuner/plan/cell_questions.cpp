#include "tuner/plan/cell_questions.hpp"

#include "tuner/fit/fit_cell.hpp"
#include "tuner/fit/hidden_dims.hpp"
#include "tuner/fit/statistics.hpp"
#include "tuner/plan/stopping_rule.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <tuple>

namespace crossover {
namespace {

using Index = Eigen::Index;

/// Between two sizes that the same algorithm wins, its lead (ln) may be lost and won again if it is smaller than this
/// for each octave between them: ratios near crossings change by some 0.3 an octave, there and back.
constexpr double kLeadLost = 0.15;

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
    explicit Questions(const CellState& cell)
        : points_(cell.points), algorithms_(cell.algorithms), options_(cell.options), session_(cell.session),
          standings_(cell.standings), observations_(standings_.observations()), model_(standings_.model()),
          sizes_(standings_.sizes()) {
        for (const Sample& sample : cell.samples) {
            measured_[sample.point].insert(sample.algorithm);
            if (sample.session == session_) measured_now_[sample.point].insert(sample.algorithm);
        }
    }

    std::vector<Trial> answers(bool brackets) {
        if (sizes_.empty()) return {}; // nothing can be compared
        if (brackets) ask_brackets();
        if (wanted_.empty()) {
            const Cell cell = fit_cell(observations_, options_);
            ask_edges(cell);
            ask_rows(cell);
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

  private:
    double guard() const { return std::log1p(options_.guard_band); }

    /// Asks for the contenders at a point, and `always`, of which there is no sample yet.
    /// @param now  in this session; else in any
    void ask(const Point& point, const std::set<std::string>& always, bool now) {
        std::set<std::string> names = always;
        for (const std::string& name : algorithms_)
            if (standings_.is_contender(name, log2_bytes(point))) names.insert(name);
        const auto& known = measured_[point];
        if (std::all_of(known.begin(), known.end(), algorithm::is_challenger)) // a size needs a baseline to count
            names.insert(std::string(standings_.nearest_baseline(log2_bytes(point))));
        for (const std::string& name : names)
            if (!(now ? measured_now_ : measured_)[point].contains(name) &&
                std::find(algorithms_.begin(), algorithms_.end(), name) != algorithms_.end())
                wanted_[point].insert(name);
    }

    // ---- brackets ----

    bool is_open(Index k) const {
        const Index left = standings_.fastest(k), right = standings_.fastest(k + 1);
        const double octaves = sizes_[k + 1] - sizes_[k];
        if (left == right)
            return octaves > kNeighbours && std::min(standings_.lead(k), standings_.lead(k + 1)) < kLeadLost * octaves;
        const double at_left = model_.advantage(left, right, k), at_right = model_.advantage(right, left, k + 1);
        const bool is_near_tie = at_left < 2 * guard() && at_right < 2 * guard(); // NaN: not measured, far behind
        return octaves > kNeighbours || !is_near_tie;
    }

    void ask_brackets() {
        std::map<std::int64_t, int> of_dim; // points so far
        for (const auto& [point, names] : measured_) ++of_dim[point.hidden_dim];
        for (Index k = 0; k + 1 < standings_.size_count(); ++k) {
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

    std::vector<FittedEdge> fitted_edges(const Cell& cell) const {
        std::vector<FittedEdge> edges;
        const auto octaves_of = [](const std::array<std::uint64_t, 2>& bytes) {
            return std::array{log2_bytes(bytes[0]), log2_bytes(bytes[1])};
        };
        const auto interval_of = [&](const Threshold& threshold) -> std::optional<std::array<double, 2>> {
            if (!threshold.ci95) return std::nullopt;
            return octaves_of(*threshold.ci95);
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
                edge.interval = octaves_of(*cell.onset->ci95);
            edges.push_back(std::move(edge));
        }
        return edges;
    }

    /// ln(below ÷ above) by size.
    std::vector<RatioPoint> curve_of(const FittedEdge& edge) const {
        const Index below = standings_.index_of(edge.below), above = standings_.index_of(edge.above);
        std::vector<RatioPoint> curve;
        for (Index k = 0; k < standings_.size_count(); ++k)
            if (const double ratio = -model_.advantage(below, above, k); std::isfinite(ratio))
                curve.push_back({sizes_[k], ratio});
        return curve;
    }

    /// ln(below ÷ above) at a point; NaN if unknown.
    double ratio_at(const FittedEdge& edge, const Point& point) const {
        const auto found = std::lower_bound(observations_.points.begin(), observations_.points.end(), point);
        if (found == observations_.points.end() || *found != point) return std::nan("");
        const Index p = found - observations_.points.begin();
        return observations_.series[standings_.index_of(edge.below)].typical[p] -
               observations_.series[standings_.index_of(edge.above)].typical[p];
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

    void ask_edges(const Cell& cell) {
        for (const FittedEdge& edge : fitted_edges(cell)) {
            // Between unfused algorithms nobody asks for an interval, but one session alone may have been disturbed.
            const bool settled = is_settled(curve_of(edge), evidence_of(edge), options_.guard_band);
            if (settled || (!edge.in_table && session_ > 1)) continue;
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

    // ---- rows of hidden dims ----

    /// The points that would give a hidden dim a row, if the times there are no disturbed ones: once more.
    void ask_rows(const Cell& cell) {
        if (session_ == 0) return; // has them
        for (const HiddenDimFit& fit : fit_hidden_dims(observations_, cell, options_))
            for (Index p = 0; p < std::ssize(observations_.points); ++p) {
                const Point& point = observations_.points[p];
                if (point.hidden_dim != fit.hidden_dim) continue;
                const std::string own(select_algorithm(fit.own, message_bytes(point)));
                const std::string shared(select_algorithm(cell, message_bytes(point)));
                const Series* const first = observations_.find(own);
                const Series* const second = observations_.find(shared);
                if (!first || !second || (first->is_confirmed(p) && second->is_confirmed(p))) continue;
                if (second->typical[p] - first->typical[p] > std::log1p(kCostOfOneRow)) ask(point, {own, shared}, true);
            }
    }

    // ---- ties ----

    void ask_ties() {
        std::vector<double> gains;
        for (Index k = 0; k < standings_.size_count(); ++k) {
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
    const Standings& standings_;
    const CellObservations& observations_;
    const CellModel& model_;
    const std::vector<double>& sizes_;
    std::map<Point, std::set<std::string>> measured_;     // in any session
    std::map<Point, std::set<std::string>> measured_now_; // in this one
    std::map<Point, std::set<std::string>> wanted_;
};

} // namespace

std::vector<Trial> open_questions(const CellState& cell, bool brackets) { return Questions(cell).answers(brackets); }

std::vector<std::int64_t> hidden_dims_of(const std::vector<Point>& points) {
    std::set<std::int64_t> hidden_dims;
    for (const Point& point : points) hidden_dims.insert(point.hidden_dim);
    return {hidden_dims.begin(), hidden_dims.end()};
}

} // namespace crossover
