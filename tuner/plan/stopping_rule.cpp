#include "tuner/plan/stopping_rule.hpp"

#include "tuner/fit/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

namespace crossover {
namespace {

constexpr int kLeastSessions = 3;
/// Replays between two looks at the times. From fewer a spread is hardly told; each look costs a wait of some 0.1 ms.
constexpr int kReplaysAtOnce = 5;
constexpr double kPerBehind = 0.05;

/// Standard error of the median of normal values, as a share of it: sqrt(π/2) s/√n. Not from a robust deviation: of
/// times that fall into two heaps, three alike and two not, that would see one heap.
double relative_error_of_median(const std::vector<double>& times) {
    const auto count = static_cast<double>(times.size());
    if (count < 2) return std::numeric_limits<double>::infinity();
    const double mean = std::accumulate(times.begin(), times.end(), 0.0) / count;
    double squares = 0;
    for (const double time : times) squares += (time - mean) * (time - mean);
    return 1.2533 * std::sqrt(squares / (count - 1) / count) / median(times);
}

double ratio_at(std::span<const RatioPoint> curve, double at) {
    const auto right = std::lower_bound(curve.begin(), curve.end(), at,
                                        [](const RatioPoint& point, double x) { return point.log2_bytes < x; });
    if (right == curve.begin()) return curve.front().log_ratio;
    if (right == curve.end()) return curve.back().log_ratio;
    const auto left = right - 1;
    return std::lerp(left->log_ratio, right->log_ratio,
                     (at - left->log2_bytes) / (right->log2_bytes - left->log2_bytes));
}

} // namespace

double time_at_stake(std::span<const RatioPoint> curve, std::array<double, 2> interval) {
    if (curve.empty()) return 0;
    double most = std::max(std::abs(ratio_at(curve, interval[0])), std::abs(ratio_at(curve, interval[1])));
    for (const RatioPoint& point : curve)
        if (point.log2_bytes > interval[0] && point.log2_bytes < interval[1])
            most = std::max(most, std::abs(point.log_ratio));
    return most;
}

bool is_settled(std::span<const RatioPoint> curve, const EdgeEvidence& evidence, double guard_band) {
    const double guard = std::log1p(guard_band);
    if (evidence.wants_interval && evidence.sessions < kLeastSessions) return false;
    return time_at_stake(curve, evidence.bracket) < guard ||
           (evidence.interval && time_at_stake(curve, *evidence.interval) < guard);
}

int next_replays(const ReplayRule& rule, int done) {
    return rule.precision > 0 ? std::min(kReplaysAtOnce, rule.trials - done) : rule.trials - done;
}

std::vector<std::size_t> imprecise(std::vector<std::size_t> open, std::span<const std::vector<double>> times,
                                   const ReplayRule& rule) {
    double fastest = std::numeric_limits<double>::infinity();
    for (const std::vector<double>& each : times)
        if (!each.empty()) fastest = std::min(fastest, median(each));
    std::erase_if(open, [&](std::size_t i) {
        if (times[i].empty()) return false;
        return std::ssize(times[i]) >= rule.trials ||
               relative_error_of_median(times[i]) <= rule.precision + kPerBehind * std::log(median(times[i]) / fastest);
    });
    return open;
}

std::vector<std::vector<double>> replay_contenders(std::size_t contenders, const ReplayRule& rule,
                                                   const ReplayMore& replay) {
    std::vector<std::vector<double>> times(contenders);
    std::vector<std::size_t> open(contenders);
    std::iota(open.begin(), open.end(), std::size_t{0});
    for (int done = 0; !open.empty(); open = imprecise(std::move(open), times, rule)) {
        const int count = next_replays(rule, done);
        const std::vector<std::vector<double>> more = replay(open, done, count);
        for (std::size_t i = 0; i < open.size(); ++i)
            times[open[i]].insert(times[open[i]].end(), more[i].begin(), more[i].end());
        done += count;
    }
    return times;
}

} // namespace crossover
