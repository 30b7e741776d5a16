#pragma once
/// Which points next? A plan is asked again and again with all samples so far until it has no more: the exhaustive
/// grid ignores the samples, an adaptive search reads them through the fit's own functions.

#include "tuner/config.hpp"
#include "tuner/samples/sample.hpp"

#include <memory>
#include <span>
#include <string>
#include <vector>

namespace crossover {

/// One point to measure with several algorithms, interleaved.
struct Trial {
    Point point;
    std::vector<std::string> algorithms;

    bool operator==(const Trial&) const = default;
};

class Plan {
  public:
    virtual ~Plan() = default;
    /// The next trials of this session; empty = done. All trials of one batch have the same world size, so that
    /// disjoint groups of the machine can run them side by side. Deterministic: same samples, same answer, on every
    /// rank.
    virtual std::vector<Trial> next(int session, std::span<const Sample> samples) = 0;
    /// Points of one session in all, for progress; an estimate if the plan adapts.
    virtual std::size_t expected_points() const = 0;
};

/// The exhaustive grid of the config. Trials that `samples` already hold for the session are not asked for again, which
/// is all that `--resume` needs. Batches hold at most `batch` trials.
std::unique_ptr<Plan> make_grid_plan(const Config& config, std::size_t batch = 16);

/// All points of the config, sorted by cell, hidden_dim, num_tokens.
std::vector<Point> grid_points(const Config& config);

} // namespace crossover
