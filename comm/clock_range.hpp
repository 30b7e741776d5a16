#pragma once

#include <algorithm>
#include <cstdio>
#include <string>

namespace crossover {

/// SM clocks, MHz, at which times were taken: told in provenance, because tables of a throttled GPU or of a limited one
/// are other tables.
struct ClockRange {
    unsigned lowest = 0;
    unsigned highest = 0; // 0: none is known

    void add(const ClockRange& other) {
        if (other.highest == 0) return;
        lowest = highest == 0 ? other.lowest : std::min(lowest, other.lowest);
        highest = std::max(highest, other.highest);
    }
    bool operator==(const ClockRange&) const = default;
};

/// "1935 to 1980"
inline std::string to_string(const ClockRange& range) {
    return std::to_string(range.lowest) + " to " + std::to_string(range.highest);
}

/// What to_string() gave; of any other text, none.
inline ClockRange parse_clock_range(const std::string& text) {
    ClockRange range;
    return std::sscanf(text.c_str(), "%u to %u", &range.lowest, &range.highest) == 2 ? range : ClockRange{};
}

} // namespace crossover
