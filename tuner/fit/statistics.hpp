#pragma once
/// The few statistics that the fit stands on. All take plain numbers; NaN is not allowed.

#include <array>
#include <span>
#include <vector>

namespace crossover {

/// The p-quantile, 0 ≤ p ≤ 1, interpolated between order statistics (type 7 of Hyndman and Fan 1996, the default of R
/// and NumPy). Needs at least one value.
double quantile(std::vector<double> values, double p);

/// quantile(values, 0.5): the middle value, the mean of the two middle ones for an even count.
double median(std::vector<double> values);

/// Median of ln(b / a) over the pairs of which both are positive: by how much b is larger. 0 without such a pair.
double median_log_ratio(std::span<const double> a, std::span<const double> b);

/// Standard deviation estimated from the median absolute deviation about `centre`: 1.4826 × MAD, which is the standard
/// deviation for normal values and does not see the outliers, up to half of the values.
double robust_deviation(std::vector<double> values, double centre);

/// The p-quantile, 0 < p < 1, of Student's t distribution with `degrees_of_freedom` ≥ 1.
double student_t_quantile(double p, double degrees_of_freedom);

/// Two-sided 95 % interval for the mean of normal values of unknown variance: mean ± t·s/√n. Needs two values or more.
/// Sessions differ by more than the samples within one do, so the fit calls this with one value a session.
std::array<double, 2> t_interval(std::span<const double> values);

} // namespace crossover
