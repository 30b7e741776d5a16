#include "output/comparison_evidence.hpp"
#include "output/format.hpp"
#include "tuner/fit/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace crossover {
namespace {

/// Standard error, in octaves, of a threshold without an interval (one session, or written by hand): with 2.6 of these
/// for each of two tables, a threshold must move by more than one step of the usual ×2 ladder.
constexpr double kAssumedError = 0.3;
/// ln ratio an octave where no gain says it: of oneshot against twoshot, 8 H200s show 0.3 to 0.7.
constexpr double kAssumedSlope = 0.3;
/// Ratios level off away from a crossing: no slope is followed further than this many octaves.
constexpr double kFarthest = 2;

/// Where two curves cross, in log2 bytes, as one table knows it.
struct CrossingEstimate {
    enum class Kind { at, at_or_below, at_or_above } kind = Kind::at;
    double octaves = 0;
    double standard_error = 0;
    double degrees_of_freedom = 0; // of the standard error; none if it is assumed
};

CrossingEstimate crossing_of(const Cell& cell, const Threshold& limit, int sessions) {
    if (limit.max_bytes == 0) return {CrossingEstimate::Kind::at_or_below, log2_bytes(cell.measured_min_bytes)};
    if (limit.limited_by != LimitedBy::crossover)
        return {CrossingEstimate::Kind::at_or_above, log2_bytes(limit.max_bytes)};
    const double place = log2_bytes(limit.max_bytes);
    if (!limit.ci95) return {CrossingEstimate::Kind::at, place, kAssumedError};
    const auto [low, high] = *limit.ci95;
    // A t interval over the sessions' own crossings. Where it reaches an end of the measured sizes, only its other half
    // tells their spread.
    const bool cut_low = low <= cell.measured_min_bytes, cut_high = high >= cell.measured_max_bytes;
    if (cut_low && cut_high) return {CrossingEstimate::Kind::at, place, kAssumedError};
    const double from = cut_low ? place : log2_bytes(low), to = cut_high ? place : log2_bytes(high);
    const double half_width = std::max(0.0, to - from) / (cut_low || cut_high ? 1 : 2);
    const double freedom = std::max(1, sessions - 1);
    return {CrossingEstimate::Kind::at, place, half_width / student_t_quantile(0.975, freedom), freedom};
}

/// A MoE cell's onset as the range below it, which is the baseline's.
std::optional<Threshold> baseline_range(const Cell& cell) {
    if (!cell.onset) return std::nullopt;
    Threshold range;
    const auto below = [](std::uint64_t bytes) { return bytes > 0 ? bytes - 1 : 0; };
    if (cell.onset->min_bytes) {
        range.max_bytes = below(*cell.onset->min_bytes);
        if (cell.onset->ci95) range.ci95 = {below((*cell.onset->ci95)[0]), below((*cell.onset->ci95)[1])};
        range.gain_at_edge = cell.onset->gain_at_edge;
    } else {
        range.max_bytes = cell.measured_max_bytes;
        range.limited_by = LimitedBy::range;
    }
    return range;
}

/// A tie says of both algorithms that they win nowhere by more than the guard band; of an algorithm that the other
/// cell does not have, it says nothing.
std::optional<Threshold> limit_of(const Cell& cell, const Cell& other, std::string_view algorithm) {
    if (algorithm == kBaselineRange) return baseline_range(cell);
    const auto limit = [&](const Cell& of) { return algorithm == algorithm::oneshot ? of.oneshot : of.twoshot; };
    if (cell.status != CellStatus::tie) return limit(cell);
    return other.status == CellStatus::tie || limit(other) ? std::optional(Threshold{}) : std::nullopt;
}

/// The gain at the edge, where the edge is a crossing of curves.
std::optional<double> gain_at_crossing(const Threshold& limit) {
    if (limit.max_bytes == 0 || limit.limited_by != LimitedBy::crossover || !limit.gain_at_edge) return std::nullopt;
    return std::max(0.0, std::log1p(*limit.gain_at_edge));
}

/// Octaves between neighbouring sizes near an edge, at most 1. Points of different hidden_dim often share a size, so
/// the mean distance counts twice. Held-out points do not tell; the default grid, which a search follows to its last
/// step near an edge, has half an octave.
double size_step(const Cell& cell) {
    if (cell.regret && cell.regret->held_out) return 0.5;
    if (!cell.regret || cell.regret->points < 1 || cell.measured_max_bytes == 0) return 1;
    const double octaves = log2_bytes(cell.measured_max_bytes) - log2_bytes(cell.measured_min_bytes);
    return octaves > 0 ? std::min(1.0, 2 * octaves / cell.regret->points) : 1;
}

/// By how much (ln ratio, ≥ 0) the two curves shifted against each other for their crossing to move `octaves`.
///
/// The gain at the edge is that of the largest size measured below the crossing, on average half a step between sizes
/// away from it: twice the gain ÷ step is the slope, and the mean of OLD's and NEW's is within a factor of 2 of it
/// nearly always. Where the gain fell with a range that shrank, the fall is part of the shift in any case.
double log_ratio_at_stake(const Cell& before, const Cell& after, const ThresholdChange& change) {
    const auto old_gain = gain_at_crossing(*change.before), new_gain = gain_at_crossing(*change.after);
    const bool shrank = change.octaves < 0;
    const double slopes = old_gain.value_or(0) / size_step(before) + new_gain.value_or(0) / size_step(after);
    const double slope = old_gain && new_gain ? slopes : old_gain || new_gain ? 2 * slopes : kAssumedSlope;
    double stake = slope * std::min(std::abs(change.octaves), kFarthest);
    if (old_gain && new_gain) stake = std::max(stake, shrank ? *old_gain - *new_gain : *new_gain - *old_gain);
    // Up to the end of its range or workspace the algorithm won by what it won there.
    const Threshold& wider = shrank ? *change.before : *change.after;
    if (wider.limited_by != LimitedBy::crossover && wider.gain_at_edge)
        stake = std::max(stake, std::log1p(*wider.gain_at_edge));
    return stake;
}

std::string moved_text(const ThresholdChange& change) {
    return std::string(change.algorithm) + "'s range " + (change.octaves < 0 ? "shrank" : "grew");
}

/// What can be said where one side only bounds the crossing and the other lies beyond that bound: nothing about time.
/// False where both sides say where it is, or at least that it moved.
bool only_bounded(ThresholdChange& change, const CrossingEstimate& from, const CrossingEstimate& to) {
    using Kind = CrossingEstimate::Kind;
    const std::string name(change.algorithm);
    const double moved = change.octaves;
    if (to.kind == Kind::at_or_above && moved < 0) {
        change.verdict = CellVerdict::not_comparable;
        change.why = "NEW is measured up to " + human_bytes(change.after->max_bytes) + " only, where " + name +
                     " still wins; OLD's limit is " + human_bytes(change.before->max_bytes);
    } else if (to.kind == Kind::at_or_below && moved > 0) {
        change.verdict = CellVerdict::not_comparable;
        change.why = name + " wins nowhere in NEW, which is measured above OLD's limit of " +
                     human_bytes(change.before->max_bytes) + " only";
    } else if (from.kind == Kind::at_or_above && moved >= 0) {
        if (moved > 0) change.why = name + " is measured to larger sizes";
    } else if (from.kind == Kind::at_or_below && moved <= 0) {
        if (moved < 0) change.why = name + " still wins nowhere, measured from smaller sizes on";
    } else {
        return false;
    }
    return true;
}

} // namespace

LimitShift limit_shift(std::string_view algorithm, const Cell& before, const Cell& after, std::array<int, 2> sessions) {
    constexpr double kCertain = std::numeric_limits<double>::infinity(); // degrees of freedom
    LimitShift result;
    ThresholdChange& change = result.change;
    change.algorithm = algorithm;
    change.before = limit_of(before, after, algorithm);
    change.after = limit_of(after, before, algorithm);
    if (!change.before || !change.after) {
        if (!change.before && !change.after) return result;
        change.verdict = change.before ? CellVerdict::missing : CellVerdict::added;
        change.why = std::string(algorithm) + (change.before ? " is not measured any more" : " is measured now");
        return result;
    }

    const CrossingEstimate from = crossing_of(before, *change.before, sessions[0]);
    const CrossingEstimate to = crossing_of(after, *change.after, sessions[1]);
    const int kind = algorithm == algorithm::oneshot ? 0 : algorithm == algorithm::twoshot ? 1 : 2;
    change.octaves = to.octaves - from.octaves;
    // > 0: it took sizes from what is judged.
    const double lost_octaves = algorithm == kBaselineRange ? change.octaves : -change.octaves;
    const auto lose = [&](double share) { change.time_at_stake = lost_octaves > 0 ? share : -share; };

    // The workspace decides, not a measurement: no noise, and what is lost is the gain at the lower of the two limits.
    const Threshold& lower = change.before->max_bytes < change.after->max_bytes ? *change.before : *change.after;
    if (lower.limited_by == LimitedBy::workspace && change.before->max_bytes != change.after->max_bytes) {
        lose(lower.gain_at_edge ? *lower.gain_at_edge : std::expm1(log_ratio_at_stake(before, after, change)));
        change.why = moved_text(change) + ", limited by the workspace";
        result.shift = Shift{lost_octaves, 0, kCertain, kind};
        return result;
    }
    if (only_bounded(change, from, to)) return result;

    lose(std::expm1(log_ratio_at_stake(before, after, change)));
    change.why = moved_text(change);
    // Student's t for two samples of equal variance. A bound has no error of its own; if neither side has one, the
    // threshold's place between two sizes still has.
    const double error = std::hypot(from.standard_error, to.standard_error);
    const double freedom = from.degrees_of_freedom + to.degrees_of_freedom;
    result.shift = Shift{lost_octaves, error > 0 ? error : kAssumedError, freedom > 0 ? freedom : kCertain, kind};
    return result;
}

} // namespace crossover
