#pragma once
/// What `crossover bench` shows: one table a configuration, each algorithm's time, its speed-up against the faster
/// unfused one (against plain NCCL where communicators alone are compared), and how far it is above the floor
/// (tuner/fit/floor.hpp). The first columns of vLLM's and SGLang's benchmark_fused_collective.py, in µs.

#include "tuner/plugin_info.hpp"
#include "tuner/samples/sample.hpp"

#include <span>
#include <string>
#include <vector>

namespace crossover {

/// Of an algorithm's launches with named parameters (`oneshot[cluster=8,…]`) the fastest at each point, if any ran; all
/// other samples as they are.
std::vector<Sample> fastest_launches(std::span<const Sample> samples);

/// For the terminal: a table for each configuration, in the samples' order.
/// @param candidates  that are not ours: those with a fused role are no baseline
std::string bench_text(std::span<const Sample> samples, std::span<const PluginInfo> candidates = {});
/// The same as Markdown, with a heading that says where it was measured.
std::string bench_markdown(std::span<const Sample> samples, std::span<const PluginInfo> candidates = {});

/// How the times came about, for those who read them later.
struct BenchSettings {
    int warmup = 0; // replays thrown away
    int trials = 0; // replays timed
    int graph_calls = 0;
};
/// The same as JSON: what was asked for, the settings, and one object a configuration in `results`.
std::string bench_json(std::span<const Sample> samples, const BenchSettings& settings,
                       std::span<const PluginInfo> candidates = {});

} // namespace crossover
