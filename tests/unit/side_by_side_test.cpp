// Groups that measure at the same time: by what they are compared with one alone, what that decides, and what the later
// sessions of a run know of it.

#include "tests/support/command.hpp"
#include "tuner/plan/side_by_side.hpp"

#include <doctest/doctest.h>

#include <cmath>

using namespace crossover;

TEST_CASE("groups are compared by 4 MiB of our own algorithms") {
    const Trial first{{{.dtype = DType::bfloat16, .world_size = 2}, 8192, 1}, {"oneshot", "acme", "nccl_separate"}};
    Trial load = load_trial(first, {"acme", "other"}, 64 << 20);
    CHECK(load.algorithms == std::vector<std::string>{"oneshot", "nccl_separate"});
    CHECK(load.point.num_tokens == 256);
    CHECK(message_bytes(load.point) == 4 << 20);
    load.point.num_tokens = 1;
    CHECK(load.point == first.point); // otherwise the same

    CHECK(load_trial(first, {}, 1 << 20).point.num_tokens == 64); // no more than the config's largest
    CHECK(load_trial(first, {}, 16 << 10).point.num_tokens == 1);
    CHECK(load_trial({first.point, {"acme"}}, {"acme"}, 64 << 20).algorithms ==
          std::vector<std::string>{"nccl_fused_norm"});
    Trial wide = first;
    wide.point.hidden_dim = 1 << 22; // a row of 8 MiB
    CHECK(load_trial(wide, {}, 64 << 20).point.num_tokens == 1);
}

TEST_CASE("groups that slow each other down by more than 1 % measure one by one") {
    CHECK(groups_side_by_side(4, 0) == 4);
    CHECK(groups_side_by_side(4, std::log(0.9)) == 4);
    CHECK(groups_side_by_side(4, std::log(1.009)) == 4);
    CHECK(groups_side_by_side(4, std::log(1.011)) == 1);
}

TEST_CASE("a run's later sessions know, for each world size") {
    const test::TemporaryFolder run, other;
    CHECK_FALSE(kept_side_by_side(run.path(), 2, 4).has_value());
    keep_side_by_side(run.path(), 2, 4);
    CHECK(kept_side_by_side(run.path(), 2, 4) == 4);
    CHECK_FALSE(kept_side_by_side(run.path(), 4, 2).has_value());
    keep_side_by_side(run.path(), 4, 1);
    CHECK(kept_side_by_side(run.path(), 4, 2) == 1);
    CHECK(kept_side_by_side(run.path(), 2, 4) == 4);
    CHECK_FALSE(kept_side_by_side(other.path(), 2, 4).has_value());
}

TEST_CASE("what is kept of other groups, or cannot be read, is found out again") {
    const test::TemporaryFolder run;
    keep_side_by_side(run.path(), 2, 4);
    CHECK_FALSE(kept_side_by_side(run.path(), 2, 3).has_value());
    for (const char* const text : {"", "x", "0", "-1"}) {
        run.write("side_by_side.2", text);
        CHECK_FALSE(kept_side_by_side(run.path(), 2, 4).has_value());
    }
}
