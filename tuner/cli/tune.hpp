#pragma once
/// The parts of `crossover tune`: what was asked for, replaying a recording, what came of it.

#include "tuner/config.hpp"
#include "tuner/samples/run_record.hpp"
#include "tuner/samples/sample.hpp"
#include "tuner/table.hpp"

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace crossover {

/// What the user asked for.
struct TuneRequest {
    std::filesystem::path config_path;
    bool default_config = true; // none else was named, so it may be cut to the GPUs or the recording at hand
    bool any_sessions = true;   // no number of sessions was named: those of the recording will do
    Config config;
    std::filesystem::path out;
    std::optional<std::string> recording;
    bool resume = false;
};

/// What a recording has that a replay need not use: it tells how good the rest was.
struct Replay {
    RunRecord record; // of the run; its samples are in `request.out`
    Config config;    // without what was not recorded
    std::vector<Sample> recorded;
};

/// Replays the recording that the request names, or the one that fits it, into its folder. Says what is left out.
Replay replay_recording(const TuneRequest& request);

/// A line about each world size, dtype and hidden_dim that was asked for and is not in what a machine of this many GPUs
/// is used for.
std::string dropped_lines(const Config& asked, const Config& used, int gpus, const std::string& where);

/// The held-out regret of each world size, and where it is the worst.
std::string held_out_lines(const Table& table, std::span<const Sample> held_out);

/// What the search took of the grid, and what its table loses at all that was recorded beside that.
std::string search_lines(const Table& table, std::span<const Sample> samples, const Replay& replay);

} // namespace crossover
