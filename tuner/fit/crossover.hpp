#pragma once
/// Where one algorithm's latency curve overtakes another's: log ratios over log2 of message bytes, no cells, no files.
///
/// Ratios, not differences: over decades of sizes the largest messages would own any fit of absolute times.

#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <vector>

namespace crossover {

/// Sizes this close, in octaves, count as one: they differ by noise or hidden_dim more than by size.
inline constexpr double kSameSize = 0.25;
/// Sizes at most this far apart, in octaves, are neighbours in a grid of powers of two: what hides between them is as
/// narrow as the grid's own steps.
inline constexpr double kNeighbours = 1.1;

/// Two algorithms at one size: log_ratio = ln(t_a / t_b), negative where a is the faster.
struct RatioPoint {
    double log2_bytes = 0;
    double log_ratio = 0;
};

struct Crossing {
    enum class Kind {
        inside, // a wins below, b above
        never,  // a is to be used nowhere: log2_bytes is the smallest size
        always  // a is to be used everywhere: log2_bytes is the largest size
    };
    Kind kind = Kind::never;
    double log2_bytes = 0;
    /// Where it may be, for all that exact times at these sizes tell: the curve's shape between two sizes, and where
    /// the ratio jumps by more than its trend (NCCL changing its protocol), the place of that step.
    std::array<double, 2> possible{};
};

/// The crossing from a (small messages) to b (large ones) of a curve sorted by size: the cut of least summed log
/// regret, refined by interpolating the log ratio (monotone cubic, which does not overshoot at steps). The cut is where
/// the running sum of log ratios is least, the first of several: GMP tuneup's "badness". One odd point is outvoted by
/// its neighbours, where taking the first change of sign would follow it. Points within kSameSize of each other count
/// as one, their mean. Needs a point.
Crossing find_crossing(std::span<const RatioPoint> curve);

/// 95 % interval for a crossing, in log2 bytes, from the same curve in each of two or more sessions: a t interval over
/// the sessions' own crossings. Where a session's curves do not cross, the interval reaches to that end of the sizes.
/// Nothing for fewer than two sessions.
std::optional<std::array<double, 2>> crossing_interval(std::span<const std::vector<RatioPoint>> sessions);

} // namespace crossover
