#include "tuner/table.hpp"

#include <algorithm>
#include <cmath>

namespace crossover {

std::string_view to_string(CellStatus status) {
    switch (status) {
    case CellStatus::measured:
        return "measured";
    case CellStatus::tie:
        return "tie";
    case CellStatus::not_measured:
        return "not_measured";
    case CellStatus::unsupported:
        return "unsupported";
    }
    return "?";
}

std::string_view to_string(LimitedBy limit) {
    switch (limit) {
    case LimitedBy::crossover:
        return "crossover";
    case LimitedBy::range:
        return "range";
    case LimitedBy::workspace:
        return "workspace";
    }
    return "?";
}

double rounded_share(double share) { return std::round(share * 1e6) / 1e6 + 0.0; } // + 0.0: never "-0"

const Cell* find_cell(const Table& table, const CellKey& key) {
    const auto found =
        std::find_if(table.cells.begin(), table.cells.end(), [&](const Cell& cell) { return cell.key == key; });
    return found == table.cells.end() ? nullptr : &*found;
}

std::string_view select_algorithm(const Cell& cell, std::uint64_t bytes) {
    if (cell.status == CellStatus::tie) return cell.baseline;
    if (cell.status != CellStatus::measured) return algorithm::not_measured;
    for (const Interval& interval : cell.intervals)
        if (bytes >= interval.min_bytes && (!interval.max_bytes || bytes <= *interval.max_bytes))
            return interval.algorithm;
    return algorithm::not_measured;
}

} // namespace crossover
