#include "tuner/fit/statistics.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <stdexcept>

using namespace crossover;
using doctest::Approx;

TEST_CASE("median of odd and even counts, of unsorted values, of one") {
    CHECK(median({3, 1, 2}) == 2);
    CHECK(median({4, 1, 3, 2}) == 2.5);
    CHECK(median({7}) == 7);
    CHECK(median({5, 5, 5, 1e9}) == 5);
    CHECK_THROWS_AS(median({}), std::invalid_argument);
}

TEST_CASE("quantiles agree with R's type 7") {
    // R: quantile(c(15, 20, 35, 40, 50), c(0, .1, .4, .9, 1))
    const std::vector<double> values{40, 15, 50, 20, 35};
    CHECK(quantile(values, 0) == 15);
    CHECK(quantile(values, 0.1) == Approx(17));
    CHECK(quantile(values, 0.4) == Approx(29));
    CHECK(quantile(values, 0.9) == Approx(46));
    CHECK(quantile(values, 1) == 50);
    CHECK_THROWS_AS(quantile(values, 1.01), std::invalid_argument);
    CHECK_THROWS_AS(quantile(values, -0.01), std::invalid_argument);
}

TEST_CASE("the median log ratio pairs values and leaves out what was not measured") {
    const std::vector<double> alone{10, 20, 0, 40}, together{11, 21, 30, 80};
    CHECK(median_log_ratio(alone, together) == Approx(std::log(1.1)));
    CHECK(median_log_ratio(together, alone) == Approx(-std::log(1.1)));
    CHECK(median_log_ratio({}, {}) == 0);
    CHECK(median_log_ratio(std::vector<double>{0.0}, std::vector<double>{1.0}) == 0);
}

TEST_CASE("robust deviation is the standard deviation of normal values and ignores outliers") {
    // The quantiles of the standard normal distribution at (i + ½)/9, one of them then replaced by a wild value.
    const std::vector<double> normal{-1.5932, -0.9674, -0.5895, -0.2822, 0, 0.2822, 0.5895, 0.9674, 1.5932};
    CHECK(robust_deviation(normal, 0) == Approx(0.5895 * 1.4826));
    std::vector<double> disturbed = normal;
    disturbed.back() = 1e6;
    CHECK(robust_deviation(disturbed, 0) == Approx(0.5895 * 1.4826));
}

TEST_CASE("quantiles of Student's t agree with printed tables") {
    CHECK(student_t_quantile(0.975, 1) == Approx(12.7062).epsilon(1e-5));
    CHECK(student_t_quantile(0.975, 2) == Approx(4.30265).epsilon(1e-5));
    CHECK(student_t_quantile(0.975, 3) == Approx(3.18245).epsilon(1e-5));
    CHECK(student_t_quantile(0.975, 30) == Approx(2.04227).epsilon(1e-5));
    CHECK(student_t_quantile(0.95, 10) == Approx(1.81246).epsilon(1e-5));
    CHECK(student_t_quantile(0.025, 3) == Approx(-3.18245).epsilon(1e-5));
    CHECK(student_t_quantile(0.5, 7) == Approx(0));
}

TEST_CASE("t interval of a textbook sample") {
    // R: t.test(c(9.8, 10.2, 10.4, 9.8, 10.0, 10.2, 9.6))$conf.int
    const std::vector<double> values{9.8, 10.2, 10.4, 9.8, 10.0, 10.2, 9.6};
    const auto [low, high] = t_interval(values);
    CHECK(low == Approx(9.738414).epsilon(1e-6));
    CHECK(high == Approx(10.261586).epsilon(1e-6));
    CHECK_THROWS_AS(t_interval(std::vector<double>{1}), std::invalid_argument);
}

TEST_CASE("equal values leave an interval without width") {
    const auto [low, high] = t_interval(std::vector<double>{3, 3, 3});
    CHECK(low == 3);
    CHECK(high == 3);
}
