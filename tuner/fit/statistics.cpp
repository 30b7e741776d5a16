#include "tuner/fit/statistics.hpp"

#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <stdexcept>

namespace crossover {

double quantile(std::vector<double> values, double p) {
    if (values.empty()) throw std::invalid_argument("quantile of no values");
    if (!(p >= 0 && p <= 1)) throw std::invalid_argument("quantile outside 0…1");
    const double position = p * static_cast<double>(values.size() - 1);
    const auto below = static_cast<std::size_t>(position);
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(below);
    std::nth_element(values.begin(), middle, values.end());
    const double fraction = position - static_cast<double>(below);
    if (fraction == 0) return *middle;
    return std::lerp(*middle, *std::min_element(middle + 1, values.end()), fraction);
}

double median(std::vector<double> values) { return quantile(std::move(values), 0.5); }

double median_log_ratio(std::span<const double> a, std::span<const double> b) {
    std::vector<double> ratios;
    for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
        if (a[i] > 0 && b[i] > 0) ratios.push_back(std::log(b[i] / a[i]));
    return ratios.empty() ? 0 : median(std::move(ratios));
}

double robust_deviation(std::vector<double> values, double centre) {
    constexpr double kNormalConsistency = 1.4826; // 1 / the 0.75-quantile of the normal distribution
    for (double& value : values) value = std::abs(value - centre);
    return kNormalConsistency * median(std::move(values));
}

double student_t_quantile(double p, double degrees_of_freedom) {
    return boost::math::quantile(boost::math::students_t(degrees_of_freedom), p);
}

std::array<double, 2> t_interval(std::span<const double> values) {
    if (values.size() < 2) throw std::invalid_argument("t_interval of fewer than two values");
    const auto n = static_cast<double>(values.size());
    const double mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
    double squares = 0;
    for (const double value : values) squares += (value - mean) * (value - mean);
    const double standard_error = std::sqrt(squares / (n - 1) / n);
    const double half_width = student_t_quantile(0.975, n - 1) * standard_error;
    return {mean - half_width, mean + half_width};
}

} // namespace crossover
