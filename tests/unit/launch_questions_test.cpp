/// What the search asks about launches next, on times that are written down.
#include "tests/support/written_samples.hpp"
#include "tuner/plan/launch_search.hpp"

#include <doctest/doctest.h>

using namespace crossover;
using namespace crossover::written;

namespace {

const std::string kA = variant(1), kB = variant(2), kC = variant(4);
const std::vector<std::string> kAll{"oneshot", kA, kB, kC};

LaunchesAt only_oneshot(const std::vector<std::string>& variants) {
    return [variants](std::string_view algorithm, const Point&) {
        return algorithm == "oneshot" ? variants : std::vector<std::string>();
    };
}

struct Asker {
    explicit Asker(std::vector<Point> points, std::vector<std::string> variants = {kA, kB, kC})
        : search(points, {"nccl_fused_norm", "oneshot"}, 0.02, only_oneshot(variants)) {}

    std::vector<Trial> wanted(int session, const LaunchSearch::IsNearBest& is_near_best = any) const {
        return search.wanted(session, samples, is_near_best);
    }
    static bool any(const std::string& name, const Point&) { return name == "oneshot"; }

    LaunchSearch search;
    std::vector<Sample> samples;
};

const std::vector<std::int64_t> kPowers{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096};

} // namespace

TEST_CASE("first looks: a factor of 16 apart, and at the ends of where the algorithm is near the best") {
    const Asker search(points_of(kPowers));
    CHECK(search.search.looks() == 4);
    CHECK(search.wanted(0) == trials_at(points_of({1, 16, 256, 4096}), kAll));
    const auto between = [&](std::int64_t first, std::int64_t last) {
        return search.wanted(0, [=](const std::string& name, const Point& at) {
            return name == "oneshot" && first <= at.num_tokens && at.num_tokens <= last;
        });
    };
    CHECK(between(4, 64) == trials_at(points_of({4, 16, 64}), kAll));
    CHECK(between(8, 32) == trials_at(points_of({16}), kAll)); // an octave away is near enough
    CHECK(between(32, 128) == trials_at(points_of({32, 128}), kAll));
    CHECK(between(64, 64) == trials_at(points_of({64}), kAll));
    CHECK(search.wanted(0, [](auto&, auto&) { return false; }).empty());

    // A hidden_dim is looked at where it has a point within an octave of such a size.
    std::vector<Point> two = points_of(kPowers);
    two.push_back(point(3, 8192)); // 1.4 octaves from 128 KiB
    CHECK(Asker(two).search.looks() == 4);
    two.back() = point(5, 8192); // 0.7
    CHECK(Asker(two).search.looks() == 5);
}

TEST_CASE("between two sizes with different launches: what comes near the best of either") {
    Asker search(points_of({1, 2, 3, 4, 8, 16}));
    add(search.samples, 0, point(1), {{"oneshot", 12}, {kA, 10}, {kB, 10.4}, {kC, 10.8}});
    add(search.samples, 0, point(16), {{"oneshot", 12}, {kA, 11}, {kB, 10}, {kC, 10.8}});
    CHECK(search.wanted(0) == trials_at(points_of({4}), {"oneshot", kA, kB}));
    add(search.samples, 0, point(4), {{"oneshot", 12}, {kA, 11}, {kB, 10}});
    CHECK(search.wanted(0) == trials_at(points_of({2}), {"oneshot", kA, kB}));
    add(search.samples, 0, point(2), {{"oneshot", 12}, {kA, 10}, {kB, 11}});
    CHECK(search.wanted(0).empty()); // 2 and 4 are an octave apart: 3 is not worth a look

    Asker gap(points_of({1, 16}));
    gap.samples = search.samples;
    std::erase_if(gap.samples, [](const Sample& each) { return each.point.num_tokens % 15 != 1; });
    CHECK(gap.wanted(0).empty()); // nothing lies between

    // A launch that neither neighbour has may be the best.
    Asker another(points_of({1, 4, 16}));
    add(another.samples, 0, point(1), {{"oneshot", 12}, {kA, 10}, {kB, 11}});
    add(another.samples, 0, point(16), {{"oneshot", 12}, {kA, 11}, {kB, 10}});
    CHECK(another.wanted(0) == trials_at(points_of({4}), kAll));

    // A disturbed time of the default is no change of launch.
    Asker disturbed(points_of(kPowers));
    for (const std::int64_t count : {1, 4, 16, 64, 256, 1024, 4096})
        add(disturbed.samples, 0, point(count), {{"oneshot", count == 64 ? 20 : 10}, {kA, 11}, {kB, 11}, {kC, 11}});
    CHECK(disturbed.wanted(0).empty());
}

TEST_CASE("what came out best comes back: with the runner-up and the default, then with the default") {
    Asker search(points_of({1, 4, 16, 64, 256, 1024}));
    for (const std::int64_t count : {1, 256, 1024})
        add(search.samples, 0, point(count), {{"oneshot", 10}, {kA, 11}, {kB, 11}, {kC, 11}});
    add(search.samples, 0, point(4), {{"oneshot", 10}, {kA, 9.5}, {kB, 10.2}, {kC, 11}});
    add(search.samples, 0, point(16), {{"oneshot", 10}, {kA, 8}, {kB, 9.5}, {kC, 9.6}});
    add(search.samples, 0, point(64), {{"oneshot", 10}, {kA, 9.5}, {kB, 10.4}, {kC, 10}});
    const std::vector<Point> asked = points_of({1, 4, 16, 64, 256});
    CHECK(search.wanted(1) == trials_at(asked, {"oneshot", kA, kB}));
    CHECK(search.wanted(2) == trials_at(asked, {"oneshot", kA}));
    CHECK(search.wanted(3).empty());

    // What has been asked for other reasons is no answer: the default alone, another hidden_dim, another algorithm.
    const std::vector<Trial> asked_first = search.wanted(1);
    add(search.samples, 1, point(16), {{"oneshot", 10}, {"nccl_fused_norm", 20}});
    CHECK(search.wanted(1) == asked_first);
    add(search.samples, 1, point(16, 8192), {{"oneshot", 10}, {kA, 10}});
    CHECK(search.wanted(1) == asked_first);
    add(search.samples, 1, point(1024), {{"twoshot", 10}, {"twoshot" + kA.substr(7), 10}});
    CHECK(search.wanted(1) == asked_first);
    add(search.samples, 1, point(16), {{kA, 8}});
    CHECK(search.wanted(1).empty());
}

TEST_CASE("a launch comes back if it may displace the default") {
    const auto asked = [](const std::vector<double>& times) { // of a variant, against 10
        Asker search(points_of({1, 4, 16}), {kA});
        for (std::size_t i = 0; i < times.size(); ++i)
            add(search.samples, 0, point(std::int64_t{1} << 2 * i), {{"oneshot", 10}, {kA, times[i]}});
        return !search.wanted(1).empty();
    };
    CHECK(asked({9.88, 9.88, 9.88}));       // 1.2 %: over half of what it needs
    CHECK_FALSE(asked({9.92, 9.92, 9.92})); // 0.8 %
    CHECK(asked({9.5, 10, 10}));            // displaces it at one size, by far
    CHECK_FALSE(asked({9.85, 10, 10}));
}
