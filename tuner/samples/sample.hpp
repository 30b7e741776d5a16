#pragma once
/// Samples are the ground truth: every later stage can be re-run from them, on a machine without GPUs.

#include "tuner/workload.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace crossover {

enum class SampleStatus : std::uint8_t { ok, skipped, failed, timeout };

inline constexpr std::array kSampleStatuses{
    Named<SampleStatus>{SampleStatus::ok, "ok"}, Named<SampleStatus>{SampleStatus::skipped, "skipped"},
    Named<SampleStatus>{SampleStatus::failed, "failed"}, Named<SampleStatus>{SampleStatus::timeout, "timeout"}};
constexpr std::string_view to_string(SampleStatus status) { return detail::name_in(kSampleStatuses, status); }
/// The status with this exact name, or nothing.
constexpr std::optional<SampleStatus> parse_sample_status(std::string_view name) {
    return detail::value_in<SampleStatus>(kSampleStatuses, name);
}

/// One measured time of one algorithm at one point in one session (a fresh set of rank processes).
/// Times are those of the slowest rank; they and rel_error are 0 unless status is `ok`.
struct Sample {
    int session = 0;
    std::string sku;                // "NVIDIA H200"
    std::string compute_capability; // "9.0"
    Point point;
    std::string algorithm;
    double latency_us = 0; // median over replays of the maximum over ranks, µs a call
    double p10_us = 0;     // 10th and 90th percentile over replays; for imported coarse times, the rounding's ends
    double p90_us = 0;
    int replays = 0;
    double rel_error = 0; // ||out - reference|| / ||reference||, float64 reference
    SampleStatus status = SampleStatus::ok;
    std::string note; // why, when not ok; may carry launch parameters when ok

    bool operator==(const Sample&) const = default;
};

} // namespace crossover
