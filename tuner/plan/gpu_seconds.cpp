#include "tuner/plan/gpu_seconds.hpp"

#include <algorithm>

namespace crossover {

int calls_per_graph(const Point& point, int most) {
    const std::uint64_t budget = std::uint64_t{8} << 20;
    const auto calls = static_cast<int>(budget * 20 / std::max<std::uint64_t>(message_bytes(point), 1));
    return std::clamp(calls, std::min(5, most), most);
}

double gpu_seconds(const Sample& sample, const Config& config) {
    const int replays = sample.replays > 0 ? sample.replays + config.warmup : 0;
    const int calls = calls_per_graph(sample.point, config.graph_calls);
    return 1e-6 * sample.latency_us * (calls + few_calls(calls)) * replays;
}

double gpu_seconds(std::span<const Sample> samples, const Config& config) {
    double sum = 0;
    for (const Sample& sample : samples) sum += gpu_seconds(sample, config);
    return sum;
}

} // namespace crossover
