#include "tuner/fit/cell_model.hpp"

#include "tuner/fit/guard_band.hpp"
#include "tuner/fit/interpolation.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

namespace crossover {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// Points that an algorithm must have in several sessions to tell noise. What is far behind is hardly measured again:
/// of two such points, one disturbed time would pass for the noise of them all, in which every win is a tie.
constexpr Eigen::Index kEnoughRepeated = 6;

int rank_in(Pattern pattern, std::string_view name) {
    if (is_moe(pattern)) return algorithm::is_challenger(name) ? 1 : 0;
    return name == algorithm::oneshot ? 0 : name == algorithm::twoshot ? 1 : 2;
}

/// `typical`, and between measured sizes of a hidden_dim what they lead to, where both are near: an outlier that was
/// taken out leaves such a gap. Wider ones were left on purpose.
Eigen::ArrayXd with_gaps_filled(const Series& series, const std::vector<Point>& points) {
    Eigen::ArrayXd filled = series.typical;
    for (Eigen::Index first = 0, last = 0; first < filled.size(); first = last) {
        std::vector<double> x, y; // of one hidden_dim
        for (; last < filled.size() && points[last].hidden_dim == points[first].hidden_dim; ++last) {
            if (!std::isfinite(series.typical[last])) continue;
            x.push_back(log2_bytes(points[last]));
            y.push_back(series.typical[last]);
        }
        if (x.size() < 2 || static_cast<Eigen::Index>(x.size()) == last - first) continue;
        const auto curve = interpolate(x, y);
        for (Eigen::Index p = first; p < last; ++p) {
            const double at = log2_bytes(points[p]);
            const auto right = std::upper_bound(x.begin(), x.end(), at);
            if (std::isfinite(filled[p]) || series.barred[p] != Barred::no || right == x.begin() || right == x.end())
                continue;
            if (std::max(at - *(right - 1), *right - at) <= kNeighbours) filled[p] = curve(at);
        }
    }
    return filled;
}

} // namespace

CellModel::CellModel(const CellObservations& cell) : cell_(cell) {
    const auto algorithms = static_cast<Eigen::Index>(cell.series.size());
    const auto points = static_cast<Eigen::Index>(cell.points.size());
    log_us_.resize(algorithms, points);
    for (Eigen::Index a = 0; a < algorithms; ++a) {
        const Series& series = cell.series[a];
        rank_.push_back(rank_in(cell.key.pattern, series.name));
        log_us_.row(a) = with_gaps_filled(series, cell.points).transpose();
    }

    // Of a log ratio: two algorithms, each as noisy as the noisiest of those that can tell.
    Eigen::Index enough = 0;
    for (const Series& series : cell.series) enough = std::max(enough, series.repeated);
    enough = std::min(enough, kEnoughRepeated);
    for (const Series& series : cell.series)
        if (cell.sessions > 1 && series.repeated >= enough)
            noise_ = std::max(noise_.value_or(0), std::sqrt(2.0) * series.noise);

    const auto has_baseline = [&](const auto& usable) {
        for (Eigen::Index a = 0; a < algorithms; ++a)
            if (!is_challenger(a) && usable(a)) return true;
        return false;
    };
    std::map<std::uint64_t, std::vector<Eigen::Index>> by_size;
    for (Eigen::Index p = 0; p < points; ++p)
        if (has_baseline([&](Eigen::Index a) { return std::isfinite(log_us_(a, p)); }))
            by_size[message_bytes(cell.points[p])].push_back(p);
    // What is barred at a point is not used at its size, for whatever hidden_dim.
    const auto barred_at = [&](Eigen::Index a, const std::vector<Eigen::Index>& size) {
        Barred barred = Barred::no;
        for (const Eigen::Index p : size) barred = std::max(barred, cell.series[a].barred[p]);
        return barred;
    };
    for (const auto& size : by_size) {
        const auto usable = [&](Eigen::Index a) {
            return barred_at(a, size.second) == Barred::no &&
                   std::ranges::any_of(size.second, [&](Eigen::Index p) { return std::isfinite(log_us_(a, p)); });
        };
        if (!has_baseline(usable)) continue;
        sizes_.push_back(size.first);
        points_.push_back(size.second);
    }

    // The hidden_dims with a point at about a size: a search may have looked there with one of them only.
    const auto curves_at = [&](std::uint64_t bytes) {
        std::set<std::int64_t> hidden_dims;
        for (const auto& [other, at] : by_size)
            if (std::abs(log2_bytes(other) - log2_bytes(bytes)) <= kSameSize)
                for (const Eigen::Index p : at) hidden_dims.insert(cell.points[p].hidden_dim);
        return static_cast<double>(hidden_dims.size());
    };
    const auto sizes = static_cast<Eigen::Index>(sizes_.size());
    cost_ = Eigen::ArrayXXd::Constant(algorithms, sizes, kInfinity);
    barred_.assign(cell.series.size(), std::vector<Barred>(sizes_.size(), Barred::no));
    for (Eigen::Index k = 0; k < sizes; ++k) {
        const double weight = static_cast<double>(points_[k].size()) / curves_at(sizes_[k]);
        const std::vector<Eigen::ArrayXd> columns = times_at(k);
        for (Eigen::Index a = 0; a < algorithms; ++a) {
            double sum = 0;
            int measured = 0;
            const Barred barred = barred_[a][k] = barred_at(a, points_[k]);
            for (const Eigen::ArrayXd& times : columns) {
                if (!std::isfinite(times[a])) continue;
                sum += times[a] - times.isFinite().select(times, kInfinity).minCoeff();
                ++measured;
            }
            if (measured > 0 && barred == Barred::no) cost_(a, k) = sum / measured * weight;
        }
    }
}

std::vector<Eigen::ArrayXd> CellModel::times_at(Eigen::Index size) const {
    std::vector<Eigen::ArrayXd> columns;
    const std::vector<Point>& points = cell_.points;
    const double at = log2_bytes(sizes_[size]);
    for (std::size_t first = 0, last = 0; first < points.size(); first = last) {
        while (last < points.size() && points[last].hidden_dim == points[first].hidden_dim) ++last;
        const auto of_dim = std::span(points).subspan(first, last - first);
        const auto begin = static_cast<Eigen::Index>(first), end = static_cast<Eigen::Index>(last);
        const Eigen::Index above =
            begin + (std::ranges::lower_bound(of_dim, sizes_[size], {}, message_bytes) - of_dim.begin());
        if (above < end && message_bytes(points[above]) == sizes_[size]) {
            columns.emplace_back(log_us_.col(above));
            continue;
        }
        if (above == begin || above == end) continue;
        const double left = log2_bytes(points[above - 1]), right = log2_bytes(points[above]);
        if (right - left > kNeighbours) continue;
        const double share = (at - left) / (right - left);
        columns.emplace_back((1 - share) * log_us_.col(above - 1) + share * log_us_.col(above)); // NaN if either is
    }
    return columns;
}

std::vector<Segment> CellModel::segments(double guard_band, bool ordered) const {
    const double switch_cost = 0.5 * std::log1p(guard_band);
    std::vector<GuardBand> bands; // by algorithm
    for (Eigen::Index a = 0; a < cost_.rows(); ++a) bands.emplace_back(gains(a), guard_band, noise_);
    Eigen::ArrayXXd cost = cost_;
    for (;;) { // ends: each round bars at least one algorithm at one size
        std::vector<Segment> segments = least_regret_segments(cost, rank_, switch_cost, ordered);
        bool all_earned = true;
        for (std::size_t i = 0; i < segments.size(); ++i) {
            const Segment& segment = segments[i];
            const bool topmost = i + 1 == segments.size() || !is_challenger(segments[i + 1].algorithm);
            const bool lowest = i == 0 || !is_challenger(segments[i - 1].algorithm);
            const bool meets_baseline = is_moe(cell_.key.pattern) ? lowest : topmost;
            if (!is_challenger(segment.algorithm) || !meets_baseline) continue;
            if (bands[segment.algorithm].wins(segment.begin, segment.end)) continue;
            cost.row(segment.algorithm).segment(segment.begin, segment.end - segment.begin) = kInfinity;
            all_earned = false;
        }
        if (all_earned) return segments;
    }
}

Eigen::Index CellModel::best(Eigen::Index size, const std::function<bool(Eigen::Index)>& among) const {
    Eigen::Index found = -1;
    for (Eigen::Index a = 0; a < cost_.rows(); ++a)
        if (among(a) && std::isfinite(cost_(a, size)) && (found < 0 || cost_(a, size) < cost_(found, size))) found = a;
    return found;
}

Eigen::Index CellModel::baseline_at(Eigen::Index size) const {
    return best(size, [&](Eigen::Index a) { return !is_challenger(a); });
}

Eigen::Index CellModel::baseline() const {
    Eigen::Index found = -1;
    for (Eigen::Index a = 0; a < cost_.rows(); ++a)
        if (!is_challenger(a) && (found < 0 || cost_.row(a).sum() < cost_.row(found).sum())) found = a;
    return found;
}

double CellModel::advantage(Eigen::Index algorithm, Eigen::Index other, Eigen::Index size) const {
    double sum = 0;
    int both = 0;
    for (const Eigen::Index p : points_[size]) {
        const double difference = log_us_(other, p) - log_us_(algorithm, p);
        if (!std::isfinite(difference)) continue;
        sum += difference;
        ++both;
    }
    return both > 0 ? sum / both : kNaN;
}

std::vector<double> CellModel::gains(Eigen::Index algorithm) const {
    std::vector<double> gains;
    for (Eigen::Index k = 0; k < cost_.cols(); ++k) {
        const double gain = std::isfinite(cost_(algorithm, k)) ? advantage(algorithm, baseline_at(k), k) : kNaN;
        gains.push_back(std::isfinite(gain) ? gain : -kInfinity);
    }
    return gains;
}

bool CellModel::is_better(const std::vector<Segment>& segments, const std::vector<Segment>& others,
                          double guard_band) const {
    const auto algorithm_at = [](const std::vector<Segment>& of, Eigen::Index size) {
        return std::find_if(of.begin(), of.end(), [&](const Segment& s) { return size < s.end; })->algorithm;
    };
    std::vector<double> gains;
    for (Eigen::Index k = 0; k < cost_.cols(); ++k) {
        const double gain = advantage(algorithm_at(segments, k), algorithm_at(others, k), k);
        gains.push_back(std::isfinite(gain) ? gain : 0);
    }
    return GuardBand(gains, guard_band, noise_).wins(0, gains.size());
}

bool CellModel::is_tie(double guard_band) const {
    std::vector<double> best_gains(sizes_.size(), -kInfinity);
    for (Eigen::Index a = 0; a < cost_.rows(); ++a) {
        if (!is_challenger(a)) continue;
        const std::vector<double> of_algorithm = gains(a);
        for (std::size_t k = 0; k < of_algorithm.size(); ++k) best_gains[k] = std::max(best_gains[k], of_algorithm[k]);
    }
    const GuardBand band(best_gains, guard_band, noise_);
    return !band.wins(0, best_gains.size()) && !band.loses();
}

std::vector<RatioPoint> CellModel::curve(const Contest& contest, const LogTime& log_us, double rounding_side) const {
    std::vector<RatioPoint> curve;
    for (Eigen::Index k = contest.first; k < contest.last; ++k) {
        const Eigen::Index below = contest.below[k], above = contest.above[k];
        if (below < 0 || above < 0) continue;
        for (const Eigen::Index p : points_[k]) {
            const double rounding = cell_.series[below].rounding[p] + cell_.series[above].rounding[p];
            const double ratio = log_us(below, p) - log_us(above, p) + rounding_side * rounding;
            if (std::isfinite(ratio)) curve.push_back({log2_bytes(sizes_[k]), ratio});
        }
    }
    return curve;
}

Edge CellModel::edge(const Contest& contest) const {
    const auto typical_time = [&](Eigen::Index a, Eigen::Index p) { return log_us_(a, p); };
    const std::vector<RatioPoint> typical = curve(contest, typical_time);
    const double lowest = log2_bytes(sizes_[contest.cut - 1]), highest = log2_bytes(sizes_[contest.cut]);
    if (typical.empty()) return {.log2_bytes = lowest, .interval = {}};
    const Crossing crossing = find_crossing(typical);
    Edge edge{.log2_bytes = std::clamp(crossing.log2_bytes, lowest, highest), .interval = {}};

    std::vector<std::vector<RatioPoint>> sessions;
    for (Eigen::Index s = 0; s < cell_.sessions; ++s) {
        const auto measured = [&](Eigen::Index a, Eigen::Index p) { return cell_.series[a].log_us(p, s); };
        Contest beside = contest; // a session that was not there says nothing of its own
        beside.first = contest.cut - 1;
        beside.last = contest.cut + 1;
        if (curve(beside, measured).empty()) continue;
        sessions.push_back(curve(contest, [&](auto a, auto p) {
            const double own = measured(a, p);
            return std::isfinite(own) ? own : log_us_(a, p) + cell_.series[a].session_offset[s];
        }));
    }
    edge.interval = crossing_interval(sessions);

    // What coarse times leave open: the crossings if all of them were off to one side.
    const double earlier = crossing.log2_bytes - find_crossing(curve(contest, typical_time, 1)).log2_bytes;
    const double later = find_crossing(curve(contest, typical_time, -1)).log2_bytes - crossing.log2_bytes;
    if (!edge.interval && (earlier > 0 || later > 0)) edge.interval = {edge.log2_bytes, edge.log2_bytes};
    if (edge.interval) {
        auto& [low, high] = *edge.interval;
        low = std::min(low, edge.log2_bytes) - earlier - (crossing.log2_bytes - crossing.possible[0]);
        high = std::max(high, edge.log2_bytes) + later + (crossing.possible[1] - crossing.log2_bytes);
    }
    return edge;
}

} // namespace crossover
