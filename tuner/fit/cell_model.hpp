#pragma once
/// One cell's observations as costs over sizes × algorithms, and the edges between the algorithms that are the best.

#include "tuner/fit/crossover.hpp"
#include "tuner/fit/observations.hpp"
#include "tuner/fit/segments.hpp"

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace crossover {

/// Two sides that meet: sizes first…cut-1 go to the one, cut…last-1 to the other (all indices of sizes).
struct Contest {
    Eigen::Index first = 0;
    Eigen::Index cut = 0;
    Eigen::Index last = 0;
    std::vector<Eigen::Index> below; // by size: the lower side's algorithm there
    std::vector<Eigen::Index> above; // by size: the upper side's
};

/// Where one side overtakes the other, in log2 of message bytes.
struct Edge {
    double log2_bytes = 0;
    std::optional<std::array<double, 2>> interval; // 95 %; nothing with one session and exact times
};

/// All hidden_dims pooled: a size is a number of message bytes, and what an algorithm costs there is its mean log
/// regret over the hidden_dims, so that the sum over sizes is one curve's.
class CellModel {
  public:
    /// Keeps a reference to `cell`.
    explicit CellModel(const CellObservations& cell);

    /// Message bytes at which an unfused algorithm can be used, ascending.
    const std::vector<std::uint64_t>& sizes() const { return sizes_; }
    std::string_view name(Eigen::Index algorithm) const { return cell_.series[algorithm].name; }
    bool is_challenger(Eigen::Index algorithm) const { return algorithm::is_challenger(name(algorithm)); }
    /// Of the algorithm among those of its cell: by rising rank, sizes can be dealt out with limits. All-reduces:
    /// oneshot 0, twoshot 1, the unfused 2. MoE: what challenges the baseline comes above it.
    int rank(Eigen::Index algorithm) const { return rank_[algorithm]; }

    /// Algorithms by size, with the fewest changes that matter: a change must save half the guard band (so a hole,
    /// which takes two, the whole of it), and a challenger next to a baseline must beat it by the guard band somewhere.
    /// `ordered`: by rising rank, as limits can say.
    std::vector<Segment> segments(double guard_band, bool ordered) const;

    /// The fastest unfused algorithm at a size; over all sizes.
    Eigen::Index baseline_at(Eigen::Index size) const;
    Eigen::Index baseline() const;

    /// `segments` win against `others` by the guard band at some size.
    bool is_better(const std::vector<Segment>& segments, const std::vector<Segment>& others, double guard_band) const;

    /// At every size the fastest fused algorithm and the baseline are within the guard band of each other.
    bool is_tie(double guard_band) const;

    /// ln(other ÷ this) at a size, mean over the points that have both.
    double advantage(Eigen::Index algorithm, Eigen::Index other, Eigen::Index size) const;
    /// Why the algorithm cannot be used at a size.
    Barred barred(Eigen::Index algorithm, Eigen::Index size) const { return barred_[algorithm][size]; }

    /// The fastest of the algorithms for which `among` holds, at a size; -1 if none of them can be used.
    Eigen::Index best(Eigen::Index size, const std::function<bool(Eigen::Index)>& among) const;

    Edge edge(const Contest& contest) const;

  private:
    /// By size: ln(fastest baseline ÷ this); −∞ where this cannot be used.
    std::vector<double> gains(Eigen::Index algorithm) const;

    /// ln µs by algorithm of each hidden_dim at a size, interpolated between its neighbouring sizes where it has no
    /// point there and these are near: hidden_dims whose sizes differ are held against the same cut all the same.
    std::vector<Eigen::ArrayXd> times_at(Eigen::Index size) const;

    using LogTime = std::function<double(Eigen::Index algorithm, Eigen::Index point)>; // ln µs, NaN if none
    /// `rounding_side` × the half-widths of rounding is added to the log ratios.
    std::vector<RatioPoint> curve(const Contest& contest, const LogTime& log_us, double rounding_side = 0) const;

    const CellObservations& cell_;
    std::vector<int> rank_;
    std::vector<std::uint64_t> sizes_;
    std::vector<std::vector<Eigen::Index>> points_; // by size
    Eigen::ArrayXXd log_us_;                        // algorithms × points, gaps filled
    Eigen::ArrayXXd cost_;                          // algorithms × sizes
    std::optional<double> noise_;                   // of a log ratio, by what the sessions differ; one cannot tell
    std::vector<std::vector<Barred>> barred_;       // algorithms × sizes
};

} // namespace crossover
