#pragma once

#include <functional>
#include <vector>

namespace crossover {

/// A curve through points (x ascending, two or more): monotone piecewise cubic (Fritsch and Carlson 1980, PCHIP), which
/// follows smooth curves as a spline does and does not overshoot at steps; straight lines for fewer than four points.
/// Defined between the first x and the last.
std::function<double(double)> interpolate(std::vector<double> x, std::vector<double> y);

} // namespace crossover
