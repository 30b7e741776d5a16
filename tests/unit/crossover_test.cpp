// Where two curves cross: the cut of least regret, interpolated, and its interval over sessions.

#include "tuner/fit/crossover.hpp"

#include <doctest/doctest.h>

using namespace crossover;
using doctest::Approx;

TEST_CASE("the cut of least regret is the minimum of the running sum") {
    const auto cut = [](const std::vector<double>& ratios) {
        std::vector<RatioPoint> curve;
        for (const double ratio : ratios) curve.push_back({10.0 + static_cast<double>(curve.size()), ratio});
        const Crossing crossing = find_crossing(curve);
        if (crossing.kind == Crossing::Kind::never) return 0;
        if (crossing.kind == Crossing::Kind::always) return static_cast<int>(ratios.size());
        return static_cast<int>(crossing.log2_bytes - 10) + 1;
    };
    CHECK(cut({-1, -0.5, 0.5, 1}) == 2);
    CHECK(cut({0.5, 1}) == 0);
    CHECK(cut({-0.5, -1}) == 2);
    CHECK(cut({-1, 0.2, -1, 1}) == 3);   // one odd point is outvoted
    CHECK(cut({-1, 0.5, -0.2, 1}) == 1); // but not if following it costs less
}

TEST_CASE("a crossing is interpolated and not bent by a step beside it") {
    CHECK(find_crossing(std::vector<RatioPoint>{{16, -0.2}, {17, 0.1}}).log2_bytes == Approx(16 + 2.0 / 3));
    std::vector<RatioPoint> line;
    for (int i = 0; i < 8; ++i) line.push_back({10.0 + i, 0.1 * (i - 3.7)});
    CHECK(find_crossing(line).log2_bytes == Approx(13.7));
    for (std::size_t i = 5; i < line.size(); ++i) line[i].log_ratio += 2; // between 14 and 15
    const Crossing stepped = find_crossing(line);
    CHECK(stepped.log2_bytes == Approx(13.7).epsilon(0.01));
    CHECK(stepped.possible[1] - stepped.possible[0] < 0.5);

    // A step in the crossing's own bracket: it may be anywhere in there, and the interval says so.
    std::vector<RatioPoint> jump;
    for (int i = 0; i < 8; ++i) jump.push_back({10.0 + i, 0.02 * (i - 3.5) + (i < 4 ? -0.5 : 0.5)});
    const Crossing inside = find_crossing(jump);
    CHECK(inside.possible[0] <= 13.05);
    CHECK(inside.possible[1] >= 13.95);

    CHECK(find_crossing(std::vector<RatioPoint>{{16, 0.2}, {17, 0.1}}).kind == Crossing::Kind::never);
    CHECK(find_crossing(std::vector<RatioPoint>{{16, -0.2}, {17, -0.1}}).kind == Crossing::Kind::always);
}

TEST_CASE("an interval holds the sessions that never cross, or always") {
    const auto at = [](double crossing) {
        std::vector<RatioPoint> curve;
        for (int i = 10; i <= 24; ++i) curve.push_back({static_cast<double>(i), 0.1 * (i - crossing)});
        return curve;
    };
    std::vector<std::vector<RatioPoint>> sessions(9, at(19.5));
    CHECK_FALSE(crossing_interval(std::span(sessions).first(1)));
    CHECK((*crossing_interval(sessions))[0] == Approx(19.5));
    CHECK((*crossing_interval(sessions))[1] == Approx(19.5));
    sessions.push_back(at(9)); // one of ten: the t interval alone would begin at 16.4
    CHECK((*crossing_interval(sessions))[0] == Approx(10));
    CHECK((*crossing_interval(sessions))[1] < 24);
    sessions.back() = at(25);
    CHECK((*crossing_interval(sessions))[0] > 10);
    CHECK((*crossing_interval(sessions))[1] == Approx(24));
}
