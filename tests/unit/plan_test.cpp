#include "tests/support/recordings.hpp"
#include "tuner/plan/run_session.hpp"
#include "tuner/progress.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <stdexcept>

using namespace crossover;

namespace {

/// Answers whatever is asked, `at_a_time` trials at a time.
class EchoSource : public SampleSource {
  public:
    std::vector<Sample> measure(int session, std::span<const Trial> trials) override {
        ++calls;
        trials = trials.first(std::min(at_a_time, trials.size()));
        std::vector<Sample> samples;
        for (const Trial& trial : trials)
            for (const std::string& algorithm : trial.algorithms) {
                Sample sample;
                sample.session = session;
                sample.point = trial.point;
                sample.algorithm = algorithm;
                samples.push_back(sample);
            }
        if (forgets_one) samples.pop_back();
        return samples;
    }

    int calls = 0;
    std::size_t at_a_time = 100;
    bool forgets_one = false;
};

std::vector<Sample> run(const Config& config, int session, std::vector<Sample> samples = {}, std::size_t batch = 16) {
    EchoSource source;
    run_session(session, *make_grid_plan(config, batch), source, samples, [](auto, auto) {});
    return samples;
}

} // namespace

TEST_CASE("the grid is the product of the config, sorted, without messages above the limit") {
    Config config = test::small_config();
    config.hidden_dims = {4096, 2048}; // order in the config does not matter
    const std::vector<Point> points = grid_points(config);
    CHECK(points.size() == 2 * 2 * (8 + 8));
    CHECK(std::is_sorted(points.begin(), points.end()));
    CHECK(std::set(points.begin(), points.end()).size() == points.size());

    config.max_message_bytes = 32 << 20; // 8192 × 4096 × 2 is 64 MiB; 8192 × 2048 × 2 and 4096 × 4096 × 2 are 32
    const std::vector<Point> fewer = grid_points(config);
    CHECK(fewer.size() == 2 * 2 * (8 + 7));
    for (const Point& point : fewer) CHECK(message_bytes(point) <= config.max_message_bytes);
    config.dtypes = {DType::float32};
    CHECK(grid_points(config).size() == 2 * 2 * (7 + 6));
}

TEST_CASE("a session measures each point with each algorithm once") {
    const Config config = test::small_config();
    const std::vector<Sample> samples = run(config, 3);
    std::set<std::pair<Point, std::string>> seen;
    for (const Sample& sample : samples) {
        CHECK(sample.session == 3);
        CHECK(seen.emplace(sample.point, sample.algorithm).second);
    }
    CHECK(seen.size() == grid_points(config).size() * config.algorithms.size());
    CHECK(make_grid_plan(config)->expected_points() == grid_points(config).size());
}

TEST_CASE("a batch has one world size, at most the wanted trials, and none to spare") {
    const Config config = test::small_config(); // 32 points a world size, in two cells
    for (const std::size_t batch : {1, 5, 16, 24, 100}) {
        const auto plan = make_grid_plan(config, batch);
        std::vector<Sample> samples;
        EchoSource source;
        std::vector<std::size_t> sizes;
        run_session(0, *plan, source, samples, [&](std::span<const Trial> trials, std::span<const Sample>) {
            sizes.push_back(trials.size());
            for (const Trial& trial : trials)
                CHECK(trial.point.cell.world_size == trials.front().point.cell.world_size);
        });
        CHECK(std::ssize(sizes) == 2 * static_cast<long>((32 + batch - 1) / batch));
        for (const std::size_t size : sizes) CHECK(size <= batch);
    }
}

TEST_CASE("only what is missing of this session is asked for") {
    const Config config = test::small_config();
    std::vector<Sample> samples = run(config, 0);
    CHECK(make_grid_plan(config)->next(0, samples).empty());
    CHECK(run(config, 0, samples).size() == samples.size());
    CHECK(run(config, 1, samples).size() == 2 * samples.size());

    // Killed in the middle of a trial.
    const std::vector<Sample> whole = samples;
    const std::size_t algorithms = config.algorithms.size();
    samples.resize(3 * algorithms + 1);
    const std::vector<Trial> next = make_grid_plan(config)->next(0, samples);
    REQUIRE(!next.empty());
    CHECK(next[0].point == samples.back().point);
    CHECK(next[0].algorithms == std::vector<std::string>(config.algorithms.begin() + 1, config.algorithms.end()));
    CHECK(next[1].algorithms == config.algorithms);
    CHECK(run(config, 0, samples) == whole);

    // What failed was tried: it is not asked for again, or a hopeless point would be tried for ever.
    samples.back().status = SampleStatus::timeout;
    CHECK(make_grid_plan(config)->next(0, samples)[0].algorithms == next[0].algorithms);
}

TEST_CASE("a source that does not answer is found out instead of asked for ever") {
    EchoSource source;
    source.forgets_one = true;
    std::vector<Sample> samples;
    const auto plan = make_grid_plan(test::small_config());
    CHECK_THROWS_AS(run_session(0, *plan, source, samples, [](auto, auto) {}), std::logic_error);
    CHECK(source.calls == 1);
    CHECK(samples.empty());
}

TEST_CASE("what is measured one by one is kept one by one, whatever the batch") {
    const Config config = test::small_config();
    const std::vector<Sample> expected = run(config, 0);
    EchoSource source;
    source.at_a_time = 1;
    std::vector<Sample> samples, kept;
    const auto plan = make_grid_plan(config);
    run_session(0, *plan, source, samples, [&](std::span<const Trial> trials, std::span<const Sample> measured) {
        CHECK(trials.size() == 1); // all that a run loses that is killed
        CHECK(measured.size() == trials.front().algorithms.size());
        CHECK(measured.front().point == trials.front().point);
        kept.insert(kept.end(), measured.begin(), measured.end());
    });
    CHECK(kept == expected);
    CHECK(samples == expected);
}

TEST_CASE("progress says what is left") {
    using namespace std::chrono_literals;
    CHECK(duration_text(7s) == "7 s");
    CHECK(duration_text(200s) == "3 min 20 s");
    CHECK(duration_text(3905s) == "1 h 05 min");
    CHECK(progress_text("session 1/4, points", 200, 800, 20s) ==
          "session 1/4, points: 200 of 800, 25 %, 1 min 00 s left");
    CHECK(progress_text("points", 0, 800, 20s) == "points: 0 of 800");
    CHECK(progress_text("points", 9, 8, 20s) == "points: 9 of 9, 100 %, 0 s left");
}
