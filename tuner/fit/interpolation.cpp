#include "tuner/fit/interpolation.hpp"

#include <math.h> // pchip.hpp of Boost 1.74 calls ::isnan

#include <algorithm>
#include <boost/math/interpolators/pchip.hpp>
#include <cmath>
#include <stdexcept>

namespace crossover {

std::function<double(double)> interpolate(std::vector<double> x, std::vector<double> y) {
    if (x.size() < 2 || x.size() != y.size()) throw std::invalid_argument("interpolate needs two points or more");
    if (x.size() >= 4) return boost::math::interpolators::pchip(std::move(x), std::move(y));
    return [x = std::move(x), y = std::move(y)](double at) {
        const std::size_t i = x.size() == 2 || at < x[1] ? 0 : 1;
        return std::lerp(y[i], y[i + 1], (at - x[i]) / (x[i + 1] - x[i]));
    };
}

} // namespace crossover
