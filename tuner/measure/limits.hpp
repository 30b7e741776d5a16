#pragma once
/// How long a rank may keep others waiting before it is taken for hung: longer than waits on GPUs, which end by
/// themselves and become samples (Config::timeout_ms). No CUDA.

#include "tuner/config.hpp"

#include <chrono>
#include <cstdint>

namespace crossover {

/// Of a rank's wait for others, which measure one trial meanwhile. With the largest messages that takes a few seconds,
/// and as long as its waits that time out: room for four, the check and the times of two algorithms.
inline std::chrono::milliseconds wait_limit(const Config& config) {
    return std::chrono::seconds(60) + std::chrono::milliseconds(static_cast<std::int64_t>(4 * config.timeout_ms));
}

/// Between two reports of progress: a minute more, so that a rank that waits says for what before it is ended.
inline std::chrono::milliseconds progress_limit(const Config& config) {
    return wait_limit(config) + std::chrono::seconds(60);
}

} // namespace crossover
