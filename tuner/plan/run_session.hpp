#pragma once
/// The one loop in which data flows back: the plan asks, the source measures, the plan sees what came of it.

#include "tuner/plan/plan.hpp"
#include "tuner/samples/sample_source.hpp"

#include <functional>
#include <span>
#include <vector>

namespace crossover {

/// Runs one session until the plan has no more.
/// @param samples  all so far, of any session; the new ones are added
/// @param store    gets the samples as they come, before more are asked for
/// @throws std::logic_error if the source does not give one sample per trial and algorithm, in that order: the plan
/// would ask for ever
void run_session(int session, Plan& plan, SampleSource& source, std::vector<Sample>& samples,
                 const std::function<void(std::span<const Trial>, std::span<const Sample>)>& store);

} // namespace crossover
