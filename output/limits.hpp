#pragma once
/// A cell's limits as an engine understands them: one cut each, nothing where nothing is known, 0 where never.

#include "output/emit.hpp"
#include "tuner/error.hpp"
#include "tuner/table.hpp"

#include <algorithm>
#include <optional>
#include <string>

namespace crossover {

/// Largest message for which oneshot is to be used. A tie is measured, and never displaces the baseline: 0.
inline std::optional<std::uint64_t> oneshot_limit(const Cell& cell) {
    if (cell.status == CellStatus::tie) return 0;
    if (!cell.oneshot) return std::nullopt;
    return cell.oneshot->max_bytes;
}

/// Likewise for the upper end of twoshot.
inline std::optional<std::uint64_t> twoshot_limit(const Cell& cell) {
    if (cell.status == CellStatus::tie) return 0;
    if (!cell.twoshot) return std::nullopt;
    return cell.twoshot->max_bytes;
}

/// Largest message for which either fused algorithm is to be used.
inline std::optional<std::uint64_t> fused_limit(const Cell& cell) {
    return std::max(oneshot_limit(cell), twoshot_limit(cell)); // nullopt is less than any value
}

/// Whether the fused range ends where the samples end, so that it may well reach further.
inline bool fused_limit_is_range_end(const Cell& cell) {
    const auto ends = [&](const std::optional<Threshold>& threshold) {
        return threshold && threshold->limited_by == LimitedBy::range && threshold->max_bytes == fused_limit(cell);
    };
    return ends(cell.oneshot) || ends(cell.twoshot);
}

/// Measured, and no fused algorithm is to be used: true of the sizes that were measured, from measured_min_bytes on.
inline bool is_never_fused(const Cell& cell) { return fused_limit(cell) == std::optional<std::uint64_t>(0); }

/// Whether the limits say all that the intervals say: no baseline below the fused limit, no oneshot above its own. MoE:
/// challengers from the one limit on, and nowhere else.
inline bool limits_tell_all(const Cell& cell) {
    if (is_moe(cell.key.pattern)) {
        const auto begin = onset_begin(cell.intervals);
        return begin && begin->min_bytes == cell.onset.value_or(Onset{}).min_bytes;
    }
    // No message has 0 bytes, where an algorithm's interval begins that has none below it.
    const auto begins_above = [](const Interval& interval, std::optional<std::uint64_t> limit) {
        return interval.min_bytes > limit.value_or(0) || limit.value_or(0) == 0;
    };
    return std::all_of(cell.intervals.begin(), cell.intervals.end(), [&](const Interval& interval) {
        if (interval.algorithm == algorithm::oneshot)
            return interval.max_bytes && interval.max_bytes <= oneshot_limit(cell);
        if (interval.algorithm == algorithm::twoshot)
            return interval.max_bytes && interval.max_bytes <= twoshot_limit(cell) &&
                   begins_above(interval, oneshot_limit(cell));
        return begins_above(interval, fused_limit(cell));
    });
}

/// What several tables say of one thing that an engine cannot tell apart.
struct Claim {
    const Table* table;
    const Cell* cell; // nullptr: not in that table
};

/// The cell from which an engine that knows one pattern, dtype and quant mode has its limits.
inline CellKey engine_key(const EngineOptions& options, int world_size) {
    return {.dtype = options.dtype, .quant = options.quant, .world_size = world_size};
}

/// Refuses a table with no cell of the keys that emit's `form` reads: all of it would say "not measured".
template <class IsRead>
void require_cell(const Table& table, const std::string& form, const std::string& wanted, const std::string& remedy,
                  IsRead is_read) {
    for (const Cell& cell : table.cells)
        if (is_read(cell.key)) return;
    throw InputError("emit " + form, "the table for " + table.fingerprint.sku + " has no cell for " + wanted, remedy);
}
/// The same where it reads engine_key()'s cells.
inline void require_cell(const Table& table, const std::string& form, const EngineOptions& options) {
    require_cell(table, form,
                 "pattern " + std::string(to_string(engine_key(options, 0).pattern)) + ", dtype " +
                     std::string(to_string(options.dtype)) + ", quant " + std::string(to_string(options.quant)),
                 "name another --dtype or --quant, or measure it",
                 [&](const CellKey& key) { return key == engine_key(options, key.world_size); });
}

} // namespace crossover
