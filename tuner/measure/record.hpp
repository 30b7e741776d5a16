#pragma once
/// A sample's measured part, of fixed size: what groups tell each other. No CUDA.

#include "tuner/fit/statistics.hpp"
#include "tuner/fixed_text.hpp"
#include "tuner/samples/sample.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

namespace crossover {

/// Median and tenths over replays of the slowest rank's time, µs a call.
struct GraphTime {
    double median_us = 0, p10_us = 0, p90_us = 0;
    int replays = 0;
};

/// Of the times of a contender's replays. Each is what a graph takes longer than a shorter one (timing.hpp), so where
/// the shorter one was disturbed it may lie below 0, which no tenth of a sample can.
inline GraphTime graph_time(const std::vector<double>& us) {
    return {median(us), std::max(0.0, quantile(us, 0.1)), quantile(us, 0.9), static_cast<int>(std::ssize(us))};
}

struct Record {
    double latency_us = 0, p10_us = 0, p90_us = 0, rel_error = 0;
    int replays = 0;
    SampleStatus status = SampleStatus::skipped;
    std::array<char, 200> note{};

    void set(SampleStatus new_status, std::string_view text) {
        status = new_status;
        copy_text(note, text);
    }
    /// Whether a variant of the algorithm that takes this long is to be in this place: the fastest is.
    bool gives_way_to(double us) const { return us > 0 && (status != SampleStatus::ok || us < latency_us); }
};

} // namespace crossover
