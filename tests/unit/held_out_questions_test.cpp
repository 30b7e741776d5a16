/// Which losses at held-out shapes stand, and what is asked about these shapes next, on times that are written down.
#include "tests/support/written_samples.hpp"
#include "tuner/plan/validation.hpp"

#include <doctest/doctest.h>

using namespace crossover;
using namespace crossover::written;

namespace {

const std::string kVariant = variant(1);
const Point kHeldOut = point(2);

Config config_of(int sessions) {
    Config config;
    config.world_sizes = {8};
    config.patterns = {kHeldOut.cell.pattern};
    config.dtypes = {kHeldOut.cell.dtype};
    config.quants = {kHeldOut.cell.quant};
    config.hidden_dims = config.validation_hidden_dims = {4096};
    config.num_tokens = {1, 4, 16};
    config.validation_num_tokens = {2};
    config.algorithms = {"nccl_fused_norm", "nccl_separate", "oneshot", "twoshot"};
    config.sessions = sessions;
    return config;
}

/// The shapes of the search: oneshot is the fastest.
std::vector<Sample> fitted(int sessions, const Times& times = {{"nccl_fused_norm", 20}, {"oneshot", 10}}) {
    std::vector<Sample> samples;
    for (int session = 0; session < sessions; ++session)
        for (const std::int64_t count : {1, 4, 16}) add(samples, session, point(count), times);
    return samples;
}

} // namespace

TEST_CASE("a loss stands that sessions agree on") {
    const Config config = config_of(5);
    const auto stands = [&](const std::vector<double>& losses) { // of oneshot, in sessions 1, 2, …
        std::vector<Sample> samples = fitted(4);
        for (std::size_t i = 0; i < losses.size(); ++i)
            add(samples, static_cast<int>(i) + 1, kHeldOut,
                {{"nccl_fused_norm", 10}, {"oneshot", 10 * (1 + losses[i])}});
        return standing_losses(config, samples) == std::vector{kHeldOut};
    };
    CHECK(stands({0.03, 0.03}));
    CHECK_FALSE(stands({}));
    CHECK_FALSE(stands({0.03}));                // once
    CHECK(stands({0.018, 0.024}));              // 2.1 % together
    CHECK_FALSE(stands({0.015, 0.022}));        // 1.9 %
    CHECK_FALSE(stands({0.012, 0.035}));        // they do not agree
    CHECK(stands({0.015, 0.022, 0.023}));       //
    CHECK_FALSE(stands({0.007, 0.022, 0.023})); // one of them saw little
}

TEST_CASE("what stands does not depend on the last session") {
    const Config config = config_of(5);
    std::vector<Sample> samples = fitted(1);
    for (const int session : {2, 3}) add(samples, session, kHeldOut, {{"nccl_fused_norm", 10}, {"oneshot", 10.3}});
    CHECK(standing_losses(config, samples) == std::vector{kHeldOut});
    for (const std::int64_t count : {1, 4, 16}) // another table: NCCL is the fastest
        add(samples, 4, point(count), {{"nccl_fused_norm", 5}, {"oneshot", 10}});
    add(samples, 4, kHeldOut, {{"nccl_fused_norm", 10}, {"oneshot", 10}});
    CHECK(standing_losses(config, samples) == std::vector{kHeldOut});
}

TEST_CASE("a held-out shape is measured again where the choice loses, with what comes near the best") {
    const Config config = config_of(4);
    const auto asked = [&](const Times& at_first_look) {
        std::vector<Sample> samples = fitted(3);
        add(samples, 1, kHeldOut, at_first_look);
        return make_validation_plan(config)->next(2, samples);
    };
    CHECK(asked({{"nccl_fused_norm", 10}, {"nccl_separate", 11}, {"oneshot", 10.5}, {"twoshot", 10.4}}) ==
          std::vector<Trial>{{kHeldOut, {"nccl_fused_norm", "oneshot", "twoshot"}}});
    CHECK(asked({{"nccl_fused_norm", 10}, {"nccl_separate", 11}, {"oneshot", 10.08}, {"twoshot", 10.4}}).empty());
    // A failure is no time: of the choice, there is nothing to compare; of another, it is not the best.
    CHECK(asked({{"nccl_fused_norm", 10}, {"oneshot", 0}}).empty());
    CHECK(asked({{"nccl_fused_norm", 20}, {"oneshot", 10}, {"twoshot", 0}}).empty());
}

TEST_CASE("a held-out shape that the table says nothing of is looked at once") {
    Config config = config_of(4);
    config.validation_num_tokens = {64}; // above the samples, at whose end oneshot wins
    std::vector<Sample> samples = fitted(3);
    const auto plan = make_validation_plan(config);
    CHECK(plan->next(1, samples) == std::vector<Trial>{{point(64), config.algorithms}});
    add(samples, 1, point(64), {{"nccl_fused_norm", 10}, {"nccl_separate", 11}, {"oneshot", 20}, {"twoshot", 12}});
    CHECK(plan->next(2, samples).empty());
}

TEST_CASE("held-out shapes are measured with the launch that the table has, if they can be") {
    Config config = config_of(4);
    config.algorithms = {"nccl_fused_norm", "oneshot"};
    const LaunchesAt launches = [](std::string_view algorithm, const Point&) {
        return algorithm == "oneshot" ? std::vector{kVariant} : std::vector<std::string>();
    };
    const Times times{{"nccl_fused_norm", 20}, {"oneshot", 12}, {kVariant, 10}};
    const std::vector<Trial> first_look{{kHeldOut, {"nccl_fused_norm", kVariant}}};
    // The table is that of the session whose search is over.
    config.sessions = 1;
    CHECK(make_validation_plan(config, 16, launches)->next(0, fitted(1, times)) == first_look);
    config.sessions = 4;
    std::vector<Sample> samples = fitted(3, times);
    CHECK(make_validation_plan(config, 16, launches)->next(1, samples) == first_look);
    const LaunchesAt elsewhere = [&](std::string_view algorithm, const Point& at) {
        return at == kHeldOut ? std::vector<std::string>() : launches(algorithm, at);
    };
    CHECK(make_validation_plan(config, 16, elsewhere)->next(1, samples) ==
          std::vector<Trial>{{kHeldOut, config.algorithms}});
    const auto nowhere = [](const Point&) { return false; };
    CHECK(make_validation_plan(config, 16, launches, nowhere)->next(1, samples).empty());

    // Looked at by the default launch, it is measured again by the other one; then it is known.
    add(samples, 1, kHeldOut, {{"nccl_fused_norm", 20}, {"oneshot", 12}});
    CHECK(make_validation_plan(config, 16, launches)->next(2, samples) == std::vector<Trial>{{kHeldOut, {kVariant}}});
    add(samples, 2, kHeldOut, {{kVariant, 10}});
    CHECK(make_validation_plan(config, 16, launches)->next(3, samples).empty());

    config.launches = LaunchChoice::standard;
    CHECK(make_validation_plan(config, 16, launches)->next(1, fitted(3, times)) ==
          std::vector<Trial>{{kHeldOut, config.algorithms}});
}
