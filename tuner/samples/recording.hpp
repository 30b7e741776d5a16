#pragma once
/// A recording: samples.csv and provenance.yaml of a run on real GPUs, replayed where there are none.

#include "tuner/samples/run_record.hpp"
#include "tuner/samples/sample_source.hpp"

#include <filesystem>
#include <memory>
#include <vector>

namespace crossover {

/// What of a config nobody has asked for in so many words, so that a replay makes do with what was recorded of it.
struct Lenience {
    bool shapes = false; // dtypes and hidden_dims
    bool sessions = false;
};

/// What a replay may ask of a recording of this config: that without the world sizes that the machine could not have,
/// and, leniently, without the dtypes and hidden_dims and with no more sessions than were recorded. Where nothing would
/// be left, all of it stays.
Config replayable(Config config, const RunRecord& recorded, Lenience lenience);

/// The recording to replay where none was named. Of those that lack nothing that replayable() leaves of `asked`, with
/// their candidates in the places of ours: the one with the most of the asked world sizes; of these with the most
/// sessions, then samples, then the newest; at last the first by path.
/// @throws InputError if there is none, saying what each lacks: first the one that lacks the least; and if one cannot
/// be read
std::filesystem::path choose_recording(const std::vector<std::filesystem::path>& directories, const Config& asked,
                                       Lenience lenience);

/// Replays `directory`/{samples.csv,provenance.yaml}. measure() gives the recorded samples of that session.
/// Construction checks that every session, point and algorithm of the config was recorded, in the same cache state
/// and within the same workspace limit; warmup, trials and graph_calls are the recording's own.
/// @throws InputError naming what was asked for and what there is.
std::unique_ptr<SampleSource> open_recording(const std::filesystem::path& directory, const Config& config);

} // namespace crossover
