#pragma once
/// What the adaptive search still wants to know of one cell.
///
/// 1. A coarse look: every algorithm at sizes at most kCoarseStep apart, both ends included, hidden dims in turn.
/// 2. Launches, where they are to be tuned (launch_search.hpp): what follows is asked of the launch chosen.
/// 3. Brackets: where the fastest algorithm of two neighbouring sizes differs, or leads by so little that it may lose
///    in between, the size in the middle, until the grid has none. So a step of a curve, or a point that stands out for
///    whatever reason, is looked at from both sides before it counts. Not in the last of several sessions, where what
///    turns up could not be looked at again.
/// 4. Edges: for each change of algorithm in the fit of all this, the grid points next to it on either side, of every
///    hidden dim. In every session, until the stopping rule is content; between unfused algorithms in the first two.
///    And where a hidden dim would get a row of its own, the points that one session alone has, once more.
/// 5. Ties: where the fused algorithms and the baseline are close nearly everywhere, all points again in every session.
/// In steps 3 to 5 only algorithms that come near the fastest of the neighbouring sizes are measured.

#include "tuner/config.hpp"
#include "tuner/fit/fit.hpp"
#include "tuner/plan/launch_search.hpp"
#include "tuner/plan/plan.hpp"
#include "tuner/samples/sample.hpp"

#include <span>
#include <string>
#include <vector>

namespace crossover {

class CellSearch {
  public:
    /// @param points    that may be asked for, sorted; all of one cell
    /// @param sessions  that there will be
    /// @param launches  that can be measured
    CellSearch(std::vector<Point> points, std::vector<std::string> algorithms, int sessions, FitOptions options,
               LaunchesAt launches = {});

    const CellKey& cell() const { return points_.front().cell; }
    /// Points at which launches may be looked at.
    std::size_t launch_looks() const { return launch_search_.looks(); }

    /// What of `session` is to be measured next, sorted by point; empty = nothing more in this session. Depends on
    /// nothing but these samples, all of this cell and of this and earlier sessions.
    std::vector<Trial> wanted(int session, std::span<const Sample> samples) const;

    /// The points of every hidden dim that are next to this one in size, on either side, with the algorithms that come
    /// near the best there, launched as chosen.
    /// @param samples  of this cell so far
    std::vector<Trial> beside(const Point& point, std::span<const Sample> samples) const;

  private:
    std::vector<Trial> coarse_look() const;
    /// By these samples; none where there are no launches to look at.
    Launches chosen_launches(std::span<const Sample> samples) const;
    /// The launches chosen where algorithms were compared with another launch.
    std::vector<Trial> launches_in_place_of_defaults(std::span<const Sample> samples, const Launches& launches) const;

    std::vector<Point> points_;
    std::vector<std::string> algorithms_;
    int sessions_;
    FitOptions options_;
    LaunchesAt launches_;
    LaunchSearch launch_search_;
};

} // namespace crossover
