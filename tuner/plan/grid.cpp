#include "tuner/plan/plan.hpp"

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>

namespace crossover {
namespace {

class GridPlan : public Plan {
  public:
    GridPlan(std::vector<Trial> trials, std::size_t batch) : trials_(std::move(trials)), batch_(batch) {
        // One world size after the other: fewest batches, and each is as full as can be.
        std::stable_sort(trials_.begin(), trials_.end(), [](const Trial& a, const Trial& b) {
            return a.point.cell.world_size < b.point.cell.world_size;
        });
    }

    std::vector<Trial> next(int session, std::span<const Sample> samples) override {
        std::set<std::pair<Point, std::string_view>> measured;
        for (const Sample& sample : samples)
            if (sample.session == session) measured.emplace(sample.point, sample.algorithm);

        std::vector<Trial> trials;
        for (const Trial& planned : trials_) {
            const Point& point = planned.point;
            if (trials.size() == batch_) break;
            if (!trials.empty() && trials.front().point.cell.world_size != point.cell.world_size) break;
            Trial trial{point, {}};
            for (const std::string& algorithm : planned.algorithms)
                if (!measured.contains({point, algorithm})) trial.algorithms.push_back(algorithm);
            if (!trial.algorithms.empty()) trials.push_back(std::move(trial));
        }
        return trials;
    }

    std::size_t expected_points() const override { return trials_.size(); }

  private:
    std::vector<Trial> trials_;
    std::size_t batch_;
};

std::vector<Point> product(const Config& config, const std::vector<std::int64_t>& hidden_dims,
                           const std::vector<std::int64_t>& token_counts) {
    std::vector<Point> points;
    for (const Pattern pattern : config.patterns)
        for (const DType dtype : config.dtypes)
            for (const Quant quant : quants_of(config, pattern))
                for (const int world_size : config.world_sizes)
                    for (const std::int64_t hidden_dim : hidden_dims)
                        for (const std::int64_t num_tokens : token_counts) {
                            const Point point{{pattern, dtype, quant, world_size}, hidden_dim, num_tokens};
                            if (message_bytes(point) <= config.max_message_bytes) points.push_back(point);
                        }
    std::sort(points.begin(), points.end());
    return points;
}

} // namespace

std::vector<Point> grid_points(const Config& config) { return product(config, config.hidden_dims, config.num_tokens); }

std::vector<Point> validation_points(const Config& config) {
    const std::vector<Point> grid = grid_points(config);
    std::vector<Point> points = product(config, config.validation_hidden_dims, config.validation_num_tokens);
    std::erase_if(points, [&](const Point& point) { return std::binary_search(grid.begin(), grid.end(), point); });
    return points;
}

std::unique_ptr<Plan> make_grid_plan(const Config& config, std::size_t batch, const LaunchesAt& launches) {
    std::vector<Trial> trials;
    for (const Point& point : grid_points(config)) {
        const std::vector<std::string> algorithms = algorithms_of(config, point.cell.pattern);
        Trial& trial = trials.emplace_back(Trial{point, algorithms});
        if (config.launches == LaunchChoice::tuned && launches)
            for (const std::string& algorithm : algorithms)
                for (std::string& variant : launches(algorithm, point)) trial.algorithms.push_back(std::move(variant));
    }
    return make_plan_of(std::move(trials), batch);
}

std::unique_ptr<Plan> make_plan_of(std::vector<Trial> trials, std::size_t batch) {
    return std::make_unique<GridPlan>(std::move(trials), batch);
}

std::unique_ptr<Plan> make_plan(const Config& config, std::size_t batch, const LaunchesAt& launches) {
    return config.search == Search::grid ? make_grid_plan(config, batch, launches)
                                         : make_adaptive_plan(config, batch, launches);
}

void sort_by_duration(std::vector<Trial>& trials) {
    constexpr double kLatencyAsBytes = 1 << 20; // what a link moves in the time that a call takes at least, some 5 µs
    std::ranges::stable_sort(trials, {}, [](const Trial& trial) {
        const double bytes = static_cast<double>(message_bytes(trial.point)) + kLatencyAsBytes;
        return std::pair(trial.point.cell.world_size, bytes * static_cast<double>(trial.algorithms.size()));
    });
}

std::vector<std::string> launched_algorithms(std::vector<std::string> algorithms, const Point& point,
                                             const Launches& rows, const LaunchesAt& launches) {
    if (!launches) return algorithms;
    for (std::string& name : algorithms) {
        if (!algorithm::is_fused(name)) continue;
        const std::string variant = launched(name, point, rows);
        const std::vector<std::string> possible = launches(name, point);
        if (std::find(possible.begin(), possible.end(), variant) != possible.end()) name = variant;
    }
    return algorithms;
}

} // namespace crossover
