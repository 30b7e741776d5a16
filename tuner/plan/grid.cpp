#include "tuner/plan/plan.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <string_view>
#include <utility>

namespace crossover {
namespace {

class GridPlan : public Plan {
  public:
    GridPlan(std::vector<Point> points, const Config& config, std::size_t batch)
        : points_(std::move(points)), batch_(batch) {
        for (const Pattern pattern : config.patterns) algorithms_[pattern] = algorithms_of(config, pattern);
        // One world size after the other: fewest batches, and each is as full as can be.
        std::stable_sort(points_.begin(), points_.end(),
                         [](const Point& a, const Point& b) { return a.cell.world_size < b.cell.world_size; });
    }

    std::vector<Trial> next(int session, std::span<const Sample> samples) override {
        std::set<std::pair<Point, std::string_view>> measured;
        for (const Sample& sample : samples)
            if (sample.session == session) measured.emplace(sample.point, sample.algorithm);

        std::vector<Trial> trials;
        for (const Point& point : points_) {
            if (trials.size() == batch_) break;
            if (!trials.empty() && trials.front().point.cell.world_size != point.cell.world_size) break;
            Trial trial{point, {}};
            for (const std::string& algorithm : algorithms_[point.cell.pattern])
                if (!measured.contains({point, algorithm})) trial.algorithms.push_back(algorithm);
            if (!trial.algorithms.empty()) trials.push_back(std::move(trial));
        }
        return trials;
    }

    std::size_t expected_points() const override { return points_.size(); }

  private:
    std::vector<Point> points_;
    std::map<Pattern, std::vector<std::string>> algorithms_;
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

std::unique_ptr<Plan> make_grid_plan(const Config& config, std::size_t batch) {
    return make_plan_of(grid_points(config), config, batch);
}

std::unique_ptr<Plan> make_plan_of(std::vector<Point> points, const Config& config, std::size_t batch) {
    return std::make_unique<GridPlan>(std::move(points), config, batch);
}

std::unique_ptr<Plan> make_plan(const Config& config, std::size_t batch) {
    return config.search == Search::grid ? make_grid_plan(config, batch) : make_adaptive_plan(config, batch);
}

} // namespace crossover
