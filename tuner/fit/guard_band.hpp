#pragma once
/// Does an algorithm win by the guard band, or does it only look so at some noisy size?

#include <cstddef>
#include <optional>
#include <vector>

namespace crossover {

/// The gains (log ratios, > 0 = wins; −∞ = cannot run) of one algorithm over another, by size, against a guard band.
///
/// A gain counts if the median of it and its two neighbours is beyond the band by more than the noise, or if it is
/// alone but beyond by far.
class GuardBand {
  public:
    /// @param noise  standard deviation of one gain; if unknown, by how much sizes deviate from the line through their
    ///               neighbours
    GuardBand(std::vector<double> gains, double guard_band, std::optional<double> noise);

    /// Wins by the guard band at one of the sizes first…last-1 at least.
    bool wins(std::size_t first, std::size_t last) const;
    /// Loses by the guard band at one size at least.
    bool loses() const;

  private:
    /// Gain k counts, with sign +1 for winning and −1 for losing.
    bool counts(std::size_t k, double sign) const;

    std::vector<double> gains_;
    double guard_ = 0; // ln
    double noise_ = 0; // ln
};

} // namespace crossover
