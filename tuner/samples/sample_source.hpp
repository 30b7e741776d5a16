#pragma once
/// Where samples come from: GPUs (tuner/measure) or a recording (tuner/samples/recording).

#include "tuner/plan/plan.hpp"

#include <span>
#include <vector>

namespace crossover {

class SampleSource {
  public:
    virtual ~SampleSource() = default;
    /// One sample per trial and algorithm, in that order; what could not be measured is a sample that says so. Of the
    /// first trials only, at least one, if no more are measured at the same time: they are kept before it is asked for
    /// the rest.
    virtual std::vector<Sample> measure(int session, std::span<const Trial> trials) = 0;
    /// The launch variants that can be measured: a LaunchesAt. The kernels' default alone, unless a source says more.
    virtual std::vector<std::string> launches(std::string_view /*algorithm*/, const Point& /*point*/) const {
        return {};
    }
};

/// What the source says of launches, for a plan. Keeps a reference.
inline LaunchesAt launches_of(const SampleSource& source) {
    return [&source](std::string_view algorithm, const Point& point) { return source.launches(algorithm, point); };
}

} // namespace crossover
