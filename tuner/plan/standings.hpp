#pragma once
/// How far every algorithm of one cell is behind the fastest, by the samples so far.

#include "tuner/fit/cell_model.hpp"
#include "tuner/fit/observations.hpp"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace crossover {

class Standings {
  public:
    /// @param algorithms  that may be asked for; outlive this
    /// @param samples     of one cell, at least one
    Standings(const std::vector<std::string>& algorithms, std::span<const Sample> samples);
    Standings(const Standings&) = delete;
    Standings& operator=(const Standings&) = delete;

    const CellObservations& observations() const { return observations_; }
    const CellModel& model() const { return model_; }
    /// log2 of the model's sizes; none if nothing can be compared.
    const std::vector<double>& sizes() const { return sizes_; }
    Eigen::Index size_count() const { return std::ssize(sizes_); }

    /// Of the observations' series; their number if it was never measured.
    Eigen::Index index_of(const std::string& name) const;
    Eigen::Index fastest(Eigen::Index size) const { return fastest_[size]; }
    /// ln by which `algorithm` is behind the fastest at a size; NaN where it was not measured.
    double behind(Eigen::Index algorithm, Eigen::Index size) const { return behind_(algorithm, size); }
    /// By how much the fastest leads at a size.
    double lead(Eigen::Index size) const;

    /// Whether `name` may be among the best at `at` (log2 bytes), by the sizes there and next to it that have a time of
    /// it. One that does badly there alone may have been disturbed.
    bool is_contender(const std::string& name, double at) const;
    /// Whether `name`, or a faster launch of it, may be the best at `at`: by its distance (ln) to the fastest,
    /// interpolated between the sizes that have times of it.
    bool is_near_best(const std::string& name, double at) const;
    /// The fastest unfused algorithm at the measured size nearest to `at`.
    std::string_view nearest_baseline(double at) const;
    /// What comes near the fastest at a point, and a baseline to compare with.
    std::vector<std::string> contenders(const Point& point) const;

  private:
    const std::vector<std::string>& algorithms_;
    CellObservations observations_;
    CellModel model_;
    std::vector<double> sizes_;
    std::vector<Eigen::Index> fastest_; // by size
    Eigen::ArrayXXd behind_;            // algorithms × sizes
};

} // namespace crossover
