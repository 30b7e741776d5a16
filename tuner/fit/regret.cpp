#include "tuner/fit/regret.hpp"

#include "tuner/fit/fit.hpp"
#include "tuner/fit/launches.hpp"
#include "tuner/fit/observations.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

namespace crossover {
namespace {

bool is_any(std::string_view) { return true; }
bool is_unfused(std::string_view name) { return !algorithm::is_challenger(name); }
bool is_nccl(std::string_view name) { return name == algorithm::nccl || name.starts_with("nccl_"); }

const Series* fastest(const CellObservations& cell, Eigen::Index point, bool (*among)(std::string_view)) {
    const Series* best = nullptr;
    for (const Series& series : cell.series) {
        if (!std::isfinite(series.typical[point]) || !among(series.name)) continue;
        if (!best || series.typical[point] < best->typical[point]) best = &series;
    }
    return best;
}

void add_point(const CellObservations& cell, Eigen::Index p, const Choice& choice, RegretReport& report) {
    const Series* best = fastest(cell, p, is_any);
    if (!best) return;
    const Point& point = cell.points[p];
    const std::string name = choice(cell.compute_capability, point);
    if (name == algorithm::not_measured) {
        ++report.not_covered;
        return;
    }
    const Series* chosen = name == kUnfused ? fastest(cell, p, is_unfused)
                           : name == kNccl  ? fastest(cell, p, is_nccl)
                                            : cell.find(name);
    if (!chosen || !std::isfinite(chosen->typical[p])) {
        ++report.not_sampled;
        if (std::find(report.missing.begin(), report.missing.end(), name) == report.missing.end())
            report.missing.push_back(name);
        return;
    }
    report.points.push_back({.sku = cell.sku,
                             .point = point,
                             .chosen = chosen->name,
                             .best = best->name,
                             .chosen_us = std::exp(chosen->typical[p]),
                             .best_us = std::exp(best->typical[p])});
}

} // namespace

Choice choice_of(std::span<const Cell> cells) {
    return [cells](const std::string&, const Point& point) -> std::string {
        const auto cell =
            std::find_if(cells.begin(), cells.end(), [&](const Cell& each) { return each.key == point.cell; });
        return std::string(cell == cells.end() ? algorithm::not_measured
                                               : select_algorithm(*cell, message_bytes(point), point.hidden_dim));
    };
}

std::size_t sessions_of(const Point& point, std::span<const Sample> samples) {
    std::set<int> sessions;
    for (const Sample& sample : samples)
        if (sample.point == point) sessions.insert(sample.session);
    return sessions.size();
}

RegretReport regret_report(std::span<const CellObservations> cells, const Choice& choice) {
    RegretReport report;
    for (const CellObservations& cell : cells) {
        report.outliers += cell.outliers;
        for (std::size_t p = 0; p < cell.points.size(); ++p)
            add_point(cell, static_cast<Eigen::Index>(p), choice, report);
    }
    std::stable_sort(report.points.begin(), report.points.end(),
                     [](const PointRegret& a, const PointRegret& b) { return a.regret() > b.regret(); });
    return report;
}

RegretReport regret_report(std::span<const Sample> samples, const Choice& choice) {
    return regret_report(arrange(samples), choice);
}

RegretReport regret_report(std::span<const Sample> samples, std::span<const Cell> cells) {
    return regret_report(as_launched(samples, launches_of(cells)), choice_of(cells));
}

std::vector<RegretGroup> by_world_size_and_quant(std::span<const PointRegret> points) {
    std::map<std::tuple<std::string, Pattern, DType, int, std::optional<Quant>>, RegretGroup> groups;
    for (const PointRegret& point : points)
        for (const std::optional<Quant> quant : {std::optional<Quant>(), std::optional(point.point.cell.quant)}) {
            const CellKey& key = point.point.cell;
            RegretGroup& group = groups[{point.sku, key.pattern, key.dtype, key.world_size, quant}];
            group.regret.mean += point.regret(); // the sum, until below
            group.regret.max = std::max(group.regret.max, point.regret());
            ++group.regret.points;
            group.lost_us += point.chosen_us - point.best_us;
            group.best_us += point.best_us;
        }
    std::vector<RegretGroup> sorted;
    for (auto& [key, group] : groups) {
        std::tie(group.sku, group.pattern, group.dtype, group.world_size, group.quant) = key;
        group.regret.mean /= group.regret.points;
        sorted.push_back(std::move(group));
    }
    return sorted;
}

Regret summary(std::span<const PointRegret> points) {
    Regret regret;
    for (const PointRegret& point : points) {
        regret.mean += point.regret() / static_cast<double>(points.size());
        regret.max = std::max(regret.max, point.regret());
        ++regret.points;
    }
    regret.mean = rounded_share(regret.mean);
    regret.max = rounded_share(regret.max);
    return regret;
}

} // namespace crossover
