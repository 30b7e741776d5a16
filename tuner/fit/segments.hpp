#pragma once
/// Which algorithm at which size, for the least regret: a path through sizes × algorithms.

#include <Eigen/Core>
#include <cstddef>
#include <span>
#include <vector>

namespace crossover {

/// Sizes begin…end-1 (indices) use one algorithm (index).
struct Segment {
    Eigen::Index begin = 0;
    Eigen::Index end = 0;
    Eigen::Index algorithm = 0;

    bool operator==(const Segment&) const = default;
};

/// The assignment of sizes to algorithms with the least sum of costs plus `switch_cost` for every change of algorithm
/// (Viterbi's algorithm). Where several are as good, later algorithms win, and changes come early.
/// @param cost  algorithms × sizes, ≥ 0; infinity where an algorithm cannot be used; each size has a finite one
/// @param rank  of each algorithm; with `ordered`, rank may only rise with size, which is what a pair of thresholds can
///              say. Some algorithm of the highest rank must be finite everywhere.
std::vector<Segment> least_regret_segments(const Eigen::ArrayXXd& cost, std::span<const int> rank, double switch_cost,
                                           bool ordered);

} // namespace crossover
