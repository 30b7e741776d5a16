#include "tuner/plan/validation.hpp"

#include "tuner/fit/fit.hpp"
#include "tuner/fit/regret.hpp"
#include "tuner/fit/statistics.hpp"
#include "tuner/launch_name.hpp"
#include "tuner/make_table.hpp"
#include "tuner/roles.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <string>

namespace crossover {
namespace {

/// Sessions from the first look to the last: one to see whether a loss stands, one for the search to do about it.
constexpr int kSessions = 3;
/// Behind the fastest by more than this (ln) at the first look, an algorithm is not measured again.
constexpr double kOutOfReach = 0.05;

bool contains(const std::vector<Point>& sorted, const Point& point) {
    return std::binary_search(sorted.begin(), sorted.end(), point);
}

/// What the samples say of held-out points, as a table of the others would have them launched.
class Validation {
  public:
    /// @param points   held out; sorted
    /// @param session  whose search has had its part: the table may know it, of `points` only what was before
    Validation(const Config& config, const std::vector<Point>& points, std::span<const Sample> samples, int session)
        : config_(config) {
        std::vector<Sample> fitted, held;
        for (const Sample& sample : samples) {
            if (!contains(points, sample.point)) {
                if (sample.session <= session) fitted.push_back(sample);
            } else if (sample.session < session) {
                held.push_back(sample);
                asked_[sample.point].insert(sample.algorithm);
            }
        }
        cells_ = fit_cells(fitted, fit_options(config));
        launches_ = launches_of(cells_);
        for (const Sample& sample : as_launched(held, launches_))
            if (sample.status == SampleStatus::ok && sample.latency_us > 0)
                times_[sample.point][sample.session][sample.algorithm] = sample.latency_us;
    }

    bool is_looked_at(const Point& point) const { return asked_.contains(point); }

    /// The table's choice lost over half the guard band in each of two sessions or more, together over all of it, and
    /// they agree: disturbed sessions would each say something else.
    bool loss_stands(const Point& point) const {
        const std::vector<double> losses = behind(point, chosen(point));
        if (losses.size() < 2) return false;
        const auto [least, most] = std::ranges::minmax(losses);
        return least > 0.5 * guard() && median(losses) > guard() && most - least < guard();
    }

    /// What to measure at a point: everything at the first look, then what it takes to see whether the choice loses.
    std::vector<std::string> wanted(const Point& point, const LaunchesAt& launches) const {
        const std::vector<std::string> algorithms = algorithms_of(config_, point.cell.pattern);
        if (!is_looked_at(point)) return launched_algorithms(algorithms, point, launches_, launches);
        const std::string choice = chosen(point);
        if (choice == algorithm::not_measured) return {};
        const std::vector<double> losses = behind(point, choice);
        // The first look may have been by another launch.
        const bool is_new =
            !asked_.at(point).contains(launched_algorithms({choice}, point, launches_, launches).front());
        if (!is_new && (losses.empty() || median(losses) <= 0.5 * guard())) return {};
        std::vector<std::string> names;
        for (const std::string& name : algorithms)
            if (const std::vector<double> of_name = behind(point, name);
                name == choice || (!of_name.empty() && median(of_name) <= kOutOfReach))
                names.push_back(name);
        return launched_algorithms(std::move(names), point, launches_, launches);
    }

  private:
    double guard() const { return std::log1p(config_.guard_band); }

    std::string chosen(const Point& point) const { return choice_of(cells_)("", point); } // on any GPU

    /// ln(algorithm ÷ fastest) in each session that measured it. As they are: where a single session says something
    /// else than its neighbours, the fit would take it for disturbed, and here it is what is to be seen.
    std::vector<double> behind(const Point& point, const std::string& name) const {
        std::vector<double> behind;
        const auto found = times_.find(point);
        if (found == times_.end()) return behind;
        for (const auto& [session, times] : found->second) {
            const auto mine = times.find(name);
            if (mine == times.end()) continue;
            double fastest = std::numeric_limits<double>::infinity();
            for (const auto& [other, us] : times) fastest = std::min(fastest, us);
            behind.push_back(std::log(mine->second / fastest));
        }
        return behind;
    }

    const Config& config_;
    std::vector<Cell> cells_;
    Launches launches_;
    std::map<Point, std::set<std::string>> asked_;                        // as launched
    std::map<Point, std::map<int, std::map<std::string, double>>> times_; // µs by session and algorithm
};

class ValidationPlan : public Plan {
  public:
    ValidationPlan(const Config& config, std::size_t batch, const LaunchesAt& launches,
                   std::function<bool(const Point&)> has)
        : asked_(config), config_(in_roles(config)), batch_(batch),
          launches_(launches ? of_our_kernels(asked_, launches) : LaunchesAt{}), has_(std::move(has)) {}

    std::vector<Trial> next(int session, std::span<const Sample> samples) override {
        if (session != session_) {
            session_ = session;
            plan_ = make_plan_of(wanted(in_roles(samples, asked_)), batch_);
        }
        return plan_->next(session, samples);
    }
    std::size_t expected_points() const override { // on average: few sessions ask for any
        return validation_points(config_).size() / static_cast<std::size_t>(config_.sessions);
    }

  private:
    std::vector<Trial> wanted(const std::vector<Sample>& samples) const {
        if (session_ < first_look()) return {};
        const std::vector<Point> points = validation_points(config_);
        if (points.empty()) return {};
        const Validation validation(config_, points, samples, session_);
        std::vector<Trial> trials;
        for (const Point& point : points) {
            if (has_ && !has_(point)) continue;
            Trial trial{point, validation.wanted(point, launches_)};
            for (std::string& name : trial.algorithms) name = name_in_samples(name, asked_);
            if (!trial.algorithms.empty()) trials.push_back(std::move(trial));
        }
        sort_by_duration(trials);
        return trials;
    }
    int first_look() const { return config_.sessions - kSessions; } // the first session if that is negative

    Config asked_, config_; // with candidates' names, in their roles
    std::size_t batch_;
    LaunchesAt launches_;
    std::function<bool(const Point&)> has_;
    int session_ = -1;
    std::unique_ptr<Plan> plan_; // of the session
};

} // namespace

std::vector<Point> standing_losses(const Config& config, std::span<const Sample> samples) {
    if (config.search != Search::adaptive || config.sessions < kSessions) return {};
    std::vector<Point> points = validation_points(config);
    if (points.empty()) return points;
    const int last = config.sessions - 1;
    std::vector<Sample> before(samples.begin(), samples.end());
    std::erase_if(before, [&](const Sample& sample) { return sample.session >= last; });
    const Validation validation(config, points, before, last);
    std::erase_if(points, [&](const Point& point) { return !validation.loss_stands(point); });
    return points;
}

std::unique_ptr<Plan> make_validation_plan(const Config& config, std::size_t batch, const LaunchesAt& launches,
                                           const std::function<bool(const Point&)>& has) {
    return std::make_unique<ValidationPlan>(config, batch,
                                            config.launches == LaunchChoice::tuned ? launches : LaunchesAt{}, has);
}

} // namespace crossover
