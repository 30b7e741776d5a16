#pragma once
/// What the adaptive search wants to know of the launches of one cell's fused algorithms.
///
/// 1. First looks, in the first session: every variant beside the default, at sizes at most kStep apart of every
///    hidden_dim, where the algorithm is the best or near it, and at the ends of that.
/// 2. Where two neighbouring sizes would be launched differently, the size in the middle, until the grid has none; of
///    the variants only those that come near the best on either side.
/// 3. What came out best comes back in the second session, with the runner-up and the default, and in the third with
///    the default: on either side of the ends of the stretch of sizes for which it is to be used, and where it is most
///    ahead.

#include "tuner/plan/plan.hpp"

#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace crossover {

class LaunchSearch {
  public:
    /// @param points      that may be asked for; all of one cell
    /// @param algorithms  of the config; those that are not fused have no launches
    LaunchSearch(const std::vector<Point>& points, const std::vector<std::string>& algorithms, double guard_band,
                 LaunchesAt launches);

    using IsNearBest = std::function<bool(const std::string& algorithm, const Point&)>;

    /// What of `session` is to be measured next. Depends on nothing but these samples and what is near the best.
    std::vector<Trial> wanted(int session, std::span<const Sample> samples, const IsNearBest& is_near_best) const;

    /// The most first looks that there can be.
    std::size_t looks() const { return places_.size(); }

  private:
    using Names = std::map<Point, std::vector<std::string>>;

    void ask_first(std::span<const Sample> samples, const IsNearBest& is_near_best, Names& names) const;
    void ask_between(std::span<const Sample> samples, Names& names) const;
    void ask_again(int session, std::span<const Sample> samples, Names& names) const;

    struct Place {
        Point point;
        std::string algorithm;
        std::vector<std::string> variants;
    };
    std::vector<Place> places_; // for first looks
    std::map<std::int64_t, std::vector<Point>> points_;
    std::vector<std::string> algorithms_;
    double guard_band_;
    LaunchesAt launches_;
};

/// log2 of message bytes from the smallest point's to the largest's, evenly, at most `step` apart.
std::vector<double> sizes_apart(const std::vector<Point>& points, double step);

} // namespace crossover
