#include "tuner/fit/guard_band.hpp"

#include "tuner/fit/statistics.hpp"

#include <algorithm>
#include <cmath>

namespace crossover {

GuardBand::GuardBand(std::vector<double> gains, double guard_band, std::optional<double> noise)
    : gains_(std::move(gains)), guard_(std::log1p(guard_band)), noise_(noise.value_or(0)) {
    if (noise) return;
    constexpr double kOfThree = 1.2247; // √1.5: standard deviation of a value about the mean of its two neighbours
    std::vector<double> bends;
    for (std::size_t k = 1; k + 1 < gains_.size(); ++k) {
        const double bend = gains_[k] - 0.5 * (gains_[k - 1] + gains_[k + 1]);
        if (std::isfinite(bend)) bends.push_back(bend);
    }
    if (bends.size() > 1) noise_ = robust_deviation(bends, median(bends)) / kOfThree;
}

bool GuardBand::counts(std::size_t k, double sign) const {
    constexpr double kAlone = 4; // noise beyond the band, and never under the band again
    if (sign * gains_[k] >= guard_ + std::max(guard_, kAlone * noise_)) return true;
    if (gains_.size() < 3) return sign * gains_[k] >= guard_;
    const std::size_t first = std::clamp<std::size_t>(k, 1, gains_.size() - 2) - 1;
    return sign * median({gains_.begin() + first, gains_.begin() + first + 3}) >= guard_ + noise_;
}

bool GuardBand::wins(std::size_t first, std::size_t last) const {
    for (std::size_t k = first; k < last; ++k)
        if (counts(k, 1)) return true;
    return false;
}

bool GuardBand::loses() const {
    for (std::size_t k = 0; k < gains_.size(); ++k)
        if (counts(k, -1)) return true;
    return false;
}

} // namespace crossover
