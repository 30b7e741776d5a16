#pragma once
/// Shapes that the search did not use: when they are measured, and what comes of a loss there.
///
/// 1. A first look, every algorithm, in the third session from the end (the first if there are fewer), after the
///    search's part of it: two sessions are left for what it turns up.
/// 2. In the sessions after that again, where the table so far loses more than half the guard band, with what comes
///    near the best. One look tells little: a disturbed time is a loss, and the best of several noisy times looks
///    better than it is. A point measured again keeps its first times, too, so what is reported errs on the high side.
/// 3. A loss that stands in two sessions before the last has an adaptive search begin its last session at the points
///    around it. No fit ever sees the held-out point, and it goes on to count as one.
///
/// All of it follows from the samples: from those of the search up to a session, and of these points before it.

#include "tuner/plan/plan.hpp"

#include <functional>
#include <memory>
#include <span>
#include <vector>

namespace crossover {

/// Held-out points at which the table of the samples before the last session loses more than the guard band, in each of
/// the two sessions or more that measured them, and agreed. Sorted; none unless the search is adaptive.
/// @param samples  of the run so far, of these points and of others, in the roles of `config`
std::vector<Point> standing_losses(const Config& config, std::span<const Sample> samples);

/// Asks in each session for what is to be known of held-out points, once the search has had its part of the session.
/// @param has  points that can be measured; all if left out
std::unique_ptr<Plan> make_validation_plan(const Config& config, std::size_t batch = 16,
                                           const LaunchesAt& launches = {},
                                           const std::function<bool(const Point&)>& has = {});

} // namespace crossover
