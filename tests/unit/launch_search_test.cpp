/// Launch parameters on machines whose best launches are known: found, and nothing else.
#include "output/format.hpp"
#include "tests/support/readme.hpp"
#include "tests/support/synthetic.hpp"
#include "tests/support/written_samples.hpp"
#include "tuner/fit/fit.hpp"
#include "tuner/fit/launches.hpp"
#include "tuner/fit/regret.hpp"
#include "tuner/make_table.hpp"
#include "tuner/plan/gpu_seconds.hpp"
#include "tuner/plan/validation.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <map>
#include <random>
#include <set>
#include <tuple>

using namespace crossover;

namespace {

const std::vector<std::string> kVariants{
    "[cluster=1,clusters=132,threads=512,ahead=1,behind=1]", "[cluster=2,clusters=132,threads=256,ahead=1,behind=1]",
    "[cluster=4,clusters=66,threads=256,ahead=1,behind=1]",  "[cluster=8,clusters=66,threads=128,ahead=1,behind=1]",
    "[cluster=16,clusters=66,threads=64,ahead=1,behind=1]",
};
/// Of kVariants: planted as the best up to planted_bytes(), where the kernel's default is `kGain` slower.
constexpr std::size_t kSmall = 3;
/// Planted above that.
constexpr std::size_t kLarge = 0;

struct Planted {
    double gain = 0.12;
    double bytes = 512 * 1024.0; // up to this kSmall
    bool large_too = false;      // above it kLarge is as much ahead; else the default
};

/// oneshot under twoshot under NCCL. Each fused algorithm with its variants: planted ones ahead of the default, the
/// others 4 to 40 % behind it. Every launch has a bias of its own in a session.
synthetic::Machine machine_with(const Planted& planted, std::uint64_t seed, double others = 0.04) {
    std::mt19937_64 random(seed);
    const auto between = [&](double low, double high) {
        return std::uniform_real_distribution<double>(low, high)(random);
    };
    synthetic::Machine machine;
    machine.seed = seed;
    machine.hidden_dims = {2048, 4096, 8192};
    machine.num_tokens = synthetic::default_num_tokens();
    std::erase_if(machine.num_tokens, [](std::int64_t count) { return count > 4096; });
    machine.noise.outlier_share = 0.01;
    // A statement each: compilers differ in the order in which they draw arguments.
    const double us_per_mib = between(10, 30), alpha_us = between(8, 20);
    const synthetic::Curve nccl = synthetic::alpha_beta(alpha_us, us_per_mib);
    machine.curves = {{"nccl_fused_norm", nccl},
                      {"nccl_separate", synthetic::scaled(nccl, 1.15)},
                      {"nccl_symm_fused_norm", synthetic::crossing(nccl, {std::exp2(between(20, 24))}, 0.1, 0.2)},
                      {"custom_fused_norm", synthetic::crossing(nccl, {std::exp2(between(15, 20))}, 0.1, 0.3)}};
    const double at = std::exp2(between(16, 19));
    const double slope = between(0.15, 0.35), farther = std::exp2(between(2, 5));
    machine.curves["twoshot"] = synthetic::crossing(nccl, {at * farther}, slope, 0.5);
    machine.curves["oneshot"] = synthetic::crossing(machine.curves["twoshot"], {at}, between(0.2, 0.5));
    for (const std::string algorithm : {"oneshot", "twoshot"})
        for (std::size_t v = 0; v < kVariants.size(); ++v) {
            const double behind = others > 0 ? between(others, 0.4) : 0;
            machine.curves[algorithm + kVariants[v]] = [=, standard = machine.curves[algorithm]](double bytes) {
                const bool best = planted.gain > 0 && ((v == kSmall && bytes <= planted.bytes) ||
                                                       (v == kLarge && planted.large_too && bytes > planted.bytes));
                return standard(bytes) * (best ? 1 / (1 + planted.gain) : 1 + behind);
            };
        }
    return machine;
}

Table table_of(const synthetic::Machine& machine, const std::vector<Sample>& samples) {
    RunRecord record;
    record.fingerprint = {.sku = "Synthetic", .compute_capability = "9.0"};
    record.config = synthetic::config_of(machine);
    return make_table(samples, record, fit_options(*record.config)).table;
}

/// By what the launch that the cell has for the algorithm that it chooses is slower than the best launch, in truth:
/// mean and worst over the grid points of fused algorithms.
struct Loss {
    double mean = 0, worst = 0;
    int points = 0;
};
Loss launch_loss(const synthetic::Machine& machine, const Cell& cell) {
    Loss loss;
    const Launches launches = launches_of(std::span(&cell, 1));
    for (const Point& point : grid_points(synthetic::config_of(machine))) {
        const std::string algorithm(select_algorithm(cell, message_bytes(point), point.hidden_dim));
        if (!algorithm::is_fused(algorithm)) continue;
        double best = synthetic::true_latency(machine, algorithm, point);
        for (const std::string& variant : kVariants)
            best = std::min(best, synthetic::true_latency(machine, algorithm + variant, point));
        const double lost = synthetic::true_latency(machine, launched(algorithm, point, launches), point) / best - 1;
        loss.mean += lost;
        loss.worst = std::max(loss.worst, lost);
        ++loss.points;
    }
    if (loss.points > 0) loss.mean /= loss.points;
    return loss;
}

/// Of the grid of all points and algorithms (launched by default): samples and GPU time.
struct Cost {
    double samples = 0, time = 0;
};
Cost cost_of(const std::vector<Sample>& samples, const synthetic::Machine& machine) {
    const Config config = synthetic::config_of(machine);
    std::vector<Sample> grid = synthetic::measure(machine);
    std::erase_if(grid, [](const Sample& sample) { return is_launch_variant(sample.algorithm); });
    return {.samples = static_cast<double>(samples.size()) / static_cast<double>(grid.size()),
            .time = gpu_seconds(samples, config) / gpu_seconds(grid, config)};
}

std::vector<Sample> search_by_default(const synthetic::Machine& machine) {
    Config config = synthetic::config_of(machine);
    config.launches = LaunchChoice::standard;
    return synthetic::search(machine, config);
}

/// Points at which fused and unfused algorithms were compared, but not the launch that the rows say.
int defaults_in_place_of_launches(const std::vector<Sample>& samples, const Launches& launches) {
    std::map<Point, std::set<std::string>> measured;
    for (const Sample& sample : samples) measured[sample.point].insert(sample.algorithm);
    int count = 0;
    for (const auto& [point, names] : measured)
        for (const std::string algorithm : {"oneshot", "twoshot"})
            count += names.contains("nccl_fused_norm") && names.contains(algorithm) &&
                     !names.contains(launched(algorithm, point, launches));
    return count;
}

bool has_variants(const std::vector<Sample>& samples) {
    return std::any_of(samples.begin(), samples.end(),
                       [](const Sample& sample) { return is_launch_variant(sample.algorithm); });
}

} // namespace

TEST_CASE("planted launches are found, in less than a tenth of the grid's time") {
    constexpr int kMachines = 63;
    double mean = 0, mean_of_longer = 0, untuned = 0;
    Cost tuned_cost, all_replays, default_cost;
    for (int i = 0; i < kMachines; ++i) {
        Planted planted{.large_too = i % 2 == 1};
        planted.bytes *= std::exp2(0.29 * (i % 7) - 1); // anywhere between two points of the grid
        const synthetic::Machine machine = machine_with(planted, 100 + i);
        const std::vector<Sample> samples = synthetic::search(machine), by_default = search_by_default(machine);
        CHECK_FALSE(has_variants(by_default));
        const Table table = table_of(machine, samples);
        for (const std::int64_t hidden_dim : machine.hidden_dims) // where oneshot is used, without doubt
            CHECK(launched("oneshot", {machine.cell, hidden_dim, 1}, launches_of(table.cells)) ==
                  "oneshot" + kVariants[kSmall]);
        CHECK(defaults_in_place_of_launches(samples, launches_of(table.cells)) == 0);
        mean += launch_loss(machine, table.cells.front()).mean / kMachines;
        untuned += launch_loss(machine, table_of(machine, by_default).cells.front()).mean / kMachines;
        Config config = synthetic::config_of(machine);
        config.precision = 0;
        const std::vector<Sample> longer = synthetic::search(machine, config);
        mean_of_longer += launch_loss(machine, table_of(machine, longer).cells.front()).mean / kMachines;
        for (const auto& [total, of] : {std::pair(&tuned_cost, &samples), std::pair(&all_replays, &longer),
                                        std::pair(&default_cost, &by_default)}) {
            total->samples += cost_of(*of, machine).samples / kMachines;
            total->time += cost_of(*of, machine).time / kMachines;
        }
    }
    MESSAGE("time lost by launches: mean "
            << 100 * mean << " %, by default " << 100 * untuned << " %; of the grid " << 100 * tuned_cost.samples
            << " % of the samples and " << 100 * tuned_cost.time << " % of the time, by default "
            << 100 * default_cost.samples << " % and " << 100 * default_cost.time << " %; with all replays "
            << 100 * all_replays.time << " % of the time, and " << 100 * mean_of_longer << " % lost");
    CHECK(untuned > 0.04);
    CHECK(mean < 0.004);
    CHECK(mean < mean_of_longer + 0.001);
    CHECK(tuned_cost.samples < 0.25);
    CHECK(tuned_cost.time < 0.1);
    CHECK(tuned_cost.time < default_cost.time + 0.04);
    test::check_readme_says("the search with tuned launches takes " + fixed(100 * tuned_cost.time, 1) +
                            " % of the GPU time that the grid takes with all replays and default launches; with all "
                            "replays it would be " +
                            fixed(100 * all_replays.time, 1) + " %. What its launches lose against the best ones is " +
                            fixed(100 * mean, 2) + " % and " + fixed(100 * mean_of_longer, 2) + " %, " +
                            fixed(100 * untuned, 1) + " % with default launches (means over " +
                            std::to_string(kMachines) + " synthetic machines");
}

TEST_CASE("noise alone leaves the default") {
    constexpr int kMachines = 60, kContests = 6; // two algorithms, three hidden dims
    std::size_t rows = 0;
    Cost tuned_cost, default_cost;
    for (int i = 0; i < kMachines; ++i) {
        const synthetic::Machine machine = machine_with({.gain = 0}, 500 + i, 0);
        const std::vector<Sample> samples = synthetic::search(machine), by_default = search_by_default(machine);
        CHECK(has_variants(samples));
        rows += table_of(machine, samples).cells.front().launches.size();
        tuned_cost.time += cost_of(samples, machine).time / kMachines;
        default_cost.time += cost_of(by_default, machine).time / kMachines;
    }
    MESSAGE(rows << " rows in " << kMachines * kContests << " contests; " << 100 * tuned_cost.time
                 << " % of the grid's time, by default " << 100 * default_cost.time << " %");
    CHECK(rows <= kMachines * kContests / 50);
    CHECK(tuned_cost.time < 0.1);
    CHECK(tuned_cost.time < default_cost.time + 0.03);
}

TEST_CASE("a launch that is ahead by less than the guard band displaces nothing") {
    std::size_t rows = 0;
    for (int i = 0; i < 20; ++i) {
        const synthetic::Machine machine = machine_with({.gain = 0.012}, 700 + i);
        rows += table_of(machine, synthetic::search(machine)).cells.front().launches.size();
    }
    CHECK(rows <= 6); // of 120 contests, each with 1.2 % ± 0.6 % between sessions
}

TEST_CASE("limits are those of the launch chosen, measured anew") {
    constexpr int kMachines = 60;
    int covered = 0, tuned = 0;
    for (int i = 0; i < kMachines; ++i) {
        synthetic::Machine machine = machine_with({.gain = 0.12, .bytes = 1e12}, 900 + i);
        std::erase_if(machine.curves, [](const auto& curve) {
            return base_of(curve.first) == "twoshot" || curve.first.starts_with("custom") ||
                   curve.first.starts_with("nccl_symm");
        });
        const Cell cell = table_of(machine, synthetic::search(machine)).cells.front();
        const auto meets = [&](const std::string& name) {
            return synthetic::meeting(machine.curves.at(name), machine.curves.at("nccl_fused_norm"), 4096, 1 << 26);
        };
        const double truth = meets("oneshot" + kVariants[kSmall]), by_default = meets("oneshot");
        REQUIRE(cell.oneshot);
        const auto limit = static_cast<double>(cell.oneshot->max_bytes);
        tuned += std::abs(std::log(limit / truth)) < std::abs(std::log(limit / by_default));
        if (cell.oneshot->ci95)
            covered += static_cast<double>((*cell.oneshot->ci95)[0]) <= truth &&
                       truth <= static_cast<double>((*cell.oneshot->ci95)[1]);
    }
    MESSAGE(covered << " of " << kMachines << " intervals hold the limit of the chosen launch");
    CHECK(tuned >= kMachines * 95 / 100);
    CHECK(covered >= kMachines * 90 / 100);
}

TEST_CASE("what was fast once and did not come back is not chosen") {
    const std::string lucky = "oneshot" + kVariants[kLarge], steady = "oneshot" + kVariants[kSmall];
    std::vector<Sample> samples;
    const auto chosen = [&] { return launched("oneshot", samples.front().point, fit_launches(samples, 0.02)); };
    for (const std::int64_t num_tokens : {4, 8, 16})
        written::add(samples, 0, written::point(num_tokens), {{"oneshot", 12}, {steady, 10}, {lucky, 9.9}});
    CHECK(chosen() == lucky);
    for (const std::int64_t num_tokens : {4, 8, 16})
        written::add(samples, 1, written::point(num_tokens), {{"oneshot", 12}, {steady, 10.1}});
    CHECK(chosen() == steady);
    for (Sample& sample : samples)
        if (sample.algorithm == "oneshot") sample.latency_us = 10.2;
    CHECK(chosen() == "oneshot"); // 1.5 % is not enough
}

TEST_CASE("times by which a launch was chosen do not count where there are two others") {
    const Point point{{.world_size = 8}, 4096, 8};
    const std::string chosen = "oneshot" + kVariants[kSmall], other = "oneshot" + kVariants[kLarge];
    const LaunchRow row{"oneshot", 4096, 0, 1 << 20, *parse_launched(chosen).launch};
    const Launches launches{{point.cell, {row}}};
    std::vector<Sample> samples;
    const auto add = [&](int session, const std::string& name, double us) {
        written::add(samples, session, point, {{name, us}});
    };
    for (const int session : {0, 1, 2}) {
        add(session, "oneshot", 12);
        add(session, "nccl_fused_norm", 20);
        add(session, chosen, 9 + session);
    }
    add(0, other, 13);
    add(0, "oneshot" + kVariants[1], 13);
    const auto times = [&](bool anew) {
        std::vector<double> found;
        for (const Sample& sample : as_launched(samples, launches, anew))
            if (sample.algorithm == "oneshot") found.push_back(sample.latency_us);
        return found;
    };
    CHECK(times(false) == std::vector<double>{9, 10, 11});
    CHECK(times(true) == std::vector<double>{10, 11});
    add(1, other, 13); // the runner-up of the second session: the third alone takes no one's place
    CHECK(times(true) == std::vector<double>{10, 11});
    std::erase_if(samples, [&](const Sample& sample) { return sample.session == 2; });
    CHECK(times(true) == std::vector<double>{9, 10});
    std::erase_if(samples, [&](const Sample& sample) { return sample.session == 1; });
    CHECK(times(true) == std::vector<double>{9}); // better than none
    std::erase_if(samples, [&](const Sample& sample) { return sample.algorithm == chosen; });
    CHECK(times(true) == std::vector<double>{12}); // the default stands for it
    samples.front().algorithm = "twoshot";
    CHECK(times(true) == std::vector<double>{13}); // and without it another: the one that most sessions have
    add(1, "oneshot" + kVariants[1], 14);
    CHECK(times(true) == std::vector<double>{13, 14});
    for (Sample& sample : samples)
        if (sample.algorithm == "oneshot" + kVariants[1]) sample.status = SampleStatus::failed;
    CHECK(times(true) == std::vector<double>{13}); // of those that did not fail
    // Another spelling of the same launch is the same launch.
    add(0, "oneshot[behind=1,ahead=1,threads=128,clusters=66,cluster=8]", 8);
    CHECK(times(true) == std::vector<double>{8});
    std::erase_if(samples, [](const Sample& sample) { return sample.algorithm == "nccl_fused_norm"; });
    CHECK(times(true).empty()); // nothing to compare it with
}

TEST_CASE("one disturbed sample, whichever, costs less than 2 %") {
    synthetic::Machine machine = machine_with({.bytes = 1e12}, 5);
    machine.noise = synthetic::kNoNoise;
    const Config config = synthetic::config_of(machine);
    const std::vector<Sample> recorded = synthetic::measure(machine);
    const std::vector<Point> points = grid_points(config);
    const auto times_of = [&](const std::vector<Sample>& samples) { // in truth
        const Cell cell = table_of(machine, samples).cells.front();
        const Launches launches = launches_of(std::span(&cell, 1));
        std::vector<double> times;
        for (const Point& point : points) {
            const std::string algorithm(select_algorithm(cell, message_bytes(point), point.hidden_dim));
            times.push_back(synthetic::true_latency(machine, launched(algorithm, point, launches), point));
        }
        return times;
    };
    const std::vector<Sample> whole = synthetic::search(machine);
    const std::vector<double> undisturbed = times_of(whole);
    for (std::size_t which = 0; which < whole.size(); which += synthetic::kEvery) {
        const Sample& disturbed = whole[which];
        std::vector<Sample> samples = recorded;
        std::ranges::find_if(samples, [&](const Sample& each) {
            return each.session == disturbed.session && each.point == disturbed.point &&
                   each.algorithm == disturbed.algorithm;
        })->latency_us *= 1.6;
        const std::vector<double> times = times_of(synthetic::search(samples, config));
        double worst = 0;
        std::size_t where = 0;
        for (std::size_t i = 0; i < times.size(); ++i)
            if (times[i] / undisturbed[i] - 1 > worst) {
                worst = times[i] / undisturbed[i] - 1;
                where = i;
            }
        INFO(to_string(disturbed.point) << " " << disturbed.algorithm << " in session " << disturbed.session
                                        << " costs " << worst << " at " << to_string(points[where]));
        CHECK(worst < 0.02);
    }
}

TEST_CASE("the same launches whatever the batch, and after being killed anywhere") {
    const synthetic::Machine machine = machine_with({.large_too = true}, 42);
    Config config = synthetic::config_of(machine);
    config.precision = 0; // how long a sample takes depends on which others it is measured with
    const std::vector<Sample> whole = synthetic::search(machine, config);
    CHECK(has_variants(whole));
    std::set<std::tuple<int, Point, std::string>> once;
    for (const Sample& sample : whole) CHECK(once.emplace(sample.session, sample.point, sample.algorithm).second);
    for (const std::size_t batch : {1, 3, 100}) CHECK(synthetic::search(machine, config, batch) == whole);

    synthetic::Source source(synthetic::measure(machine));
    const LaunchesAt launches = launches_of(source);
    for (std::size_t kept = 1; kept < whole.size(); kept += 23) {
        std::vector<Sample> samples(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(kept));
        for (int session = 0; session < config.sessions; ++session) // a fresh plan each, as on GPUs
            run_session(session, *make_adaptive_plan(config, 16, launches), source, samples, [](auto, auto) {});
        CHECK(samples == whole);
    }
    CHECK(make_adaptive_plan(config, 16, launches)->next(config.sessions - 1, whole).empty());
}

TEST_CASE("launches that fail are not chosen, and no one waits for them") {
    const synthetic::Machine machine = machine_with({}, 43);
    std::vector<Sample> recorded = synthetic::measure(machine);
    for (Sample& sample : recorded)
        if (sample.algorithm == "oneshot" + kVariants[kSmall]) {
            sample.status = SampleStatus::timeout;
            sample.latency_us = sample.p10_us = sample.p90_us = 0;
        }
    synthetic::Source source(recorded);
    const Config config = synthetic::config_of(machine);
    const auto plan = make_adaptive_plan(config, 16, launches_of(source));
    std::vector<Sample> samples;
    for (int session = 0; session < 4; ++session) run_session(session, *plan, source, samples, [](auto, auto) {});
    const Cell cell = table_of(machine, samples).cells.front();
    CHECK(cell.status == CellStatus::measured);
    bool twoshot = false;
    for (const LaunchRow& row : cell.launches) {
        CHECK(row.algorithm == "twoshot");
        twoshot = true;
    }
    CHECK(twoshot);
}

TEST_CASE("a budget cuts launches, too, and the cell says so") {
    const synthetic::Machine machine = machine_with({}, 44);
    Config config = synthetic::config_of(machine);
    const std::vector<Sample> whole = synthetic::search(machine);
    RunRecord record;
    record.fingerprint = {.sku = "Synthetic", .compute_capability = "9.0"};
    for (const bool enough : {true, false}) {
        config.budget_samples = std::ssize(whole) / (enough ? 1 : 2);
        const std::vector<Sample> samples = synthetic::search(machine, config);
        CHECK(std::ssize(samples) <= config.budget_samples);
        record.config = config;
        const Cell cell = make_table(samples, record, fit_options(config)).table.cells.front();
        CHECK((cell.note.find("budget") == std::string::npos) == enough);
    }
}

TEST_CASE("the grid measures every launch, held-out points those that were chosen") {
    const synthetic::Machine machine = machine_with({}, 45);
    Config config = synthetic::config_of(machine);
    config.search = Search::grid;
    synthetic::Source source(synthetic::measure(machine));
    const LaunchesAt launches = launches_of(source);
    std::vector<Sample> samples;
    for (int session = 0; session < config.sessions; ++session)
        run_session(session, *make_plan(config, 16, launches), source, samples, [](auto, auto) {});
    CHECK(samples.size() == synthetic::measure(machine).size());
    const Cell cell = table_of(machine, samples).cells.front();
    CHECK(launch_loss(machine, cell).mean < 0.001);

    const Point known{machine.cell, 4096, 5}, unknown{machine.cell, 7168, 5};
    const LaunchesAt any = [&](std::string_view algorithm, const Point&) {
        std::vector<std::string> names;
        for (const std::string& variant : kVariants) names.push_back(std::string(algorithm) + variant);
        return names;
    };
    config.algorithms = {"nccl_fused_norm", "oneshot"};
    config.validation_hidden_dims = {4096, 7168};
    config.validation_num_tokens = {5};
    const std::vector<Trial> trials = make_validation_plan(config, 16, any)->next(3, samples);
    REQUIRE(trials.size() == 2);
    CHECK(trials[0] == Trial{known, {"nccl_fused_norm", "oneshot" + kVariants[kSmall]}});
    CHECK(trials[1] == Trial{unknown, config.algorithms});

    config.launches = LaunchChoice::standard;
    CHECK(make_plan(config, 1, launches)->next(0, {}).at(0).algorithms == config.algorithms);
}
