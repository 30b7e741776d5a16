#include "tuner/launch_name.hpp"
#include "tuner/make_table.hpp"
#include "tuner/plan/cell_search.hpp"
#include "tuner/plan/gpu_seconds.hpp"
#include "tuner/plan/validation.hpp"
#include "tuner/roles.hpp"

#include <algorithm>
#include <iterator>
#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

namespace crossover {
namespace {

/// Goes through the sessions in rounds. A round's trials are those that the cells want after the rounds before it; its
/// samples are looked up among those that there are, and what is not there is asked for.
class AdaptivePlan : public Plan {
  public:
    AdaptivePlan(const Config& config, std::size_t batch, LaunchesAt launches)
        : config_(config), batch_(batch), launches_(std::move(launches)) {
        std::map<std::pair<int, CellKey>, std::vector<Point>> points; // one world size after the other
        for (const Point& point : grid_points(config)) points[{point.cell.world_size, point.cell}].push_back(point);
        for (auto& [key, of_cell] : points)
            cells_.push_back({CellSearch(std::move(of_cell), algorithms_of(config, key.second.pattern), config.sessions,
                                         fit_options(config), launches_),
                              {},
                              false});
        begin_round();
    }

    std::vector<Trial> next(int session, std::span<const Sample> samples) override {
        if (session < session_ || std::ssize(samples) < indexed_) *this = AdaptivePlan(config_, batch_, launches_);
        for (; indexed_ < std::ssize(samples); ++indexed_) {
            const Sample& sample = samples[indexed_];
            measured_.try_emplace({sample.session, sample.point, sample.algorithm}, indexed_);
        }
        while (true) {
            std::vector<Trial> missing = round_;
            for (Trial& trial : missing)
                std::erase_if(trial.algorithms, [&](const std::string& algorithm) {
                    return measured_.contains({session_, trial.point, algorithm});
                });
            std::erase_if(missing, [](const Trial& trial) { return trial.algorithms.empty(); });
            if (session_ == session && !missing.empty()) return first_batch(missing);

            // An earlier session that lacks something is over all the same.
            const bool session_over = round_.empty() || !missing.empty();
            if (session_ == session && session_over) return {};
            for (const Trial& trial : round_)
                for (const std::string& algorithm : trial.algorithms)
                    if (const auto found = measured_.find({session_, trial.point, algorithm}); found != measured_.end())
                        take(samples[found->second]);
            if (session_over) {
                ++session_;
                for (SearchedCell& cell : cells_) cell.is_content = false;
                look_beside_losses(samples);
            }
            begin_round();
        }
    }

    std::size_t expected_points() const override {
        constexpr std::size_t kPointsOfCell = 16; // in a session: a coarse look of 8, or two edges with 3 hidden dims
        // and launches: a look in the first session, some come back
        std::size_t points = 0;
        for (const SearchedCell& cell : cells_) points += kPointsOfCell + cell.search.launch_looks() / 2;
        return points;
    }

    const std::set<CellKey>& cut_by_budget() const { return cut_by_budget_; }

  private:
    struct SearchedCell {
        CellSearch search;
        std::vector<Sample> samples; // of the rounds so far
        bool is_content = false;     // wants nothing more in this session, by these samples
    };

    void take(const Sample& sample) {
        ++used_samples_;
        used_seconds_ += gpu_seconds(sample, config_);
        SearchedCell& cell = cell_of(sample.point.cell);
        cell.samples.push_back(sample);
        cell.is_content = false;
    }

    /// The last session begins where held-out points did badly.
    void look_beside_losses(std::span<const Sample> samples) {
        if (session_ != config_.sessions - 1) return;
        for (const Point& point : standing_losses(config_, samples)) {
            const SearchedCell& cell = cell_of(point.cell);
            for (Trial& trial : cell.search.beside(point, cell.samples))
                if (std::find(beside_losses_.begin(), beside_losses_.end(), trial) == beside_losses_.end())
                    beside_losses_.push_back(std::move(trial));
        }
    }

    SearchedCell& cell_of(const CellKey& key) {
        return *std::find_if(cells_.begin(), cells_.end(),
                             [&](const SearchedCell& each) { return each.search.cell() == key; });
    }

    /// Sets round_ to what the cells want now, as far as the budget goes.
    void begin_round() {
        round_.clear();
        std::vector<Trial> wanted = std::exchange(beside_losses_, {});
        if (wanted.empty())
            for (SearchedCell& cell : cells_) {
                if (cell.is_content) continue;
                std::vector<Trial> trials = cell.search.wanted(session_, cell.samples);
                cell.is_content = trials.empty();
                std::ranges::move(trials, std::back_inserter(wanted));
            }
        std::int64_t samples = used_samples_;
        for (Trial& trial : wanted) {
            const std::int64_t more = std::ssize(trial.algorithms);
            const bool in_budget = (config_.budget_samples == 0 || samples + more <= config_.budget_samples) &&
                                   (config_.budget_seconds == 0 || used_seconds_ < config_.budget_seconds);
            if (!in_budget) {
                cut_by_budget_.insert(trial.point.cell);
                continue;
            }
            samples += more;
            round_.push_back(std::move(trial));
        }
        sort_by_duration(round_);
    }

    /// Trials of the first one's world size.
    std::vector<Trial> first_batch(std::vector<Trial> trials) const {
        const auto other = std::find_if(trials.begin(), trials.end(), [&](const Trial& trial) {
            return trial.point.cell.world_size != trials.front().point.cell.world_size;
        });
        trials.resize(std::min<std::size_t>(batch_, static_cast<std::size_t>(other - trials.begin())));
        return trials;
    }

    Config config_;
    std::size_t batch_;
    LaunchesAt launches_;
    std::vector<SearchedCell> cells_;
    int session_ = 0;
    std::vector<Trial> round_;
    std::vector<Trial> beside_losses_; // before all else in the last session
    std::int64_t used_samples_ = 0;
    double used_seconds_ = 0;
    std::set<CellKey> cut_by_budget_;
    std::map<std::tuple<int, Point, std::string>, std::ptrdiff_t> measured_; // places in `samples`
    std::ptrdiff_t indexed_ = 0;                                             // of them
};

/// The search knows what the table knows; it asks for what the samples are called.
class PlanInRoles : public Plan {
  public:
    PlanInRoles(const Config& config, std::size_t batch, const LaunchesAt& launches)
        : config_(config), plan_(in_roles(config), batch, launches ? of_our_kernels(config, launches) : LaunchesAt{}) {}

    std::vector<Trial> next(int session, std::span<const Sample> samples) override {
        std::vector<Trial> trials = plan_.next(session, in_roles(samples, config_));
        for (Trial& trial : trials)
            for (std::string& name : trial.algorithms) name = name_in_samples(name, config_);
        return trials;
    }
    std::size_t expected_points() const override { return plan_.expected_points(); }

  private:
    Config config_;
    AdaptivePlan plan_;
};

} // namespace

LaunchesAt of_our_kernels(const Config& config, const LaunchesAt& launches) {
    return [launches, ours = config.algorithms](std::string_view algorithm, const Point& point) {
        return std::find(ours.begin(), ours.end(), algorithm) == ours.end() ? std::vector<std::string>()
                                                                            : launches(algorithm, point);
    };
}

std::unique_ptr<Plan> make_adaptive_plan(const Config& config, std::size_t batch, const LaunchesAt& launches) {
    const LaunchesAt tuned = config.launches == LaunchChoice::tuned ? launches : LaunchesAt{};
    if (!config.candidates.empty()) return std::make_unique<PlanInRoles>(config, batch, tuned);
    return std::make_unique<AdaptivePlan>(config, batch, tuned);
}

std::set<CellKey> cells_cut_by_budget(const Config& config, std::span<const Sample> samples) {
    if (config.search != Search::adaptive || (config.budget_samples == 0 && config.budget_seconds == 0)) return {};
    std::map<std::pair<std::string, Point>, std::set<std::string>> launches; // no others were measured
    if (config.launches == LaunchChoice::tuned)
        for (const Sample& sample : samples)
            if (is_launch_variant(sample.algorithm))
                launches[{std::string(base_of(sample.algorithm)), sample.point}].insert(sample.algorithm);
    AdaptivePlan plan(in_roles(config), 1, [&](std::string_view algorithm, const Point& point) {
        const auto found = launches.find({std::string(algorithm), point});
        if (found == launches.end()) return std::vector<std::string>();
        return std::vector<std::string>(found->second.begin(), found->second.end());
    });
    plan.next(config.sessions - 1, in_roles(samples, config));
    return plan.cut_by_budget();
}

} // namespace crossover
