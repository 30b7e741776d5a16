#include "tuner/table.hpp"

#include <algorithm>
#include <cmath>
#include <regex>

namespace crossover {

bool is_compute_capability(std::string_view text) {
    static const std::regex kCapability("[0-9]{1,3}\\.[0-9]");
    return std::regex_match(text.begin(), text.end(), kCapability);
}

double rounded_share(double share) { return std::round(share * 1e6) / 1e6 + 0.0; } // + 0.0: never "-0"

const Cell* find_cell(const Table& table, const CellKey& key) {
    const auto found =
        std::find_if(table.cells.begin(), table.cells.end(), [&](const Cell& cell) { return cell.key == key; });
    return found == table.cells.end() ? nullptr : &*found;
}

std::optional<RangeEnds> range_ends(const std::vector<Interval>& intervals) {
    const auto rank = [](const Interval& interval) {
        if (interval.algorithm == algorithm::oneshot) return 0;
        if (interval.algorithm == algorithm::twoshot) return 1;
        return interval.algorithm == algorithm::not_measured ? 3 : 2;
    };
    if (!std::ranges::is_sorted(intervals, {}, rank)) return std::nullopt;
    RangeEnds ends;
    for (const Interval& interval : intervals) {
        const std::uint64_t end = interval.max_bytes.value_or(UINT64_MAX);
        if (rank(interval) == 0) ends.oneshot = end;
        if (rank(interval) <= 1) ends.twoshot = end;
    }
    return ends;
}

std::optional<OnsetBegin> onset_begin(const std::vector<Interval>& intervals) {
    const auto rank = [](const Interval& interval) {
        if (interval.algorithm == algorithm::not_measured) return 2;
        return algorithm::is_challenger(interval.algorithm) ? 1 : 0;
    };
    if (!std::ranges::is_sorted(intervals, {}, rank)) return std::nullopt;
    const auto first = std::ranges::find(intervals, 1, rank);
    return first == intervals.end() ? OnsetBegin{} : OnsetBegin{first->min_bytes};
}

namespace {

/// Of a Cell or a HiddenDimRow.
template <class Limits>
std::string_view selected(const Limits& limits, std::uint64_t bytes) {
    if (limits.status == CellStatus::tie) return limits.baseline;
    if (limits.status != CellStatus::measured) return algorithm::not_measured;
    for (const Interval& interval : limits.intervals)
        if (bytes >= interval.min_bytes && (!interval.max_bytes || bytes <= *interval.max_bytes))
            return interval.algorithm;
    return algorithm::not_measured;
}

} // namespace

std::string_view select_algorithm(const Cell& cell, std::uint64_t bytes) { return selected(cell, bytes); }

std::string_view select_algorithm(const Cell& cell, std::uint64_t bytes, std::int64_t hidden_dim) {
    const HiddenDimRow* row = find_row(cell, hidden_dim);
    return row ? selected(*row, bytes) : selected(cell, bytes);
}

const HiddenDimRow* find_row(const Cell& cell, std::int64_t hidden_dim) {
    const auto found = std::find_if(cell.hidden_dims.begin(), cell.hidden_dims.end(),
                                    [&](const HiddenDimRow& row) { return row.hidden_dim == hidden_dim; });
    return found == cell.hidden_dims.end() ? nullptr : &*found;
}

const LaunchRow* find_launch(const std::vector<LaunchRow>& launches, std::string_view algorithm,
                             std::int64_t hidden_dim, std::uint64_t bytes) {
    const auto found = std::find_if(launches.begin(), launches.end(), [&](const LaunchRow& row) {
        return row.algorithm == algorithm && row.hidden_dim == hidden_dim && row.min_bytes <= bytes &&
               bytes <= row.max_bytes;
    });
    return found == launches.end() ? nullptr : &*found;
}

Cell for_hidden_dim(Cell cell, std::int64_t hidden_dim) {
    if (const HiddenDimRow* found = find_row(cell, hidden_dim)) {
        const HiddenDimRow row = *found;
        cell.status = row.status;
        cell.oneshot = row.oneshot;
        cell.twoshot = row.twoshot;
        cell.onset = row.onset;
        cell.baseline = row.baseline;
        cell.workspace_bytes = row.workspace_bytes;
        cell.intervals = row.intervals;
    }
    cell.hidden_dims.clear();
    return cell;
}

} // namespace crossover
