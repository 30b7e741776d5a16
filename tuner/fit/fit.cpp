#include "tuner/fit/fit.hpp"

#include "tuner/error.hpp"
#include "tuner/fit/fit_cell.hpp"

#include <algorithm>
#include <cmath>
#include <set>

namespace crossover {
namespace {

constexpr double kCostWorthSaying = 0.01; // of one pair of thresholds for all hidden_dims

std::set<std::int64_t> hidden_dims_of(const CellObservations& observations) {
    std::set<std::int64_t> hidden_dims;
    for (const Point& point : observations.points) hidden_dims.insert(point.hidden_dim);
    return hidden_dims;
}

double octaves_between(const Point& smaller, const Point& larger) {
    return std::log2(static_cast<double>(message_bytes(larger)) / static_cast<double>(message_bytes(smaller)));
}

/// Whether one hidden_dim's points tell where its own threshold is: they cover all sizes, or those on either side of it
/// are near. A search leaves wide gaps where all hidden_dims together have no edge: a limit in such a gap would say
/// that hidden_dims differ when it is only not known that they do not.
bool is_told(const std::vector<Point>& points, const std::optional<Threshold>& threshold) {
    constexpr double kWide = 2.1; // octaves: wider than in any grid
    constexpr double kNear = 1.1;
    if (!threshold || threshold->max_bytes == 0 || threshold->limited_by != LimitedBy::crossover) return true;
    double widest = 0, around = 0;
    for (std::size_t p = 1; p < points.size(); ++p) {
        const double gap = octaves_between(points[p - 1], points[p]);
        widest = std::max(widest, gap);
        if (message_bytes(points[p - 1]) <= threshold->max_bytes) around = gap; // of the last such: the one around it
    }
    return widest <= kWide || around <= kNear;
}

std::vector<HiddenDimFit> fit_hidden_dims(const CellObservations& observations, const Cell& cell,
                                          const FitOptions& options) {
    std::vector<HiddenDimFit> fits;
    const std::set<std::int64_t> hidden_dims = hidden_dims_of(observations);
    if (hidden_dims.size() < 2 || cell.status != CellStatus::measured) return fits;
    for (const std::int64_t hidden_dim : hidden_dims) {
        const CellObservations part = observations.of_hidden_dim(hidden_dim);
        const Cell own = fit_cell(part, options);
        if (own.status != CellStatus::measured && own.status != CellStatus::tie) continue;
        if (!is_told(part.points, own.oneshot) || !is_told(part.points, own.twoshot)) continue;
        HiddenDimFit fit{.key = cell.key, .hidden_dim = hidden_dim, .oneshot = own.oneshot, .twoshot = own.twoshot};
        double sum = 0;
        int points = 0;
        for (std::size_t p = 0; p < part.points.size(); ++p) {
            const auto time_of = [&](const Cell& chooser) {
                const Series* series = part.find(select_algorithm(chooser, message_bytes(part.points[p])));
                return series ? series->typical[static_cast<Eigen::Index>(p)] : std::nan("");
            };
            const double cost = std::expm1(time_of(cell) - time_of(own));
            if (!std::isfinite(cost)) continue;
            sum += cost;
            ++points;
            fit.worst_cost = std::max(fit.worst_cost, cost);
        }
        if (points > 0) fit.mean_cost = sum / points;
        fits.push_back(fit);
    }
    return fits;
}

/// "one pair of limits for all hidden dims costs up to 4.2 % (at 2880, where oneshot ends at 65536 bytes of …)"
std::string hidden_dim_note(const std::vector<HiddenDimFit>& fits) {
    const auto worst = std::max_element(fits.begin(), fits.end(), [](const HiddenDimFit& a, const HiddenDimFit& b) {
        return a.worst_cost < b.worst_cost;
    });
    if (worst == fits.end() || worst->worst_cost <= kCostWorthSaying) return "";
    std::string own;
    for (const auto& [name, threshold] : {std::pair("oneshot", worst->oneshot), std::pair("twoshot", worst->twoshot)})
        if (threshold)
            own += (own.empty() ? "" : ", ") + std::string(name) + " up to " + std::to_string(threshold->max_bytes);
    return "one pair of limits for all hidden dims costs up to " + percent_text(worst->worst_cost) + " (mean " +
           percent_text(worst->mean_cost) + ") at hidden_dim " + std::to_string(worst->hidden_dim) +
           ", whose own are " + own;
}

void require_one_sku(const std::vector<CellObservations>& cells) {
    for (const CellObservations& cell : cells)
        if (cell.sku != cells.front().sku || cell.compute_capability != cells.front().compute_capability)
            throw InputError("samples", "two kinds of GPU, " + cells.front().sku + " and " + cell.sku,
                             "fit each kind's samples on their own");
}

} // namespace

std::vector<Cell> fit_cells(std::span<const Sample> samples, const FitOptions& options) {
    const std::vector<CellObservations> observations = arrange(samples);
    require_one_sku(observations);
    std::vector<Cell> cells;
    for (const CellObservations& each : observations) {
        Cell cell = fit_cell(each, options);
        if (const std::string note = hidden_dim_note(fit_hidden_dims(each, cell, options)); !note.empty())
            add_note(cell.note, note);
        cells.push_back(std::move(cell));
    }
    return cells;
}

std::vector<HiddenDimFit> fit_hidden_dims(std::span<const Sample> samples, std::span<const Cell> cells,
                                          const FitOptions& options) {
    const std::vector<CellObservations> observations = arrange(samples);
    require_one_sku(observations);
    std::vector<HiddenDimFit> fits;
    for (const CellObservations& each : observations)
        for (const Cell& cell : cells)
            if (cell.key == each.key) {
                const std::vector<HiddenDimFit> of_cell = fit_hidden_dims(each, cell, options);
                fits.insert(fits.end(), of_cell.begin(), of_cell.end());
            }
    return fits;
}

} // namespace crossover
