#pragma once
/// Samples that are written down time by time, for what must follow from them exactly.

#include "tuner/plan/plan.hpp"
#include "tuner/samples/sample.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace crossover::written {

/// The variant of oneshot whose clusters have this many CTAs.
inline std::string variant(int cluster_size) {
    return "oneshot[cluster=" + std::to_string(cluster_size) + ",clusters=8,threads=64,ahead=1,behind=1]";
}

/// bfloat16 in a world of 8: one token of 4096 elements is 8 KiB.
inline Point point(std::int64_t num_tokens, std::int64_t hidden_dim = 4096) {
    return {{.world_size = 8}, hidden_dim, num_tokens};
}

inline std::vector<Point> points_of(const std::vector<std::int64_t>& token_counts, std::int64_t hidden_dim = 4096) {
    std::vector<Point> points;
    for (const std::int64_t count : token_counts) points.push_back(point(count, hidden_dim));
    return points;
}

/// Each with these algorithms.
inline std::vector<Trial> trials_at(const std::vector<Point>& points,
                                    const std::vector<std::string>& names = {"nccl_fused_norm", "oneshot"}) {
    std::vector<Trial> trials;
    for (const Point& each : points) trials.push_back({each, names});
    return trials;
}

using Times = std::map<std::string, double>; // µs by name; 0 = failed

inline void add(std::vector<Sample>& samples, int session, const Point& at, const Times& times) {
    for (const auto& [name, us] : times) {
        Sample& sample = samples.emplace_back();
        sample.session = session;
        sample.point = at;
        sample.algorithm = name;
        sample.latency_us = us;
        if (us == 0) sample.status = SampleStatus::failed;
    }
}

} // namespace crossover::written
