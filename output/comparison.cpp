#include "output/comparison.hpp"
#include "output/comparison_evidence.hpp"
#include "output/format.hpp"
#include "tuner/joined.hpp"

#include <algorithm>
#include <set>

namespace crossover {
namespace {

bool was_measured(const Cell* cell) {
    return cell && (cell->status == CellStatus::measured || cell->status == CellStatus::tie);
}

std::string describe(const Cell* cell) {
    if (!cell) return "absent";
    return std::string(to_string(cell->status)) + (cell->note.empty() ? "" : " (" + cell->note + ")");
}

/// Judges a change of time: `sign` is that of the change where it is beyond noise.
CellVerdict judge(int sign, double lost, double limit, CellVerdict otherwise) {
    if (sign > 0 && lost > limit) return CellVerdict::worse;
    if (sign < 0 && -lost > limit) return CellVerdict::better;
    return otherwise;
}

/// Of thresholds, or of times.
template <class Changes>
bool any(const Changes& changes, CellVerdict verdict) {
    return std::any_of(changes.begin(), changes.end(), [&](const auto& change) { return change.verdict == verdict; });
}

/// A twoshot that got faster takes sizes from oneshot below and from the baseline above, by as much time: what it won
/// above must make up for half of what oneshot lost, since either is known to within a factor of 2 or so.
void excuse_oneshot(std::vector<ThresholdChange>& changes) {
    constexpr double kShare = 0.5;
    if (changes.size() != 2) return;
    ThresholdChange &oneshot = changes[0], &twoshot = changes[1];
    const bool twoshot_grew = twoshot.verdict == CellVerdict::better || twoshot.verdict == CellVerdict::moved;
    if (oneshot.verdict != CellVerdict::worse || !twoshot_grew) return;
    if (-twoshot.time_at_stake < kShare * oneshot.time_at_stake) return;
    oneshot.verdict = CellVerdict::moved;
    oneshot.why += " and twoshot's grew: twoshot got faster";
}

void conclude(CellComparison& cell) {
    const auto& thresholds = cell.thresholds;
    const bool timed = !cell.times.empty();
    const bool worse = timed ? any(cell.times, CellVerdict::worse) : any(thresholds, CellVerdict::worse);
    const bool better = timed ? any(cell.times, CellVerdict::better) : any(thresholds, CellVerdict::better);
    const bool moved = any(thresholds, CellVerdict::moved) || any(thresholds, CellVerdict::worse) ||
                       any(thresholds, CellVerdict::better) || any(thresholds, CellVerdict::added);
    cell.verdict = worse                                          ? CellVerdict::worse
                   : any(thresholds, CellVerdict::missing)        ? CellVerdict::missing
                   : any(thresholds, CellVerdict::not_comparable) ? CellVerdict::not_comparable
                   : better                                       ? CellVerdict::better
                   : moved                                        ? CellVerdict::moved
                                                                  : CellVerdict::same;
    for (const TimeChange& change : cell.times)
        if (change.verdict != CellVerdict::same) cell.why.push_back(to_string(change));
    for (const ThresholdChange& change : thresholds) {
        if (change.why.empty()) continue;
        const bool estimated = !timed && change.time_at_stake != 0;
        cell.why.push_back(change.why +
                           (estimated ? ", about " + percent(change.time_at_stake) + " time between the limits" : ""));
    }
}

/// Fused or not, in order: what a hole in a range changes where no threshold does.
std::vector<std::string_view> structure(const Cell& cell) {
    std::vector<std::string_view> names;
    for (const Interval& interval : cell.intervals) {
        const bool kept = algorithm::is_challenger(interval.algorithm) || interval.algorithm == algorithm::not_measured;
        const std::string_view name = kept ? std::string_view(interval.algorithm) : "unfused";
        if (names.empty() || names.back() != name) names.push_back(name);
    }
    return names;
}

/// The hidden_dims that a cell has rows for.
std::string rows_text(const Cell& cell) {
    return cell.hidden_dims.empty() ? "none" : joined(cell.hidden_dims, ", ", &HiddenDimRow::hidden_dim);
}

/// The cell's changes before noise is judged, with what is to be judged.
struct Draft {
    CellComparison cell;
    std::vector<std::optional<Shift>> limit_shifts; // as cell.thresholds
    std::vector<TimeShift> times;                   // of cell.times
    bool to_be_judged = false;                      // the verdict follows from the changes
};

Draft draft_cell(const CellKey& key, const Measured& before, const Measured& after, const SampleIndex& times_before,
                 const SampleIndex& times_after, bool comparable) {
    Draft draft;
    CellComparison& cell = draft.cell;
    cell.key = key;
    const Cell *from = find_cell(before.table, key), *to = find_cell(after.table, key);
    if (!was_measured(from) || !was_measured(to)) {
        if (was_measured(from)) cell.verdict = comparable ? CellVerdict::missing : CellVerdict::not_comparable;
        if (was_measured(to)) cell.verdict = CellVerdict::added;
        if (was_measured(from) || was_measured(to) || describe(from) != describe(to))
            cell.why.push_back("OLD: " + describe(from) + "; NEW: " + describe(to));
        return draft;
    }
    if (!comparable) {
        cell.verdict = CellVerdict::not_comparable;
        return draft;
    }

    draft.to_be_judged = true;
    const std::array sessions{before.table.provenance.sessions, after.table.provenance.sessions};
    for (const std::string_view algorithm : {algorithm::oneshot, algorithm::twoshot, kBaselineRange}) {
        LimitShift shift = limit_shift(algorithm, *from, *to, sessions);
        if (!shift.change.before && !shift.change.after) continue;
        cell.thresholds.push_back(std::move(shift.change));
        draft.limit_shifts.push_back(shift.shift);
    }
    if (structure(*from) != structure(*to)) cell.why.push_back("the order of the algorithms differs");
    if (rows_text(*from) != rows_text(*to))
        cell.why.push_back("hidden dims with limits of their own: " + rows_text(*from) + " → " + rows_text(*to));
    if (from->launches != to->launches)
        cell.why.push_back("launch parameters differ, which is no matter of verdicts: " +
                           std::to_string(from->launches.size()) + " rows → " + std::to_string(to->launches.size()));
    if (from->baseline != to->baseline) cell.why.push_back("baseline: " + from->baseline + " → " + to->baseline);

    const auto old_times = times_before.find(key), new_times = times_after.find(key);
    if (old_times == times_before.end() || new_times == times_after.end()) return draft;
    CellTimes times = compare_times(*from, *to, old_times->second, new_times->second);
    cell.common_points = times.common_points;
    cell.unmatched_points = times.unmatched_points;
    cell.time_lost = times.time_lost;
    if (times.unmatched_points > 0)
        cell.why.push_back(std::to_string(times.unmatched_points) + " points are timed in OLD or NEW only");
    draft.times = std::move(times.groups);
    return draft;
}

void judge_thresholds(std::vector<Draft>& drafts, double limit, double false_alarms) {
    std::vector<Shift> shifts;
    for (const Draft& draft : drafts)
        for (const auto& shift : draft.limit_shifts)
            if (shift) shifts.push_back(*shift);
    const Beyond beyond = beyond_noise(shifts, as_if_sharing_noise(shifts), false_alarms);
    auto sign = beyond.cells.begin();
    for (Draft& draft : drafts) {
        for (std::size_t i = 0; i < draft.limit_shifts.size(); ++i) {
            if (!draft.limit_shifts[i]) continue;
            ThresholdChange& change = draft.cell.thresholds[i];
            if (*sign != 0) change.verdict = judge(*sign, change.time_at_stake, limit, CellVerdict::moved);
            if (change.verdict == CellVerdict::same) change.why.clear();
            ++sign;
        }
        excuse_oneshot(draft.cell.thresholds);
    }
}

/// A threshold that lies where it may lie by its interval, but not at the best place, is not held against NEW: that is
/// the noise of the fit. It is told.
bool is_luck_of_the_fit(const TimeShift& time, const CellComparison& cell) {
    return time.shift.kind == static_cast<int>(TimeKind::dispatched_anew) &&
           std::all_of(cell.thresholds.begin(), cell.thresholds.end(),
                       [](const ThresholdChange& change) { return change.verdict == CellVerdict::same; });
}

/// Where the times around a crossover leave open whether the algorithm got slower or faster, but its threshold moved
/// beyond noise, the threshold gives the sign.
int threshold_sign(const TimeShift& time, const CellComparison& cell) {
    for (const ThresholdChange& change : cell.thresholds) {
        const TimeKind kind =
            change.algorithm == algorithm::oneshot ? TimeKind::oneshot_around : TimeKind::twoshot_around;
        if (time.shift.kind != static_cast<int>(kind)) continue;
        return change.verdict == CellVerdict::worse ? 1 : change.verdict == CellVerdict::better ? -1 : 0;
    }
    return 0;
}

void judge_times(std::vector<Draft>& drafts, Comparison& result, double false_alarms) {
    std::vector<TimeShift> groups;
    for (Draft& draft : drafts) groups.insert(groups.end(), draft.times.begin(), draft.times.end());
    std::vector<TimeShift> machine = machine_wide(groups);
    std::erase_if(machine, [](const TimeShift& time) { // a matter of each cell's thresholds
        return time.shift.kind == static_cast<int>(TimeKind::dispatched_anew);
    });

    const auto shifts = [](const std::vector<TimeShift>& times) {
        std::vector<Shift> list;
        list.reserve(times.size());
        for (const TimeShift& time : times) list.push_back(time.shift);
        return list;
    };
    const Beyond beyond = beyond_noise(shifts(groups), shifts(machine), false_alarms);
    for (std::size_t i = 0; i < machine.size(); ++i) {
        TimeChange& change = machine[i].change;
        change.verdict = judge(beyond.machine[i], change.lost, result.max_regression, CellVerdict::same);
        result.machine_wide.push_back(change);
    }
    auto sign = beyond.cells.begin();
    for (Draft& draft : drafts)
        for (TimeShift& time : draft.times) {
            const int confirmed = *sign != 0 ? *sign : threshold_sign(time, draft.cell);
            const CellVerdict verdict = judge(confirmed, time.change.lost, result.max_regression, CellVerdict::same);
            ++sign;
            if (!is_luck_of_the_fit(time, draft.cell))
                time.change.verdict = verdict;
            else if (verdict != CellVerdict::same)
                draft.cell.why.push_back(to_string(time.change) + ", within the thresholds' intervals");
            draft.cell.times.push_back(time.change);
        }
}

} // namespace

std::string to_string(const TimeChange& change) {
    return change.what + ": " + percent(change.lost) + " time (95 %: " + percent(change.ci95[0]) + " … " +
           percent(change.ci95[1]) + ") at " + std::to_string(change.points) + " points";
}

bool Comparison::comparable() const {
    return std::none_of(differences.begin(), differences.end(), [](const Difference& d) { return d.blocks; });
}

int Comparison::count(CellVerdict verdict) const {
    return static_cast<int>(
        std::count_if(cells.begin(), cells.end(), [&](const auto& cell) { return cell.verdict == verdict; }));
}

bool Comparison::compared() const {
    return std::any_of(cells.begin(), cells.end(), [](const CellComparison& cell) { return cell.compared; });
}

bool Comparison::fails(const CellComparison& cell) const {
    return cell.verdict == CellVerdict::worse || cell.verdict == CellVerdict::missing ||
           (strict && cell.verdict == CellVerdict::not_comparable);
}

bool Comparison::fails() const {
    return !compared() || any(machine_wide, CellVerdict::worse) ||
           std::any_of(cells.begin(), cells.end(), [&](const auto& cell) { return fails(cell); });
}

Comparison compare(const Measured& before, const Measured& after, const CompareOptions& options) {
    Comparison result;
    result.before = before.name;
    result.after = after.name;
    result.fingerprint = before.table.fingerprint;
    result.differences = find_differences(before.table, after.table, options);
    result.max_regression = options.max_regression;
    result.strict = options.strict;
    std::set<CellKey> keys;
    for (const Cell& cell : before.table.cells) keys.insert(cell.key);
    for (const Cell& cell : after.table.cells) keys.insert(cell.key);
    const SampleIndex times_before = index_samples(before.samples), times_after = index_samples(after.samples);

    std::vector<Draft> drafts;
    drafts.reserve(keys.size());
    for (const CellKey& key : keys)
        drafts.push_back(draft_cell(key, before, after, times_before, times_after, result.comparable()));
    const bool timed =
        std::any_of(drafts.begin(), drafts.end(), [](const Draft& draft) { return !draft.times.empty(); });
    const double false_alarms = timed ? kFalseAlarms / 2 : kFalseAlarms; // of thresholds, of times
    judge_thresholds(drafts, options.max_regression, false_alarms);
    judge_times(drafts, result, false_alarms);
    for (Draft& draft : drafts) {
        if (draft.to_be_judged) conclude(draft.cell);
        draft.cell.compared = draft.to_be_judged && draft.cell.verdict != CellVerdict::not_comparable;
        if (draft.cell.verdict == CellVerdict::worse && draft.cell.times.empty())
            result.caveat = "From the tables alone: a fused algorithm got slower or its rival faster; samples of both "
                            "sides would tell.";
        result.cells.push_back(std::move(draft.cell));
    }
    return result;
}

} // namespace crossover
