#include "tuner/fit/hidden_dims.hpp"

#include "tuner/fit/crossover.hpp"
#include "tuner/fit/fit_cell.hpp"

#include <algorithm>
#include <cmath>
#include <set>

namespace crossover {
namespace {

double octaves_between(const Point& smaller, const Point& larger) {
    return std::log2(static_cast<double>(message_bytes(larger)) / static_cast<double>(message_bytes(smaller)));
}

/// Whether one hidden_dim's points tell where its own limit is: they cover all sizes, or those on either side of it are
/// near. A search leaves wide gaps where all hidden_dims together have no edge: a limit in such a gap would say that
/// hidden_dims differ when it is only not known that they do not.
bool is_told(const std::vector<Point>& points, const std::optional<Threshold>& limit) {
    constexpr double kWide = 2.1; // octaves: wider than in any grid
    if (!limit || limit->max_bytes == 0 || limit->limited_by != LimitedBy::crossover) return true;
    double widest = 0, around = 0;
    for (std::size_t p = 1; p < points.size(); ++p) {
        const double gap = octaves_between(points[p - 1], points[p]);
        widest = std::max(widest, gap);
        if (message_bytes(points[p - 1]) <= limit->max_bytes) around = gap; // of the last such: the one around it
    }
    return widest <= kWide || around <= kNeighbours;
}

/// A MoE cell's baseline serves sizes up to this.
std::optional<Threshold> end_of_baseline(const std::optional<Onset>& onset) {
    if (!onset || !onset->min_bytes || onset->min_bytes == 0) return std::nullopt;
    Threshold limit;
    limit.max_bytes = *onset->min_bytes - 1;
    return limit;
}

/// Adds what `from` says of first…last (no last = open).
void append(std::vector<Interval>& intervals, const std::vector<Interval>& from, std::uint64_t first,
            std::optional<std::uint64_t> last) {
    for (Interval next : from) {
        if ((next.max_bytes && *next.max_bytes < first) || (last && next.min_bytes > *last)) continue;
        next.min_bytes = std::max(next.min_bytes, first);
        if (last) next.max_bytes = std::min(next.max_bytes.value_or(*last), *last);
        if (!intervals.empty() && intervals.back().algorithm == next.algorithm)
            intervals.back().max_bytes = next.max_bytes;
        else
            intervals.push_back(std::move(next));
    }
}

/// Whether the hidden_dim's samples begin above the cell's, and end below them.
bool begins_late(const Cell& own, const Cell& cell) { return own.measured_min_bytes > cell.measured_min_bytes; }
bool ends_early(const Cell& own, const Cell& cell) { return own.measured_max_bytes < cell.measured_max_bytes; }

/// Where the hidden_dim's samples end, its limits are those of the cell: above, if the algorithm still wins there;
/// below, if it does not win any more.
std::optional<Threshold> joined_limit(const std::optional<Threshold>& own, const std::optional<Threshold>& of_cell,
                                      const HiddenDimFit& fit, const Cell& cell) {
    if (!own || !of_cell) return own;
    if (own->max_bytes == fit.own.measured_max_bytes) return of_cell->max_bytes > own->max_bytes ? of_cell : own;
    if (own->max_bytes > 0 || !begins_late(fit.own, cell)) return own;
    const std::uint64_t below = fit.own.measured_min_bytes - 1;
    Threshold limit;
    limit.max_bytes = std::min(of_cell->max_bytes, below);
    limit.limited_by = LimitedBy::range;
    return of_cell->max_bytes <= below ? of_cell : limit;
}

/// The limit that ends where the joined intervals do: the hidden_dim's, or the cell's, or else the end of somebody's
/// sizes. `is_served`: whether the algorithm has an interval.
std::optional<Threshold> limit_at(std::uint64_t end, bool is_served, const std::optional<Threshold>& own,
                                  const std::optional<Threshold>& of_cell) {
    if (!own && !is_served) return own;
    for (const auto* const limit : {&own, &of_cell})
        if (*limit && (*limit)->max_bytes == end) return *limit;
    return Threshold{.max_bytes = end, .ci95 = {}, .limited_by = LimitedBy::range, .gain_at_edge = {}};
}

HiddenDimRow row_of(const HiddenDimFit& fit, const Cell& cell) {
    HiddenDimRow row{.hidden_dim = fit.hidden_dim,
                     .status = fit.own.status,
                     .oneshot = joined_limit(fit.own.oneshot, cell.oneshot, fit, cell),
                     .twoshot = joined_limit(fit.own.twoshot, cell.twoshot, fit, cell),
                     .onset = fit.own.onset,
                     .baseline = fit.own.baseline,
                     .workspace_bytes = fit.own.workspace_bytes};
    const std::uint64_t first = begins_late(fit.own, cell) ? fit.own.measured_min_bytes : 0;
    if (first > 0) append(row.intervals, cell.intervals, 0, first - 1);
    if (ends_early(fit.own, cell)) {
        const std::uint64_t last = fit.own.measured_max_bytes;
        append(row.intervals, fit.own.intervals, first, last);
        append(row.intervals, cell.intervals, last + 1, std::nullopt);
        row.baseline = cell.baseline;
    } else {
        append(row.intervals, fit.own.intervals, first, std::nullopt);
    }
    const auto begin = row.onset ? onset_begin(row.intervals) : std::nullopt;
    if (begin && begin->min_bytes != row.onset->min_bytes) { // what the cell says beyond the hidden_dim's samples
        const bool of_cell = cell.onset && cell.onset->min_bytes == begin->min_bytes;
        row.onset = of_cell ? cell.onset : Onset{.min_bytes = begin->min_bytes, .ci95 = {}, .gain_at_edge = {}};
    }
    if (row.intervals.size() > 1) row.status = CellStatus::measured; // a tie only where it was measured
    if (const auto ends = range_ends(row.intervals)) {
        row.oneshot = limit_at(ends->oneshot, ends->oneshot > 0, fit.own.oneshot, cell.oneshot);
        row.twoshot = limit_at(ends->twoshot, ends->twoshot > ends->oneshot, fit.own.twoshot, cell.twoshot);
    }
    if (row.oneshot != fit.own.oneshot || row.twoshot != fit.own.twoshot)
        row.workspace_bytes = std::max(row.workspace_bytes, cell.workspace_bytes);
    return row;
}

/// Limits that are not just the ends of the hidden_dim's samples.
void widen(std::optional<std::array<std::uint64_t, 2>>& range, const std::optional<Threshold>& limit, bool late) {
    if (!limit || limit->limited_by != LimitedBy::crossover || (limit->max_bytes == 0 && late)) return;
    if (!range) range = {limit->max_bytes, limit->max_bytes};
    *range = {std::min((*range)[0], limit->max_bytes), std::max((*range)[1], limit->max_bytes)};
}

HiddenDimSpread spread_of(const std::vector<HiddenDimFit>& fits, const Cell& cell) {
    HiddenDimSpread spread;
    double sum = 0;
    int points = 0;
    for (const HiddenDimFit& fit : fits) {
        ++spread.hidden_dims;
        widen(spread.oneshot, fit.own.oneshot, begins_late(fit.own, cell));
        widen(spread.twoshot, fit.own.twoshot, begins_late(fit.own, cell));
        sum += fit.mean_cost * fit.points;
        points += fit.points;
        spread.worst_cost = std::max(spread.worst_cost, fit.worst_cost);
    }
    spread.mean_cost = rounded_share(points > 0 ? sum / points : 0);
    spread.worst_cost = rounded_share(spread.worst_cost);
    return spread;
}

/// "one pair of limits for all hidden dims costs up to 4.2 % (mean 0.3 %) at hidden_dim 2880, whose own are …"
std::string note_on(const HiddenDimFit& worst, const HiddenDimRow& row) {
    std::string own;
    for (const auto& [name, limit] : {std::pair("oneshot", row.oneshot), std::pair("twoshot", row.twoshot)})
        if (limit) own += (own.empty() ? "" : ", ") + std::string(name) + " up to " + std::to_string(limit->max_bytes);
    if (row.onset)
        own =
            row.onset->min_bytes ? "challengers from " + std::to_string(*row.onset->min_bytes) : "challengers nowhere";
    return std::string(row.onset ? "one limit" : "one pair of limits") + " for all hidden dims costs up to " +
           percent_text(worst.worst_cost) + " (mean " + percent_text(worst.mean_cost) + ") at hidden_dim " +
           std::to_string(worst.hidden_dim) + ", whose own are " + own;
}

} // namespace

std::vector<HiddenDimFit> fit_hidden_dims(const CellObservations& observations, const Cell& cell,
                                          const FitOptions& options) {
    std::vector<HiddenDimFit> fits;
    std::set<std::int64_t> hidden_dims;
    for (const Point& point : observations.points) hidden_dims.insert(point.hidden_dim);
    const bool says_something = cell.status == CellStatus::measured || cell.status == CellStatus::tie;
    if (hidden_dims.size() < 2 || !says_something) return fits;
    for (const std::int64_t hidden_dim : hidden_dims) {
        const CellObservations part = observations.of_hidden_dim(hidden_dim);
        HiddenDimFit fit{.hidden_dim = hidden_dim, .own = fit_cell(part, options)};
        if (fit.own.status != CellStatus::measured && fit.own.status != CellStatus::tie) continue;
        if (!is_told(part.points, fit.own.oneshot) || !is_told(part.points, fit.own.twoshot) ||
            !is_told(part.points, end_of_baseline(fit.own.onset)))
            continue;
        double sum = 0;
        for (Eigen::Index p = 0; p < std::ssize(part.points); ++p) {
            const auto time_of = [&](const Cell& chooser) {
                const Series* series = part.find(select_algorithm(chooser, message_bytes(part.points[p])));
                return series && (part.sessions < 2 || series->is_confirmed(p)) ? series->typical[p] : std::nan("");
            };
            const double cost = std::expm1(time_of(cell) - time_of(fit.own));
            if (!std::isfinite(cost)) continue;
            sum += cost;
            ++fit.points;
            fit.worst_cost = std::max(fit.worst_cost, cost);
        }
        if (fit.points > 0) fit.mean_cost = sum / fit.points;
        fits.push_back(std::move(fit));
    }
    return fits;
}

void add_hidden_dims(Cell& cell, const std::vector<HiddenDimFit>& fits) {
    if (fits.empty()) return;
    cell.spread = spread_of(fits, cell);
    for (const HiddenDimFit& fit : fits)
        if (fit.worst_cost > kCostOfOneRow) cell.hidden_dims.push_back(row_of(fit, cell));
    const auto worst = std::max_element(fits.begin(), fits.end(), [](const HiddenDimFit& a, const HiddenDimFit& b) {
        return a.worst_cost < b.worst_cost;
    });
    if (!cell.hidden_dims.empty()) add_note(cell.note, note_on(*worst, row_of(*worst, cell)));
}

} // namespace crossover
