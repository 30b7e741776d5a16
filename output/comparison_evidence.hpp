#pragma once
/// The statistics of a comparison: which changes are beyond the noise between sessions. Numbers only.

#include "output/comparison.hpp"

#include <map>
#include <span>
#include <string>
#include <vector>

namespace crossover {

/// One change that was estimated, with its error. Sessions are the unit of error: times differ more between fresh sets
/// of processes than within one.
struct Shift {
    double estimate = 0;
    double standard_error = 0;
    double degrees_of_freedom = 0; // of the standard error; infinite where it is assumed
    int kind = 0;                  // shifts of one kind measure the same thing in different cells
};

/// Of identical machines at most this share is found worse, and as many better, whatever the number of cells.
inline constexpr double kFalseAlarms = 0.01;

/// The same machine-wide: one shift for each kind that several cells have, the mean of their t values. Its distribution
/// is Student's if the cells share their sessions' noise; if they do not, it is narrower, which is the safe side.
std::vector<Shift> as_if_sharing_noise(std::span<const Shift> cells);

/// -1, 0 or +1 a shift: the sign of the estimate where it is beyond noise.
struct Beyond {
    std::vector<int> cells, machine;
};

/// Judges all shifts of a comparison together. The allowance kFalseAlarms is divided among the kinds, and a kind's
/// among its machine-wide shift, if there is one, and its cells (Bonferroni). Where a kind is beyond noise
/// machine-wide, its cells are each tested at the kind's whole allowance: what they then say is where, no longer
/// whether. An error below the median of its kind counts as the median, since among many cells the sessions of some
/// agree by chance.
/// @param machine  at most one shift a kind, over all cells
Beyond beyond_noise(std::span<const Shift> cells, std::span<const Shift> machine, double false_alarms = kFalseAlarms);

/// How far one limit moved, in octaves of message bytes, by the tables alone; nothing where one side does not say.
struct LimitShift {
    ThresholdChange change;
    std::optional<Shift> shift; // what beyond_noise() is to judge; absent = the verdict stands as it is
};

/// Of a MoE cell: the sizes below its onset. It is the challengers that are judged, which lose what this gains.
inline constexpr std::string_view kBaselineRange = "baseline";

/// The limit of `algorithm`, or of kBaselineRange, in both cells. `sessions`: what the tables' provenance says, for the
/// degrees of freedom behind their intervals.
LimitShift limit_shift(std::string_view algorithm, const Cell& before, const Cell& after, std::array<int, 2> sessions);

/// Samples by cell, point, algorithm and session, as ln µs. Samples that are not ok are left out.
using Times = std::map<int, double>;
using PointTimes = std::map<Point, std::map<std::string, Times, std::less<>>>;
using SampleIndex = std::map<CellKey, PointTimes>;
SampleIndex index_samples(std::span<const Sample> samples);

/// The groups of calls of a cell whose times are compared; a shift's kind.
enum class TimeKind : int { best_oneshot, best_twoshot, best_unfused, dispatched_anew, oneshot_around, twoshot_around };

/// One call's times on both sides, for the algorithms that are compared.
struct Pair {
    const Times* before;
    const Times* after;
};

struct TimeShift {
    TimeChange change;
    Shift shift; // ln (NEW ÷ OLD)
    std::vector<Pair> pairs;
};

struct CellTimes {
    std::vector<TimeShift> groups;
    int common_points = 0;
    int unmatched_points = 0;
    std::optional<double> time_lost;
};

/// The times of one cell:
/// - the machine's best time at the points of each of OLD's ranges, whatever the tables say;
/// - on NEW's samples, NEW's choice against OLD's where they differ: what the new table itself costs;
/// - each fused algorithm within a factor of 4 of its crossovers.
/// `time_lost` is with each side's own table on its own samples, mean over the common points. Keeps pointers into the
/// times.
CellTimes compare_times(const Cell& before, const Cell& after, const PointTimes& times_before,
                        const PointTimes& times_after);

/// The same groups over all cells. Pairs are weighed alike.
std::vector<TimeShift> machine_wide(std::span<const TimeShift> groups);

} // namespace crossover
