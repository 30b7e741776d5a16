#include "tuner/fit/observations.hpp"

#include "tuner/fit/crossover.hpp"
#include "tuner/fit/statistics.hpp"
#include "tuner/launch_name.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <tuple>

namespace crossover {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
/// Rest beyond which a sample is an outlier: 6 standard deviations, and never under 4 %, which real sessions differ by.
constexpr double kOutlierDeviations = 6;
constexpr double kOutlierFloor = 0.04;
/// A lone spike this high (ln, 22 %) is not taken for a feature of the machine. NCCL's own lone features reach that.
constexpr double kSpike = 0.2;
/// Octaves between neighbours on one curve: a grid of powers of two, one missing.
constexpr double kNear = 2.1;

std::vector<double> finite_values(const Eigen::Ref<const Eigen::ArrayXd, 0, Eigen::InnerStride<>>& values) {
    std::vector<double> finite;
    for (const double value : values)
        if (std::isfinite(value)) finite.push_back(value);
    return finite;
}

double median_or_nan(std::vector<double> values) { return values.empty() ? kNaN : median(std::move(values)); }

/// Median polish: log_us ≈ typical + session_offset.
void polish(Series& series) {
    const auto points = series.log_us.rows(), sessions = series.log_us.cols();
    series.session_offset = Eigen::ArrayXd::Zero(sessions);
    series.typical = Eigen::ArrayXd::Constant(points, kNaN);
    const int rounds = sessions > 1 ? 3 : 1; // converges fast; the offsets are small
    for (int round = 0; round < rounds; ++round) {
        for (Eigen::Index p = 0; p < points; ++p)
            series.typical[p] =
                median_or_nan(finite_values((series.log_us.row(p).transpose() - series.session_offset).eval()));
        if (sessions == 1) return;
        for (Eigen::Index s = 0; s < sessions; ++s)
            series.session_offset[s] = median_or_nan(finite_values((series.log_us.col(s) - series.typical).eval()));
        const double centre = median_or_nan(finite_values(series.session_offset)); // a disturbed session has no say
        series.session_offset -= centre;
        series.typical += centre;
    }
}

/// What polish() leaves over, at points that several sessions measured: of one alone it leaves nothing, which is no
/// sign of precision.
std::vector<double> rest_of(const Series& series) {
    const Eigen::ArrayXXd rest =
        (series.log_us.rowwise() - series.session_offset.transpose()).colwise() - series.typical;
    std::vector<double> finite;
    for (Eigen::Index p = 0; p < rest.rows(); ++p)
        if (const std::vector<double> values = finite_values(rest.row(p).transpose().eval()); values.size() > 1)
            finite.insert(finite.end(), values.begin(), values.end());
    return finite;
}

/// Standard deviation of `typical` at a point with as many sessions as the median point has.
double noise_of(const Series& series) {
    const std::vector<double> rest = rest_of(series);
    if (rest.empty()) return 0;
    std::vector<double> sessions, of_several; // per point
    for (Eigen::Index p = 0; p < series.log_us.rows(); ++p) {
        const auto count = static_cast<double>(series.log_us.row(p).isFinite().count());
        if (count > 0) sessions.push_back(count);
        if (count > 1) of_several.push_back(count);
    }
    const double several = median(of_several);
    const double of_one_sample = robust_deviation(rest, 0) * std::sqrt(several / (several - 1));
    return of_one_sample / std::sqrt(median(sessions));
}

/// spike() of `value` in the place of typical[p], among the points of p's hidden_dim, as far as these are near enough
/// to one another to tell a spike from the bend that every curve has between latency and bandwidth.
double spike_at(const Series& series, const std::vector<Point>& points, Eigen::Index p, double value) {
    std::vector<double> x, y;
    std::size_t i = 0;
    const auto same_curve = [&](Eigen::Index q) {
        return q >= 0 && q < series.typical.size() && points[q].hidden_dim == points[p].hidden_dim;
    };
    Eigen::Index first = p, last = p; // two neighbours on each side are enough
    for (int found = 0; found < 2 && same_curve(first - 1); found += std::isfinite(series.typical[first])) --first;
    for (int found = 0; found < 2 && same_curve(last + 1); found += std::isfinite(series.typical[last])) ++last;
    for (Eigen::Index q = first; q <= last; ++q) {
        if (q != p && !std::isfinite(series.typical[q])) continue;
        const double at = log2_bytes(points[q]);
        if (!x.empty() && at - x.back() > kNear) {
            if (q > p) break;
            x.clear();
            y.clear();
        }
        if (q == p) i = x.size();
        x.push_back(at);
        y.push_back(q == p ? value : series.typical[q]);
    }
    return spike(x, y, i);
}

/// Whether `value` at p is alone: sticks out, and no other hidden_dim does so at that size.
bool is_lone_spike(const Series& series, const std::vector<Point>& points, Eigen::Index p, double value) {
    const double height = spike_at(series, points, p, value);
    if (std::abs(height) <= kSpike) return false;
    for (Eigen::Index q = 0; q < series.typical.size(); ++q) {
        if (points[q].hidden_dim == points[p].hidden_dim || !std::isfinite(series.typical[q])) continue;
        if (std::abs(log2_bytes(points[q]) - log2_bytes(points[p])) > kSameSize) continue;
        if (spike_at(series, points, q, series.typical[q]) / height > 0.5) return false;
    }
    return true;
}

/// What the sessions agree on at a point: the median, or the lower of the two middle values where these are further
/// apart than `limit`, because disturbances make calls slower and never faster.
double consensus(std::vector<double> values, double limit) {
    std::sort(values.begin(), values.end());
    const std::size_t half = values.size() / 2;
    const double lower = values[values.size() % 2 == 0 ? half - 1 : half];
    return values[half] - lower > limit ? lower : 0.5 * (lower + values[half]);
}

/// Sets outliers to NaN; how many.
std::int64_t remove_outliers(Series& series, const std::vector<Point>& points) {
    const Eigen::ArrayXXd steady = series.log_us.rowwise() - series.session_offset.transpose(); // offsets taken out
    const std::vector<double> rest = rest_of(series);
    const double limit = std::max(kOutlierFloor, rest.empty() ? 0 : kOutlierDeviations * robust_deviation(rest, 0));

    std::int64_t removed = 0;
    for (Eigen::Index p = 0; p < steady.rows(); ++p) {
        const std::vector<double> values = finite_values(steady.row(p).transpose().eval());
        if (values.empty()) continue;
        const bool alone = values.size() == 1;
        if (alone && !is_lone_spike(series, points, p, values.front())) continue;
        const double tolerance = limit + 2 * series.rounding[p];
        const double agreed = consensus(values, tolerance);
        for (Eigen::Index s = 0; s < steady.cols(); ++s)
            if (alone || std::abs(steady(p, s) - agreed) > tolerance) {
                removed += std::isfinite(series.log_us(p, s));
                series.log_us(p, s) = kNaN;
            }
    }
    return removed;
}

/// Half the width in ln that rounding leaves open. Importers put the rounding's ends into p10 and p90: then the width
/// divides the time (7 µs ± ½), which percentiles over replays do by chance only, and harmlessly where they are close.
double rounding_of(const Sample& sample) {
    const double width = sample.p90_us - sample.p10_us;
    if (!(width > 0) || !(sample.p10_us > 0)) return 0;
    const bool centred = std::abs(sample.p10_us + sample.p90_us - 2 * sample.latency_us) < 1e-6 * sample.latency_us;
    const double steps = sample.latency_us / width;
    if (!centred || std::abs(steps - std::round(steps)) > 1e-4) return 0;
    return 0.5 * std::log(sample.p90_us / sample.p10_us);
}

Barred barred_by(const Sample& sample) {
    switch (sample.status) {
    case SampleStatus::ok:
        return Barred::no;
    case SampleStatus::skipped:
        return sample.note.find("workspace") == std::string::npos ? Barred::skipped : Barred::no_workspace;
    case SampleStatus::failed:
    case SampleStatus::timeout:
        return Barred::failed;
    }
    return Barred::failed;
}

/// Order of series: oneshot, twoshot, then by name.
auto series_order(std::string_view name) {
    return std::tuple(name != algorithm::oneshot, name != algorithm::twoshot, name);
}

template <class T>
void sort_unique(std::vector<T>& values) {
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
}

template <class T>
Eigen::Index index_of(const std::vector<T>& sorted, const T& value) {
    return std::lower_bound(sorted.begin(), sorted.end(), value) - sorted.begin();
}

} // namespace

CellObservations arrange_cell(const std::vector<const Sample*>& samples) {
    CellObservations cell;
    cell.sku = samples.front()->sku;
    cell.compute_capability = samples.front()->compute_capability;
    cell.key = samples.front()->point.cell;
    std::vector<int> sessions;
    for (const Sample* sample : samples) {
        cell.points.push_back(sample->point);
        sessions.push_back(sample->session);
        if (!cell.find(sample->algorithm)) cell.series.emplace_back().name = sample->algorithm;
    }
    sort_unique(cell.points);
    sort_unique(sessions);
    cell.sessions = static_cast<int>(sessions.size());
    std::sort(cell.series.begin(), cell.series.end(),
              [](const Series& a, const Series& b) { return series_order(a.name) < series_order(b.name); });
    const auto points = static_cast<Eigen::Index>(cell.points.size());
    for (Series& series : cell.series) {
        series.log_us = Eigen::ArrayXXd::Constant(points, cell.sessions, kNaN);
        series.rounding = Eigen::ArrayXd::Zero(points);
        series.barred.assign(cell.points.size(), Barred::no);
    }

    for (const Sample* sample : samples) {
        Series& series = *std::find_if(cell.series.begin(), cell.series.end(),
                                       [&](const Series& each) { return each.name == sample->algorithm; });
        const Eigen::Index p = index_of(cell.points, sample->point), s = index_of(sessions, sample->session);
        if (sample->status != SampleStatus::ok) {
            series.barred[p] = std::max(series.barred[p], barred_by(*sample));
            if (series.reason.empty()) series.reason = sample->note;
            continue;
        }
        if (!(sample->latency_us > 0)) continue;
        ++cell.samples;
        series.log_us(p, s) = std::log(sample->latency_us);
        series.rounding[p] = std::max(series.rounding[p], rounding_of(*sample));
    }
    for (Series& series : cell.series) {
        for (Eigen::Index p = 0; p < points; ++p) {
            if (series.barred[p] == Barred::failed) series.log_us.row(p).setConstant(kNaN);
            if (series.log_us.row(p).isFinite().any()) series.barred[p] = Barred::no;
        }
        polish(series);
        if (const std::int64_t removed = remove_outliers(series, cell.points)) {
            cell.outliers += removed;
            polish(series);
        }
        series.noise = noise_of(series);
        series.repeated = (series.log_us.isFinite().rowwise().count() > 1).count();
    }
    return cell;
}

double spike(std::span<const double> x, std::span<const double> y, std::size_t i) {
    if (i == 0 || i + 1 >= y.size()) return 0;
    const auto slope = [&](std::size_t a, std::size_t b) { return (y[b] - y[a]) / (x[b] - x[a]); };
    const bool far_left = i >= 2, far_right = i + 2 < y.size();
    const double across = slope(i - 1, i + 1);
    const double right_slope = far_right ? slope(i + 1, i + 2) : far_left ? slope(i - 2, i - 1) : across;
    const double left_slope = far_left ? slope(i - 2, i - 1) : right_slope;
    const double from_left = y[i] - (y[i - 1] + left_slope * (x[i] - x[i - 1]));
    const double from_right = y[i] - (y[i + 1] - right_slope * (x[i + 1] - x[i]));
    const double from_both = y[i] - (y[i - 1] + across * (x[i] - x[i - 1]));
    if (!far_left && !far_right) return std::max(from_both, 0.0);
    const auto [least, greatest] = std::minmax({from_left, from_right, from_both});
    return least > 0 ? least : greatest < 0 ? greatest : 0;
}

const Series* CellObservations::find(std::string_view name) const {
    const auto found = std::find_if(series.begin(), series.end(), [&](const Series& s) { return s.name == name; });
    return found == series.end() ? nullptr : &*found;
}

CellObservations CellObservations::of_hidden_dim(std::int64_t hidden_dim) const {
    const auto of_dim = [&](const Point& point) { return point.hidden_dim == hidden_dim; };
    const auto first = std::find_if(points.begin(), points.end(), of_dim);
    const auto last = std::find_if_not(first, points.end(), of_dim);
    const Eigen::Index from = first - points.begin(), rows = last - first;
    CellObservations part = *this;
    part.points.assign(first, last);
    for (Series& each : part.series) {
        const Series& whole = *find(each.name);
        each.log_us = whole.log_us.middleRows(from, rows);
        each.typical = whole.typical.segment(from, rows);
        each.rounding = whole.rounding.segment(from, rows);
        each.barred.assign(whole.barred.begin() + from, whole.barred.begin() + from + rows);
    }
    return part;
}

std::vector<CellObservations> arrange(std::span<const Sample> samples) {
    std::map<std::tuple<std::string_view, std::string_view, CellKey>, std::vector<const Sample*>> cells;
    for (const Sample& sample : samples)
        if (sample.algorithm != algorithm::floor && !is_launch_variant(sample.algorithm)) // a bound is not to be chosen
            cells[{sample.sku, sample.compute_capability, sample.point.cell}].push_back(&sample);
    std::vector<CellObservations> arranged;
    arranged.reserve(cells.size());
    for (const auto& [key, members] : cells) arranged.push_back(arrange_cell(members));
    return arranged;
}

} // namespace crossover
