#pragma once
/// A recording: samples.csv and provenance.yaml of a run on real GPUs, replayed where there are none.

#include "tuner/samples/run_record.hpp"
#include "tuner/samples/sample_source.hpp"

#include <filesystem>
#include <memory>

namespace crossover {

/// Replays `directory`/{samples.csv,provenance.yaml}. measure() gives the recorded samples of that session.
/// Construction checks that every session, point and algorithm of the config was recorded, in the same cache state;
/// warmup, trials and graph_calls are the recording's own.
/// @throws InputError naming what was asked for and what there is.
std::unique_ptr<SampleSource> open_recording(const std::filesystem::path& directory, const Config& config);

} // namespace crossover
