#pragma once
/// When is a threshold known well enough, and when a time? Numbers only: a curve of log ratios, and where the crossing
/// may be; times of replays.

#include "tuner/fit/crossover.hpp"

#include <array>
#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <vector>

namespace crossover {

/// By what factor (ln) a call is slower than need be, at worst, if the threshold is put anywhere in `interval` (log2
/// bytes) and the curve is right: the largest |log ratio| inside, interpolated. The curve ascends by size; beyond its
/// ends it goes on level.
double time_at_stake(std::span<const RatioPoint> curve, std::array<double, 2> interval);

/// What is known of a threshold.
struct EdgeEvidence {
    std::array<double, 2> bracket{};               // log2 bytes: the measured sizes on either side
    std::optional<std::array<double, 2>> interval; // its 95 % interval
    int sessions = 0;                              // measured so far
    bool wants_interval = true;                    // false for a change between unfused algorithms: nobody asks
};

/// A threshold needs no more samples when the time at stake is below the guard band: over the whole bracket, or over
/// its 95 % interval. One that wants an interval also needs three sessions: that of two rests on one difference, which
/// is small by luck often enough that stopping there would leave intervals that are too narrow.
bool is_settled(std::span<const RatioPoint> curve, const EdgeEvidence& evidence, double guard_band);

/// How long contenders that take turns are replayed.
struct ReplayRule {
    int trials = 15;      // at most
    double precision = 0; // standard error (share) of the median that will do for the fastest; 0 = all trials
};

/// How many more replays contenders get that have had `done`.
int next_replays(const ReplayRule& rule, int done);

/// Those of `open` (indices of contenders) whose replays go on, given the times that each has so far: the median's
/// standard error is above the rule's precision and a twentieth of what it is behind (ln) the fastest median. So where
/// replays agree, as those of large messages do, few are enough, and what cannot win need not be known as well. One
/// that has ended is not opened again: the fastest median moves, but all that are open have as many replays.
std::vector<std::size_t> imprecise(std::vector<std::size_t> open, std::span<const std::vector<double>> times,
                                   const ReplayRule& rule);

/// Replays those of `open` (indices of contenders), which have had `done`, `count` times more: their times, in the
/// order of `open`.
using ReplayMore =
    std::function<std::vector<std::vector<double>>(const std::vector<std::size_t>& open, int done, int count)>;
/// All times of each contender, replayed in turns until the rule has enough.
std::vector<std::vector<double>> replay_contenders(std::size_t contenders, const ReplayRule& rule,
                                                   const ReplayMore& replay);

} // namespace crossover
