#include "output/comparison_evidence.hpp"
#include "tuner/fit/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

namespace crossover {
namespace {

/// "Around a crossover": within this factor of its size.
constexpr double kAround = 4;
/// Between sessions, in ln time, where there are too few sessions to tell: the upper end of what quiet hosts show.
constexpr double kAssumedSpread = 0.01;

using Group = std::vector<Pair>;

/// The middle of a call's times in all sessions of both sides: what sessions are compared with.
double reference(const Pair& pair) {
    std::vector<double> values;
    for (const Times* times : {pair.before, pair.after})
        for (const auto& [session, value] : *times) values.push_back(value);
    return median(values);
}

/// One side of a group: how much slower than the reference its sessions are, each a mean over the group's points.
std::vector<double> session_means(const Group& group, const Times* Pair::*side) {
    std::map<int, std::vector<double>> by_session;
    std::vector<double> all;
    for (const Pair& pair : group) {
        const double middle = reference(pair);
        for (const auto& [session, value] : *(pair.*side)) {
            by_session[session].push_back(value - middle);
            all.push_back(value - middle);
        }
    }
    // A disturbed sample is 10…100 % slow: past 3 deviations it counts as 3. The floor keeps the ordinary differences
    // of coarse clocks, where most values are alike.
    constexpr double kFloor = 0.005;
    const double middle = median(all), bound = 3 * std::max(kFloor, robust_deviation(all, middle));
    std::vector<double> means;
    for (const auto& [session, values] : by_session) {
        double sum = 0;
        for (const double value : values) sum += std::clamp(value, middle - bound, middle + bound);
        means.push_back(sum / static_cast<double>(values.size()));
    }
    return means;
}

/// Mean, and the sum of squares about it.
struct Moments {
    double mean = 0, squares = 0, count = 0;
    explicit Moments(const std::vector<double>& values) : count(static_cast<double>(values.size())) {
        mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
        for (const double value : values) squares += (value - mean) * (value - mean);
    }
};

/// Sessions are the unit of error: Student's t for two samples of equal variance.
Shift shift_of(const Group& group, int kind) {
    const Moments before(session_means(group, &Pair::before)), after(session_means(group, &Pair::after));
    const double freedom = before.count + after.count - 2;
    const bool enough = freedom >= 2;
    const double variance = enough ? (before.squares + after.squares) / freedom : kAssumedSpread * kAssumedSpread;
    return {.estimate = after.mean - before.mean,
            .standard_error = std::sqrt(variance * (1 / before.count + 1 / after.count)),
            .degrees_of_freedom = enough ? freedom : std::numeric_limits<double>::infinity(),
            .kind = kind};
}

TimeShift measure(std::string what, Group group, int kind) {
    TimeShift result;
    result.shift = shift_of(group, kind);
    const Shift& shift = result.shift;
    const double half_width = student_t_quantile(0.975, shift.degrees_of_freedom) * shift.standard_error;
    result.change.what = std::move(what);
    result.change.points = static_cast<int>(group.size());
    result.change.lost = std::expm1(shift.estimate);
    result.change.ci95 = {std::expm1(shift.estimate - half_width), std::expm1(shift.estimate + half_width)};
    result.pairs = std::move(group);
    return result;
}

const Times* times_of(const PointTimes& times, const Point& point, std::string_view algorithm) {
    const auto at_point = times.find(point);
    if (at_point == times.end()) return nullptr;
    const auto found = at_point->second.find(algorithm);
    return found == at_point->second.end() ? nullptr : &found->second;
}

/// Disturbances only slow down, and two of four sessions may be disturbed at the same point: the quarter of the fastest
/// sessions decides which algorithm is the fastest, so that its neighbour does not pass for it.
const Times* fastest(const std::map<std::string, Times, std::less<>>& algorithms) {
    const auto undisturbed = [](const Times& times) {
        std::vector<double> values;
        for (const auto& [session, value] : times) values.push_back(value);
        return quantile(std::move(values), 0.25);
    };
    const Times* best = nullptr;
    double least = std::numeric_limits<double>::infinity();
    for (const auto& [name, times] : algorithms)
        if (const double time = undisturbed(times); time < least) {
            least = time;
            best = &times;
        }
    return best;
}

/// Sizes at which the cell changes to or from `algorithm`.
std::vector<double> edges(const Cell& cell, std::string_view algorithm) {
    std::vector<double> sizes;
    for (std::size_t i = 0; i + 1 < cell.intervals.size(); ++i) {
        const Interval &below = cell.intervals[i], &above = cell.intervals[i + 1];
        const bool measured = below.algorithm != algorithm::not_measured && above.algorithm != algorithm::not_measured;
        if (measured && (below.algorithm == algorithm || above.algorithm == algorithm))
            sizes.push_back(static_cast<double>(*below.max_bytes));
    }
    return sizes;
}

Group around_crossovers(std::string_view algorithm, const Cell& before, const Cell& after,
                        const PointTimes& times_before, const PointTimes& times_after) {
    std::vector<double> sizes = edges(before, algorithm);
    for (const double size : edges(after, algorithm)) sizes.push_back(size);
    Group group;
    for (const auto& [point, unused] : times_before) {
        const auto bytes = static_cast<double>(message_bytes(point));
        const bool near = std::any_of(sizes.begin(), sizes.end(),
                                      [&](double size) { return bytes >= size / kAround && bytes <= size * kAround; });
        if (!near) continue;
        const Times* old_times = times_of(times_before, point, algorithm);
        const Times* new_times = times_of(times_after, point, algorithm);
        if (old_times && new_times) group.push_back({old_times, new_times});
    }
    return group;
}

} // namespace

SampleIndex index_samples(std::span<const Sample> samples) {
    SampleIndex index;
    for (const Sample& sample : samples)
        if (sample.status == SampleStatus::ok && sample.latency_us > 0)
            index[sample.point.cell][sample.point][sample.algorithm][sample.session] = std::log(sample.latency_us);
    return index;
}

CellTimes compare_times(const Cell& before, const Cell& after, const PointTimes& times_before,
                        const PointTimes& times_after) {
    CellTimes result;
    std::map<std::string_view, Group> best; // by what OLD uses
    Group dispatched, anew;
    std::set<Point> points;
    for (const auto& [point, unused] : times_before) points.insert(point);
    for (const auto& [point, unused] : times_after) points.insert(point);
    for (const Point& point : points) {
        const std::string_view old_choice = select_algorithm(before, message_bytes(point), point.hidden_dim);
        const std::string_view new_choice = select_algorithm(after, message_bytes(point), point.hidden_dim);
        const Pair pair{times_of(times_before, point, old_choice), times_of(times_after, point, new_choice)};
        if (!pair.before || !pair.after) {
            if (pair.before || pair.after) ++result.unmatched_points;
            continue;
        }
        dispatched.push_back(pair);
        best[algorithm::is_challenger(old_choice) ? old_choice : "an unfused algorithm"].push_back(
            {fastest(times_before.at(point)), fastest(times_after.at(point))});
        const Times* unmoved = times_of(times_after, point, old_choice);
        if (old_choice != new_choice && unmoved) anew.push_back({unmoved, pair.after});
    }
    result.common_points = static_cast<int>(dispatched.size());
    if (dispatched.empty()) return result;
    result.time_lost = std::expm1(shift_of(dispatched, 0).estimate);

    const auto add = [&](std::string what, const Group& group, TimeKind kind) {
        if (!group.empty()) result.groups.push_back(measure(std::move(what), group, static_cast<int>(kind)));
    };
    for (const auto& [choice, group] : best)
        add("the best time where OLD uses " + std::string(choice), group,
            choice == algorithm::oneshot   ? TimeKind::best_oneshot
            : choice == algorithm::twoshot ? TimeKind::best_twoshot
                                           : TimeKind::best_unfused);
    add("NEW's samples as NEW dispatches them, against as OLD does where they differ", anew, TimeKind::dispatched_anew);
    for (const auto& [name, kind] : {std::pair{algorithm::oneshot, TimeKind::oneshot_around},
                                     std::pair{algorithm::twoshot, TimeKind::twoshot_around}})
        add(std::string(name) + " within a factor of 4 of its crossovers",
            around_crossovers(name, before, after, times_before, times_after), kind);
    return result;
}

std::vector<TimeShift> machine_wide(std::span<const TimeShift> groups) {
    std::map<int, std::pair<int, TimeShift>> kinds; // cells, and all of their pairs
    for (const TimeShift& group : groups) {
        auto& [cells, all] = kinds[group.shift.kind];
        ++cells;
        all.change.what = group.change.what;
        all.pairs.insert(all.pairs.end(), group.pairs.begin(), group.pairs.end());
    }
    std::vector<TimeShift> result;
    for (auto& [kind, entry] : kinds)
        if (entry.first > 1) result.push_back(measure(entry.second.change.what, std::move(entry.second.pairs), kind));
    return result;
}

} // namespace crossover
