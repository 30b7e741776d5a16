#include "output/svg.hpp"

#include "output/format.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <string>

using namespace crossover;

TEST_CASE("text is escaped, and what no XML may hold becomes U+FFFD") {
    const std::string unknown = "\xef\xbf\xbd"; // U+FFFD
    CHECK(svg::escaped("<a b=\"c\">&'\n\t") == "&lt;a b=&quot;c&quot;&gt;&amp;&#39;  ");
    CHECK(svg::escaped("é µ \U0001F600") == "é µ \U0001F600");
    for (const char* none : {"\x01", "\x7f", "\xff", "\x80"}) CHECK(svg::escaped(none) == unknown);
    CHECK(svg::escaped("\xc3(") == unknown + "(");
    CHECK(svg::escaped("\xf0\x9f") == unknown + unknown);               // cut off
    CHECK(svg::escaped("\xc0\xaf") == unknown + unknown);               // overlong
    CHECK(svg::escaped("\xed\xa0\x80") == unknown + unknown + unknown); // a surrogate
    CHECK(svg::escaped("\xef\xbf\xbe") == unknown + unknown + unknown); // U+FFFE is none of XML's characters
}

TEST_CASE("ticks have room") {
    const auto labels = [](const std::vector<svg::Tick>& ticks) {
        std::string text;
        for (const svg::Tick& tick : ticks) text += (text.empty() ? "" : " ") + tick.label;
        return text;
    };
    using Exponents = std::vector<int>;
    CHECK(svg::powers_of_two({.low = 11.5, .high = 26.5, .from = 56, .to = 744}, 58) ==
          Exponents{12, 14, 16, 18, 20, 22, 24, 26});
    CHECK(svg::powers_of_two({.low = 13.5, .high = 14.5, .from = 56, .to = 744}, 58) == Exponents{14});
    CHECK(svg::powers_of_two({.low = -0.5, .high = 3.2, .from = 0, .to = 100}, 10) == Exponents{0, 1, 2, 3});
    CHECK(labels(svg::time_ticks({.low = std::log(3.0), .high = std::log(300.0), .from = 300, .to = 50})) ==
          "5 10 20 50 100 200");
    CHECK(labels(svg::time_ticks({.low = std::log(0.15), .high = std::log(1e6), .from = 300, .to = 50})) ==
          "1 10 100 1000 10000 100000 1000000");
    CHECK(labels(svg::time_ticks({.low = std::log(2.1), .high = std::log(4.7), .from = 300, .to = 50})) == "3 4");
    CHECK(fixed(-0.04) == "0.0");
    CHECK(fixed(-1.25, 2) == "-1.25");
}
