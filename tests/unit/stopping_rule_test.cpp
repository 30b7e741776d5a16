#include "tuner/plan/stopping_rule.hpp"

#include <doctest/doctest.h>

#include <cmath>
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
    CHECK(settled(unknown, 0.11)); // nothing to lose in the whole bracket
}
