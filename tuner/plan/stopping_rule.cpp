#include "tuner/plan/stopping_rule.hpp"

#include <algorithm>
#include <cmath>

namespace crossover {
namespace {

constexpr int kLeastSessions = 3;

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

} // namespace crossover
