/// What the search asks of a cell next, on times that are written down.
#include "tests/support/written_samples.hpp"
#include "tuner/plan/cell_search.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace crossover;
using namespace crossover::written;

namespace {

const std::vector<std::string> kTwo{"nccl_fused_norm", "oneshot"};

/// NCCL takes 20 µs, oneshot this.
Times against(double oneshot) { return {{"nccl_fused_norm", 20}, {"oneshot", oneshot}}; }

struct Asker {
    explicit Asker(std::vector<Point> points, const std::vector<std::string>& algorithms = kTwo)
        : search((std::sort(points.begin(), points.end()), points), algorithms, 4, {}) {}
    std::vector<Trial> wanted(int session) const { return search.wanted(session, samples); }

    CellSearch search;
    std::vector<Sample> samples;
};

} // namespace

namespace doctest {
template <>
struct StringMaker<std::vector<Trial>> {
    static String convert(const std::vector<Trial>& trials) {
        std::string text;
        for (const Trial& trial : trials) {
            text += std::to_string(trial.point.num_tokens) + "x" + std::to_string(trial.point.hidden_dim);
            for (const std::string& name : trial.algorithms) text += " " + name;
            text += "; ";
        }
        return text.c_str();
    }
};
} // namespace doctest

TEST_CASE("a coarse look, then the middle of where the fastest changes or leads by little") {
    const auto asked = [](const std::vector<double>& oneshot) { // at 1, 4 and 16 tokens
        Asker asker(points_of({1, 2, 4, 8, 16}));
        CHECK(asker.wanted(0) == trials_at(points_of({1, 4, 16})));
        for (std::size_t i = 0; i < oneshot.size(); ++i)
            add(asker.samples, 0, point(std::int64_t{1} << 2 * i), against(oneshot[i]));
        return asker.wanted(0);
    };
    CHECK(asked({10, 10, 30}) == trials_at(points_of({8})));
    CHECK(asked({10, 10, 10}).empty());
    CHECK(asked({14, 18, 18}) == trials_at(points_of({2, 8}))); // 10.5 % are less than 15 % an octave, 36 % are not
    CHECK(asked({10, 14, 14}).empty());
    CHECK(asked({10, 10, 20.2}) == trials_at(points_of({8})));
    CHECK(asked({10, 19.8, 30}) == trials_at(points_of({2, 8})));
    CHECK(asked({19.8, 20.2, 30}) == trials_at(points_of({2, 8}))); // curves may part and meet again in between
    Asker neighbours(points_of({1, 2, 4}));
    for (const auto& [count, us] : {std::pair(1, 19.8), std::pair(2, 20.2), std::pair(4, 20.2)})
        add(neighbours.samples, 0, point(count), against(us));
    CHECK(neighbours.wanted(0).empty());
}

TEST_CASE("brackets are halved with hidden_dims that were seen little, where these have a size near the middle") {
    std::vector<Point> points = points_of({1, 4, 16, 64, 256});
    for (const Point& each : points_of({8, 128}, 2048)) points.push_back(each); // 32 and 512 KiB
    Asker asker(points);
    add(asker.samples, 0, point(1), against(10));
    add(asker.samples, 0, point(16), against(30));
    add(asker.samples, 0, point(256), against(10));
    // Both hidden_dims have 32 and 512 KiB, the middles.
    CHECK(asker.wanted(0) == trials_at({point(8, 2048), point(128, 2048)}));
    // In turn where both were seen as much.
    points.push_back(point(512, 2048));
    Asker even(points);
    add(even.samples, 0, point(1), against(10));
    add(even.samples, 0, point(32, 2048), against(30)); // 128 KiB
    add(even.samples, 0, point(256), against(10));
    add(even.samples, 0, point(512, 2048), against(10)); // the same size
    CHECK(even.wanted(0) == trials_at({point(8, 2048), point(64)}));

    Asker far(points_of({1, 8, 64}));
    Asker with_other([] {
        std::vector<Point> all = points_of({1, 8, 64});
        all.push_back(point(4, 2048)); // 16 KiB, of a hidden_dim that was not seen: two octaves from the middle
        return all;
    }());
    for (Asker* each : {&far, &with_other}) {
        add(each->samples, 0, point(1), against(10));
        add(each->samples, 0, point(64), against(30));
        CHECK(each->wanted(0) == trials_at(points_of({8})));
    }
}

TEST_CASE("an edge is measured on either side in every session, its slope once") {
    Asker asker(points_of({1, 2, 4, 8, 16, 32}));
    for (const auto& [count, us] : {std::pair(1, 10), std::pair(4, 14), std::pair(8, 28), std::pair(32, 40)})
        add(asker.samples, 0, point(count), against(us));
    CHECK(asker.wanted(0) == trials_at(points_of({2, 16})));
    add(asker.samples, 0, point(2), against(12));
    add(asker.samples, 0, point(16), against(34));
    CHECK(asker.wanted(0).empty());
    CHECK(asker.wanted(1) == trials_at(points_of({4, 8})));
}

TEST_CASE("where a hidden_dim has not crossed at the edge of all, one further") {
    std::vector<Point> points = points_of({1, 2, 4, 8, 16, 32});
    for (const Point& each : points_of({2, 4, 8, 16, 32, 64}, 2048)) points.push_back(each); // the same sizes
    const auto asked_of = [&](const std::vector<double>& oneshot) {
        Asker asker(points);
        for (std::size_t i = 0; i < oneshot.size(); ++i) {
            add(asker.samples, 0, point(std::int64_t{1} << i), against(i < 3 ? 5 : 80)); // an edge at 32 to 64 KiB
            add(asker.samples, 0, point(std::int64_t{2} << i, 2048), against(oneshot[i]));
        }
        std::vector<Trial> trials = asker.wanted(1);
        std::erase_if(trials, [](const Trial& trial) { return trial.point.hidden_dim != 2048; });
        return trials;
    };
    CHECK(asked_of({10, 10, 10, 40, 40, 40}) == trials_at(points_of({8, 16}, 2048)));
    CHECK(asked_of({10, 10, 10, 18, 40, 40}) == trials_at(points_of({8, 16, 32}, 2048)));
    CHECK(asked_of({10, 10, 22, 40, 40, 40}) == trials_at(points_of({4, 8, 16}, 2048)));
}

TEST_CASE("a change between unfused algorithms is looked at in two sessions") {
    const std::vector<std::string> algorithms{"nccl_fused_norm", "nccl_separate", "oneshot"};
    Asker asker(points_of({1, 2, 4, 8}), algorithms);
    for (const std::int64_t count : {1, 2})
        add(asker.samples, 0, point(count), {{"nccl_fused_norm", 20}, {"nccl_separate", 21}, {"oneshot", 40}});
    add(asker.samples, 0, point(8), {{"nccl_fused_norm", 26}, {"nccl_separate", 20}, {"oneshot", 40}});
    CHECK(asker.wanted(0) == trials_at(points_of({4}), {"nccl_fused_norm", "nccl_separate"}));
    add(asker.samples, 0, point(4), {{"nccl_fused_norm", 26}, {"nccl_separate", 20}});
    CHECK(asker.wanted(0).empty());
    CHECK(asker.wanted(1) == trials_at(points_of({2, 4}), {"nccl_fused_norm", "nccl_separate"}));
    for (const auto& [count, us] : {std::pair(2, 20), std::pair(4, 26)})
        add(asker.samples, 1, point(count), {{"nccl_fused_norm", us}, {"nccl_separate", count == 2 ? 21 : 20}});
    CHECK(asker.wanted(1).empty());
    CHECK(asker.wanted(2).empty());
}

TEST_CASE("what was never measured may be the best anywhere") {
    Asker asker(points_of({1, 2, 4, 8, 16}), {"nccl_fused_norm", "oneshot", "twoshot"});
    for (const std::int64_t count : {1, 4, 16}) add(asker.samples, 0, point(count), against(count < 16 ? 10 : 30));
    CHECK(asker.wanted(0) == trials_at(points_of({8}), {"nccl_fused_norm", "oneshot", "twoshot"}));
}
