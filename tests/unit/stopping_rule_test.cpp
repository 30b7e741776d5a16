#include "tuner/plan/stopping_rule.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <numeric>
#include <vector>

using namespace crossover;
using doctest::Approx;

namespace {

/// 10 % an octave, through 0 at 2^16.
const std::vector<RatioPoint> kCurve{{14, -0.2}, {15, -0.1}, {16, 0.0}, {17, 0.1}, {18, 0.2}};

} // namespace

TEST_CASE("time at stake: the largest ratio in the interval") {
    CHECK(time_at_stake(kCurve, {15.5, 16.2}) == Approx(0.05));
    CHECK(time_at_stake(kCurve, {16, 16}) == Approx(0));
    CHECK(time_at_stake(kCurve, {2, 60}) == Approx(0.2)); // level beyond the ends
    const std::vector<RatioPoint> stepped{{14, -0.01}, {15, 0.3}, {16, 0.01}};
    CHECK(time_at_stake(stepped, {14, 16}) == Approx(0.3)); // inside, not at the ends
    CHECK(time_at_stake({}, {14, 16}) == 0);
}

TEST_CASE("a threshold is settled when too little is at stake, and its interval rests on three sessions") {
    const auto settled = [](EdgeEvidence evidence, double guard_band) {
        return is_settled(kCurve, evidence, guard_band);
    };
    const EdgeEvidence wide{.bracket = {15, 17}, .interval = {{15.5, 16.5}}, .sessions = 4};
    CHECK_FALSE(settled(wide, 0.02));
    CHECK(settled(wide, 0.06));
    const EdgeEvidence narrow{.bracket = {15, 17}, .interval = {{15.9, 16.1}}, .sessions = 3};
    CHECK(settled(narrow, 0.02));
    EdgeEvidence early = narrow;
    early.sessions = 2;
    CHECK_FALSE(settled(early, 0.02));
    early.wants_interval = false;
    CHECK(settled(early, 0.02));
    const EdgeEvidence unknown{.bracket = {15, 17}, .interval = {}, .sessions = 4};
    CHECK_FALSE(settled(unknown, 0.02));
    CHECK_FALSE(settled(unknown, 0.06));
    CHECK(settled(unknown, 0.11)); // nothing to lose in the whole bracket
}

TEST_CASE("replays end where they agree, and early where nothing can be won") {
    const ReplayRule rule{.trials = 15, .precision = 0.0025};
    // Standard deviation 0.474 %: the median's standard error is 1.2533 · 0.474 % / √5 = 0.266 %, of ten 0.177 %.
    const std::vector<double> five{9.94, 9.97, 10.0, 10.03, 10.06}, steady{10, 10.01, 10, 9.99, 10};
    std::vector<double> ten = five;
    ten.insert(ten.end(), five.begin(), five.end());
    using Open = std::vector<std::size_t>;
    using Times = std::vector<std::vector<double>>;
    const auto imprecise = [](const Times& times, const ReplayRule& of) {
        Open all(times.size());
        std::iota(all.begin(), all.end(), std::size_t{0});
        return crossover::imprecise(all, times, of);
    };
    CHECK(imprecise(Times{steady, five}, rule) == Open{1});
    CHECK(imprecise(Times{steady, ten}, rule).empty());
    std::vector<double> behind = five, near = five;
    for (double& time : behind) time *= 1.01; // 0.25 % + 0.05 %
    for (double& time : near) time *= 1.002;  // 0.25 % + 0.01 %
    CHECK(imprecise(Times{steady, behind}, rule).empty());
    CHECK(imprecise(Times{steady, near}, rule) == Open{1});
    // Two heaps are not one.
    CHECK(imprecise(Times{std::vector<double>{10, 10, 10, 10.4, 10.4}}, rule) == Open{0});
    // All replays are enough, whatever they say; none are not.
    std::vector<double> wild(15, 10.0);
    wild.back() = 30;
    CHECK(imprecise(Times{wild}, rule).empty());
    wild.erase(wild.begin());
    CHECK(imprecise(Times{wild, std::vector<double>{}}, rule) == Open{0, 1});
    CHECK(imprecise(Times{std::vector<double>{10}}, rule) == Open{0}); // has no spread

    CHECK(next_replays(rule, 0) == 5);
    CHECK(next_replays(rule, 5) == 5);
    CHECK(next_replays({.trials = 7, .precision = 0.0025}, 5) == 2);
    CHECK(next_replays({.trials = 15, .precision = 0}, 0) == 15);
    CHECK(imprecise(Times{five}, {.trials = 15, .precision = 0}) == Open{0});

    // One that has ended is not opened again when a faster one is found: the two would no longer be in step.
    Times times{behind, five};
    const Open second = crossover::imprecise({0, 1}, times, rule);
    CHECK(second == Open{1});
    for (double& time : times[1]) time *= 1.01;
    CHECK(imprecise(times, rule) == Open{0, 1});
    CHECK(crossover::imprecise(second, times, rule) == Open{1});
}

TEST_CASE("contenders are replayed until the rule has enough of each") {
    // Steady and fastest; spread by 1.5 %; as spread, but 20 % behind; in two heaps to the end.
    const auto time = [](std::size_t contender, int replay) {
        const double spread = 0.015 * (replay % 5 - 2);
        return contender == 0   ? 10.0
               : contender == 1 ? 10.1 * (1 + 0.3 * spread)
               : contender == 2 ? 12 * (1 + spread / 2)
                                : (replay % 2 == 0 ? 10.0 : 10.5);
    };
    using Open = std::vector<std::size_t>;
    std::vector<std::pair<Open, int>> asked; // who, after how many
    const auto replay = [&](const Open& open, int done, int count) {
        asked.emplace_back(open, done);
        std::vector<std::vector<double>> times;
        for (const std::size_t contender : open) {
            times.emplace_back();
            for (int i = done; i < done + count; ++i) times.back().push_back(time(contender, i));
        }
        return times;
    };
    const auto counts = [](const std::vector<std::vector<double>>& times) {
        std::vector<std::size_t> result;
        for (const std::vector<double>& each : times) result.push_back(each.size());
        return result;
    };
    const auto times = replay_contenders(4, {.trials = 12, .precision = 0.0025}, replay);
    CHECK(asked == std::vector<std::pair<Open, int>>{{{0, 1, 2, 3}, 0}, {{1, 3}, 5}, {{3}, 10}});
    CHECK(counts(times) == std::vector<std::size_t>{5, 10, 5, 12});
    for (std::size_t contender = 0; contender < times.size(); ++contender)
        for (std::size_t i = 0; i < times[contender].size(); ++i)
            CHECK(times[contender][i] == time(contender, static_cast<int>(i)));

    asked.clear();
    CHECK(counts(replay_contenders(2, {.trials = 7, .precision = 0}, replay)) == std::vector<std::size_t>{7, 7});
    CHECK(asked.size() == 1);
    CHECK(replay_contenders(0, {}, replay).empty());
}
