#include "tuner/measure/record.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <string>

using namespace crossover;

TEST_CASE("a note that is too long ends with a whole character") {
    Record record;
    const auto kept = [&](const std::string& text) {
        record.set(SampleStatus::failed, text);
        return std::string(record.note.data());
    };
    const std::string room(199, 'a'), two_less = room.substr(2);
    CHECK(kept(room) == room);
    CHECK(kept(room + "b") == room);
    CHECK(kept(two_less + "µ") == two_less + "µ"); // of two bytes
    CHECK(kept(two_less + "µs") == two_less + "µ");
    CHECK(kept(two_less + "…") == two_less); // of three
    CHECK(kept(two_less + "a…") == two_less + "a");
    CHECK(kept(std::string(300, '\x80')).empty()); // no character begins
    CHECK(kept("short") == "short");               // and nothing is left of what was there
}

TEST_CASE("of several variants of an algorithm the fastest counts and one without a time spoils none") {
    Record record;
    CHECK(record.gives_way_to(20)); // none was timed yet
    CHECK_FALSE(record.gives_way_to(0));
    CHECK_FALSE(record.gives_way_to(-1));
    CHECK_FALSE(record.gives_way_to(std::nan("")));
    record.set(SampleStatus::failed, "another one failed its check");
    CHECK(record.gives_way_to(20));
    record.latency_us = 10;
    record.set(SampleStatus::ok, "");
    CHECK(record.gives_way_to(9));
    CHECK_FALSE(record.gives_way_to(11));
    CHECK_FALSE(record.gives_way_to(-1));
}

TEST_CASE("no tenth of a sample lies below 0, however disturbed the shorter graphs were") {
    const GraphTime calm = graph_time({10, 11, 12, 13, 14});
    CHECK(calm.median_us == 12);
    CHECK(calm.p10_us == doctest::Approx(10.4));
    CHECK(calm.p90_us == doctest::Approx(13.6));
    CHECK(calm.replays == 5);
    const GraphTime disturbed = graph_time({-300, -200, 12, 13, 14});
    CHECK(disturbed.median_us == 12);
    CHECK(disturbed.p10_us == 0);
}
