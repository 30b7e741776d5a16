#pragma once
/// The launch variants of one fused algorithm at one hidden_dim, judged against each other and the kernel's default.

#include "tuner/fit/observations.hpp"
#include "tuner/fit/segments.hpp"
#include "tuner/samples/sample.hpp"
#include "tuner/table.hpp"

#include <Eigen/Core>
#include <span>
#include <string>
#include <vector>

namespace crossover {

/// One fused algorithm's launches at one hidden_dim, at the points that have times of the default and of a variant.
struct LaunchContest {
    std::string algorithm;
    std::int64_t hidden_dim = 0;
    CellObservations observations;      // points from few bytes to many; series: the default first, then variants
    std::vector<Eigen::Index> eligible; // series that may be chosen, the default among them
    Eigen::ArrayXXd behind; // series × points: ln(this ÷ the fastest eligible one); infinity if not to be chosen
    std::vector<Segment> segments; // the least regret, before the guard band has its say

    /// ln(default ÷ series) at each point; −infinity where the series has no time.
    std::vector<double> gains(Eigen::Index series) const;
};

/// By what share a variant must be faster to displace the default: the guard band, and never under what sessions of one
/// machine differ by (1 %).
double launch_margin(double guard_band);

/// The contests in one cell's samples.
///
/// Variants are judged as algorithms are: by log ratios, their typical value over the sessions, and the assignment of
/// sizes to launches with the least regret, where a change of launch must save half the margin. Of the first look at
/// all variants only those count that came back in a second session, once any did: the fastest of many noisy times is
/// fast by luck, and a second session has none of that.
std::vector<LaunchContest> launch_contests(std::span<const Sample> samples, double guard_band);

/// Whether a segment's variant is faster than the default by the margin at a size, noise apart.
bool displaces(const LaunchContest& contest, const Segment& segment, double guard_band);

/// The stretches of sizes in which a variant displaces the default: see fit_launches().
/// @param max_bytes  of the largest message measured in the cell
std::vector<LaunchRow> rows_of(const LaunchContest& contest, double guard_band, std::uint64_t max_bytes);

} // namespace crossover
