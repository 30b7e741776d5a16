#include "tuner/measure/limits.hpp"

#include <doctest/doctest.h>

using namespace crossover;
using namespace std::chrono_literals;

TEST_CASE("a wait on the GPU times out before ranks give each other up") {
    Config config;
    CHECK(wait_limit(config) == 68s);
    CHECK(progress_limit(config) == 128s);
    config.timeout_ms = 600'000; // the most that a config may have
    CHECK(wait_limit(config) == 41min);
    CHECK(progress_limit(config) == 42min);
}
