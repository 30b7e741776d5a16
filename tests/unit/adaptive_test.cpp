/// The adaptive search on machines with known crossovers: as good as the grid, with a fraction of its samples.
#include "tests/support/synthetic.hpp"
#include "tuner/fit/fit.hpp"
#include "tuner/fit/regret.hpp"
#include "tuner/make_table.hpp"
#include "tuner/plan/gpu_seconds.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <set>

using namespace crossover;

namespace {

constexpr int kMachines = 60;

/// Six algorithms over the shapes of configs/default.yaml; `oneshot` and `twoshot` are the test's.
class Draw {
  public:
    explicit Draw(std::uint64_t seed) : random_(seed) {}

    double between(double low, double high) { return std::uniform_real_distribution<double>(low, high)(random_); }
    double size(double log2_low, double log2_high) { return std::exp2(between(log2_low, log2_high)); }
    synthetic::Machine machine(const synthetic::Curve& nccl) {
        synthetic::Machine machine;
        machine.seed = random_();
        machine.hidden_dims = {2048, 4096, 8192};
        machine.num_tokens = synthetic::default_num_tokens();
        std::erase_if(machine.num_tokens, [](std::int64_t count) { return count > 4096; });
        machine.noise.outlier_share = 0.01;
        machine.curves = {{"nccl_fused_norm", nccl},
                          {"nccl_separate", synthetic::scaled(nccl, 1.15)},
                          {"nccl_symm_fused_norm", synthetic::crossing(nccl, {size(20, 24)}, 0.1, 0.2)},
                          {"custom_fused_norm", synthetic::crossing(nccl, {size(15, 20)}, 0.1, 0.3)}};
        return machine;
    }

  private:
    std::mt19937_64 random_;
};

/// Time lost at every grid point by what these samples lead to, by the true times.
RegretReport true_regret(const synthetic::Machine& machine, std::span<const Sample> samples) {
    synthetic::Machine exact = machine;
    exact.noise = synthetic::kNoNoise;
    exact.sessions = 1;
    const std::vector<Cell> cells = fit_cells(samples, {});
    return regret_report(synthetic::measure(exact), choice_of(cells));
}

struct Outcome {
    double grid_samples = 0, samples = 0; // sums
    double grid_regret = 0, regret = 0;   // means over machines of the mean
    double grid_worst = 0, worst = 0;     // the same of the worst point
    double samples_share() const { return samples / grid_samples; }
};

template <class MakeMachine>
Outcome compare(std::uint64_t seed, MakeMachine make) {
    Draw draw(seed);
    Outcome outcome;
    for (int i = 0; i < kMachines; ++i) {
        const synthetic::Machine machine = make(draw);
        const std::vector<Sample> grid = synthetic::measure(machine), searched = synthetic::search(machine);
        outcome.grid_samples += static_cast<double>(grid.size());
        outcome.samples += static_cast<double>(searched.size());
        const Regret with_grid = summary(true_regret(machine, grid).points);
        const Regret with_search = summary(true_regret(machine, searched).points);
        outcome.grid_regret += with_grid.mean / kMachines;
        outcome.regret += with_search.mean / kMachines;
        outcome.grid_worst += with_grid.max / kMachines;
        outcome.worst += with_search.max / kMachines;
    }
    MESSAGE((100 * outcome.samples_share())
            << " % of the samples, mean regret " << (100 * outcome.regret) << " % (grid " << (100 * outcome.grid_regret)
            << " %), worst " << (100 * outcome.worst) << " % (grid " << (100 * outcome.grid_worst) << " %)");
    CHECK(outcome.samples_share() <= 0.2);
    CHECK(outcome.regret <= 0.003);
    CHECK(outcome.regret <= outcome.grid_regret + 0.002);
    return outcome;
}

/// oneshot under twoshot under NCCL, as on real machines.
synthetic::Machine usual_machine(Draw& draw) {
    const synthetic::Curve nccl = synthetic::alpha_beta(draw.between(8, 20), draw.between(10, 30));
    synthetic::Machine machine = draw.machine(nccl);
    const double at = draw.size(15, 19);
    machine.curves["twoshot"] = synthetic::crossing(nccl, {at * draw.size(2, 5)}, draw.between(0.15, 0.35), 0.5);
    machine.curves["oneshot"] = synthetic::crossing(machine.curves["twoshot"], {at}, draw.between(0.2, 0.5));
    return machine;
}

} // namespace

TEST_CASE("planted crossovers") {
    compare(21, [](Draw& draw) { return usual_machine(draw); });
}

TEST_CASE("steps: NCCL changes its protocol") {
    compare(22, [](Draw& draw) {
        const synthetic::Curve smooth = synthetic::alpha_beta(draw.between(8, 20), draw.between(10, 30));
        const synthetic::Curve nccl = synthetic::stepped(smooth, draw.size(15, 24), std::exp(draw.between(-0.3, 0.3)));
        synthetic::Machine machine = draw.machine(nccl);
        machine.curves["oneshot"] = synthetic::crossing(smooth, {draw.size(16, 20)}, draw.between(0.2, 0.6));
        machine.curves["twoshot"] = synthetic::crossing(smooth, {draw.size(20, 23)}, draw.between(0.1, 0.3), 0.3);
        return machine;
    });
}

TEST_CASE("double crossings: a hole in oneshot's range") {
    compare(23, [](Draw& draw) {
        const synthetic::Curve nccl = synthetic::alpha_beta(draw.between(8, 20), draw.between(10, 30));
        synthetic::Machine machine = draw.machine(nccl);
        const double at = draw.size(15, 18), end = at * draw.size(2, 4), last = end * draw.size(1.5, 2.5);
        machine.curves["oneshot"] = synthetic::crossing(nccl, {at, end, last}, 0.3, 0.5);
        machine.curves["twoshot"] = synthetic::scaled(nccl, 1.2);
        return machine;
    });
}

TEST_CASE("ties") {
    compare(24, [](Draw& draw) {
        const synthetic::Curve nccl = synthetic::alpha_beta(draw.between(8, 20), draw.between(10, 30));
        synthetic::Machine machine = draw.machine(nccl);
        machine.curves["oneshot"] = synthetic::scaled(nccl, draw.between(0.995, 1.005));
        machine.curves["twoshot"] = synthetic::scaled(nccl, 1.3);
        machine.curves["custom_fused_norm"] = synthetic::scaled(nccl, 1.1);
        machine.curves["nccl_symm_fused_norm"] = synthetic::scaled(nccl, 1.25);
        return machine;
    });
}

TEST_CASE("where bytes decide, few points are no reason to say that hidden dims differ") {
    Draw draw(31);
    int notes = 0;
    for (int i = 0; i < kMachines; ++i)
        notes += fit_cells(synthetic::search(usual_machine(draw)), {}).front().note.find("for all hidden dims") !=
                 std::string::npos;
    CHECK(notes <= kMachines / 20);
}

TEST_CASE("one algorithm wins everywhere by far: one cheap look") {
    Draw draw(25);
    synthetic::Machine machine = draw.machine(synthetic::alpha_beta(12, 20));
    machine.noise = synthetic::kNoNoise;
    machine.curves["oneshot"] = synthetic::alpha_beta(6, 10);
    machine.curves["twoshot"] = synthetic::alpha_beta(9, 15);
    const std::vector<Sample> samples = synthetic::search(machine);
    CHECK(samples.size() == 8 * 6); // ×4 from 4 KiB to 64 MiB
    std::set<std::int64_t> hidden_dims;
    std::set<std::uint64_t> sizes;
    for (const Sample& sample : samples) {
        CHECK(sample.session == 0);
        hidden_dims.insert(sample.point.hidden_dim);
        sizes.insert(message_bytes(sample.point));
    }
    CHECK(hidden_dims.size() == 3);
    CHECK(*sizes.begin() == 4096);
    CHECK(*sizes.rbegin() == 64 << 20);
}

TEST_CASE("a disturbed point is looked at again and leaves no threshold") {
    Draw draw(26);
    synthetic::Machine machine = draw.machine(synthetic::alpha_beta(12, 20));
    machine.noise = synthetic::kNoNoise;
    machine.curves["oneshot"] = synthetic::alpha_beta(6, 10);
    machine.curves["twoshot"] = synthetic::alpha_beta(9, 15);
    const Config config = synthetic::config_of(machine);
    std::vector<Sample> recorded = synthetic::measure(machine);
    const Point disturbed = make_adaptive_plan(config, 100)->next(0, {}).at(3).point;
    for (Sample& sample : recorded)
        if (sample.session == 0 && sample.point == disturbed && sample.algorithm == "oneshot") sample.latency_us *= 3;
    synthetic::Source source(recorded);
    const auto plan = make_adaptive_plan(config);
    std::vector<Sample> samples;
    for (int session = 0; session < 4; ++session) run_session(session, *plan, source, samples, [](auto, auto) {});
    const Cell cell = fit_cells(samples, {}).front();
    CHECK(cell.intervals.front().algorithm == "oneshot");
    CHECK(cell.intervals.front().max_bytes == 64 << 20);
    std::set<Point> looked_at;
    for (const Sample& sample : samples) looked_at.insert(sample.point);
    CHECK(looked_at.size() > 8 + 2); // from both sides
}

TEST_CASE("one disturbed sample, whichever, costs less than 2 %") {
    Draw draw(32);
    synthetic::Machine machine = usual_machine(draw);
    machine.noise = synthetic::kNoNoise;
    const Config config = synthetic::config_of(machine);
    const std::vector<Sample> recorded = synthetic::measure(machine);
    const std::vector<Sample> whole = synthetic::search(machine);
    for (std::size_t which = 0; which < whole.size(); which += synthetic::kEvery) {
        const Sample& disturbed = whole[which];
        CAPTURE(to_string(disturbed.point));
        CAPTURE(disturbed.algorithm);
        CAPTURE(disturbed.session);
        std::vector<Sample> samples = recorded;
        std::ranges::find_if(samples, [&](const Sample& each) {
            return each.session == disturbed.session && each.point == disturbed.point &&
                   each.algorithm == disturbed.algorithm;
        })->latency_us *= 1.6;
        CHECK(summary(true_regret(machine, synthetic::search(samples, config)).points).max < 0.02);
    }
}

TEST_CASE("the same samples whatever the batch, and after being killed anywhere") {
    Draw draw(27);
    const synthetic::Machine machine = usual_machine(draw);
    Config config = synthetic::config_of(machine);
    config.precision = 0; // how long a sample takes depends on which others it is measured with
    const std::vector<Sample> whole = synthetic::search(machine, config);
    for (const std::size_t batch : {1, 3, 100}) CHECK(synthetic::search(machine, config, batch) == whole);

    synthetic::Source source(synthetic::measure(machine));
    for (std::size_t kept = 1; kept < whole.size(); kept += 7) {
        std::vector<Sample> samples(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(kept));
        for (int session = 0; session < config.sessions; ++session) // a fresh plan each, as on GPUs
            run_session(session, *make_adaptive_plan(config), source, samples, [](auto, auto) {});
        CHECK(samples == whole);
    }
    CHECK(make_adaptive_plan(config)->next(config.sessions - 1, whole).empty());
}

TEST_CASE("a batch has one world size") {
    Draw draw(28);
    const synthetic::Machine machine = usual_machine(draw);
    Config config = synthetic::config_of(machine);
    config.world_sizes = {8, 2};
    config.quants = {Quant::none, Quant::fp8};
    const std::vector<Trial> trials = make_adaptive_plan(config, 1000)->next(0, {});
    CHECK(trials.size() == 2 * 8); // both quant modes of the smaller world
    for (const Trial& trial : trials) CHECK(trial.point.cell.world_size == 2);
    // Groups side by side have trials that take as long.
    CHECK(std::ranges::is_sorted(trials, {}, [](const Trial& trial) { return message_bytes(trial.point); }));
    CHECK(make_adaptive_plan(config, 5)->next(0, {}).size() == 5);
}

TEST_CASE("a budget ends the search, and the cell says so") {
    Draw draw(29);
    const synthetic::Machine machine = usual_machine(draw);
    Config config = synthetic::config_of(machine);
    const std::vector<Sample> whole = synthetic::search(machine);
    RunRecord record;
    record.fingerprint = {.sku = "Synthetic", .compute_capability = "9.0"};
    const auto note = [&](const std::vector<Sample>& samples) {
        record.config = config;
        return make_table(samples, record, fit_options(config)).table.cells.front().note;
    };

    config.budget_samples = std::ssize(whole);
    CHECK(synthetic::search(machine, config) == whole);
    CHECK(note(whole).find("budget") == std::string::npos);

    config.budget_samples = std::ssize(whole) / 2;
    const std::vector<Sample> fewer = synthetic::search(machine, config);
    CHECK(std::ssize(fewer) <= config.budget_samples);
    CHECK(std::ssize(fewer) > config.budget_samples - 6); // a trial more would not have fitted
    CHECK(note(fewer).find("the budget was spent before the search ended") != std::string::npos);
    CHECK(synthetic::search(machine, config, 1) == fewer);

    config.budget_samples = 0;
    config.budget_seconds = gpu_seconds(whole, config) / 2;
    const std::vector<Sample> shorter = synthetic::search(machine, config);
    CHECK(shorter.size() < whole.size());
    CHECK(gpu_seconds(shorter, config) >= config.budget_seconds); // the round in which it was spent is the last
    CHECK(note(shorter).find("budget") != std::string::npos);
    config.search = Search::grid; // has none
    CHECK(note(shorter).find("budget") == std::string::npos);
}

TEST_CASE("algorithms that cannot run or fail do not stop the search") {
    Draw draw(30);
    const synthetic::Machine machine = usual_machine(draw);
    const Config config = synthetic::config_of(machine);
    const auto search = [&](auto is_broken) {
        std::vector<Sample> recorded = synthetic::measure(machine);
        for (Sample& sample : recorded)
            if (is_broken(sample)) {
                sample.status = SampleStatus::failed;
                sample.latency_us = sample.p10_us = sample.p90_us = 0;
                sample.note = "broken";
            }
        synthetic::Source source(recorded);
        std::vector<Sample> samples;
        const auto plan = make_adaptive_plan(config);
        for (int session = 0; session < 4; ++session) run_session(session, *plan, source, samples, [](auto, auto) {});
        return fit_cells(samples, {}).front();
    };
    CHECK(search([](const Sample& sample) { return sample.algorithm == "twoshot"; }).oneshot->max_bytes > 0);
    CHECK(search([](const Sample& sample) {
              return sample.algorithm == "oneshot" && sample.point.num_tokens > 64;
          }).twoshot->max_bytes > 0);
    CHECK(search([](const Sample&) { return true; }).status == CellStatus::not_measured);
    CHECK(search([](const Sample& sample) { return !algorithm::is_fused(sample.algorithm); }).status ==
          CellStatus::not_measured);
}

TEST_CASE("GPU time: calls in both graphs × replays, fewer calls for large messages") {
    Config config;
    Sample sample;
    sample.point = {{.world_size = 2}, 8192, 1};
    sample.latency_us = 10;
    sample.replays = 15;
    CHECK(gpu_seconds(sample, config) == doctest::Approx(10e-6 * (20 + 4) * (15 + 3)));
    sample.point.num_tokens = 4096; // 64 MiB
    CHECK(gpu_seconds(sample, config) == doctest::Approx(10e-6 * (5 + 1) * (15 + 3)));
    sample.replays = 0; // not ok
    CHECK(gpu_seconds(sample, config) == 0);
}

TEST_CASE("what provenance says of the start of graphs is true of every shape") {
    Point point{{.world_size = 2}, 4096, 1};
    for (const int most : {1, 2, 4, 5, 20})
        for (point.num_tokens = 1; point.num_tokens <= 1 << 20; point.num_tokens *= 2)
            CHECK((few_calls(calls_per_graph(point, most)) > 0) == (graph_start(most) == "left out"));
    CHECK(graph_start(4) == "timed");
}
