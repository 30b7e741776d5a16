#pragma once
/// Which points next? A plan is asked again and again with all samples so far until it has no more: the exhaustive
/// grid ignores the samples, an adaptive search reads them through the fit's own functions.

#include "tuner/config.hpp"
#include "tuner/fit/launches.hpp"
#include "tuner/samples/sample.hpp"

#include <functional>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace crossover {

/// One point to measure with several algorithms, interleaved.
struct Trial {
    Point point;
    std::vector<std::string> algorithms;

    bool operator==(const Trial&) const = default;
};

/// The launch variants of a fused algorithm (tuner/launch_name.hpp) that can be measured at a point; none where only
/// the kernel's default can. The same on all ranks.
using LaunchesAt = std::function<std::vector<std::string>(std::string_view algorithm, const Point& point)>;

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
/// Plans ask for launch variants if the config wants launches tuned and `launches` knows any.
std::unique_ptr<Plan> make_grid_plan(const Config& config, std::size_t batch = 16, const LaunchesAt& launches = {});

/// The adaptive search: a coarse look over all sizes, then the points on either side of what decides (cell_search.hpp),
/// in rounds. A round is the same whatever the batch and wherever a run was interrupted: it rests on the samples of the
/// rounds before it and on nothing else.
std::unique_ptr<Plan> make_adaptive_plan(const Config& config, std::size_t batch = 16, const LaunchesAt& launches = {});

/// The one that the config asks for.
std::unique_ptr<Plan> make_plan(const Config& config, std::size_t batch = 16, const LaunchesAt& launches = {});

/// Exactly these trials, in every session that the plan is asked about.
std::unique_ptr<Plan> make_plan_of(std::vector<Trial> trials, std::size_t batch = 16);

/// By world size, and in that by about how long they take: groups that measure side by side wait for the slowest.
void sort_by_duration(std::vector<Trial>& trials);

/// The launch variants of our own kernels: a candidate that stands for oneshot is launched as it likes.
LaunchesAt of_our_kernels(const Config& config, const LaunchesAt& launches);

/// The algorithms as `rows` have them launched at a point, where `launches` can.
std::vector<std::string> launched_algorithms(std::vector<std::string> algorithms, const Point& point,
                                             const Launches& rows, const LaunchesAt& launches);

/// The cells for which the adaptive search of these samples would have gone on, had its budget allowed it.
std::set<CellKey> cells_cut_by_budget(const Config& config, std::span<const Sample> samples);

/// All points of the config, sorted by cell, hidden_dim, num_tokens.
std::vector<Point> grid_points(const Config& config);

/// The points of `validation` that are none of the grid, sorted: see tuner/plan/validation.hpp.
std::vector<Point> validation_points(const Config& config);

} // namespace crossover
