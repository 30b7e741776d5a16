#pragma once
/// What a sample costs in GPU time, told from the sample itself: every rank, and every replay of a recording, comes to
/// the same sum, which no clock would give.

#include "tuner/config.hpp"
#include "tuner/samples/sample.hpp"

#include <span>
#include <string_view>

namespace crossover {

/// Calls in one CUDA graph: `most`, fewer for messages of which one call takes long anyway (8 MiB takes some 50 µs).
int calls_per_graph(const Point& point, int most);

/// Of `calls` calls in a graph: those in the other one, whose time tells what a replay costs by itself
/// (tuner/measure/timing.hpp).
constexpr int few_calls(int calls) { return calls / 5; }

/// What becomes of the time that starting a graph of up to `most` calls takes, in the word of provenance: of less than
/// five there is no other one, and each call has its share.
constexpr std::string_view graph_start(int most) { return few_calls(most) > 0 ? "left out" : "timed"; }

/// Seconds that the GPUs of its group were busy with replays for this sample, those thrown away included: time of a
/// call × calls in both graphs × replays. Each second counts once, however many GPUs share it.
double gpu_seconds(const Sample& sample, const Config& config);
double gpu_seconds(std::span<const Sample> samples, const Config& config);

} // namespace crossover
