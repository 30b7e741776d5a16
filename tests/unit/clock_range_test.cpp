#include "comm/clock_range.hpp"

#include <doctest/doctest.h>

using namespace crossover;

TEST_CASE("clocks of blocks, ranks and sessions become one range; where none is known, none is made up") {
    ClockRange all;
    all.add({});
    CHECK(all == ClockRange{});
    for (const unsigned mhz : {1965u, 1980u, 1935u}) all.add({mhz, mhz});
    all.add({});
    CHECK(all == ClockRange{1935, 1980});
    CHECK(to_string(all) == "1935 to 1980");
    CHECK(parse_clock_range(to_string(all)) == all);
    for (const char* const text : {"", "1980", "to 1980", "high"}) CHECK(parse_clock_range(text) == ClockRange{});
}
