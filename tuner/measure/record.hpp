#pragma once
/// A sample's measured part, of fixed size: what groups tell each other. No CUDA.

#include "tuner/fixed_text.hpp"
#include "tuner/samples/sample.hpp"

#include <array>
#include <string_view>

namespace crossover {

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
