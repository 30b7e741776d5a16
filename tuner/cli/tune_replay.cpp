// `crossover tune` without measuring: the replay of a recording.

#include "tuner/cli/data_folder.hpp"
#include "tuner/cli/tune.hpp"
#include "tuner/error.hpp"
#include "tuner/plan/run_session.hpp"
#include "tuner/plan/validation.hpp"
#include "tuner/progress.hpp"
#include "tuner/roles.hpp"
#include "tuner/samples/recording.hpp"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <map>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

namespace crossover {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kBatch = 16;

/// Every session from the recording into the journal, and what of held-out points was recorded.
void replay_sessions(const Config& config, const std::set<Point>& recorded, SampleSource& source, Journal journal) {
    const LaunchesAt launches = launches_of(source);
    const auto plan = make_plan(config, kBatch, launches);
    const auto validation =
        make_validation_plan(config, kBatch, launches, [&](const Point& point) { return recorded.contains(point); });
    std::vector<Sample> samples = journal.existing();
    std::set<std::pair<int, Point>> done;
    for (const Sample& sample : samples) done.emplace(sample.session, sample.point);
    const std::size_t total =
        (plan->expected_points() + validation->expected_points()) * static_cast<std::size_t>(config.sessions);
    Progress progress(total - std::min(total, done.size()));
    const auto run = [&](int session, Plan& of_session, const std::string& what) {
        run_session(session, of_session, source, samples,
                    [&](std::span<const Trial> trials, std::span<const Sample> measured) {
                        journal.append(measured);
                        progress.advance(trials.size(), what);
                    });
    };
    for (int session = 0; session < config.sessions; ++session) {
        const std::string what = "session " + std::to_string(session + 1) + "/" + std::to_string(config.sessions);
        run(session, *plan, what + ", points");
        run(session, *validation, what + ", validation, points");
    }
}

/// The points of which every algorithm was recorded in every session. A line tells if some are missing of those to be
/// held out.
std::set<Point> recorded_points(const Replay& replay) {
    std::map<Point, std::map<std::string_view, int>> sessions;
    for (const Sample& sample : replay.recorded)
        if (sample.session < replay.config.sessions) ++sessions[sample.point][sample.algorithm];
    std::set<Point> points;
    for (const auto& [point, of_algorithm] : sessions)
        if (std::ranges::all_of(algorithms_of(replay.config, point.cell.pattern),
                                [&, &found = of_algorithm](const std::string& name) {
                                    const auto recorded = found.find(name);
                                    return recorded != found.end() && recorded->second == replay.config.sessions;
                                }))
            points.insert(point);
    const std::vector<Point> wanted = validation_points(replay.config);
    const auto count = std::ranges::count_if(wanted, [&](const Point& point) { return points.contains(point); });
    if (count < std::ssize(wanted))
        std::cout << "validation: " << count << " of " << wanted.size()
                  << " held-out points are in every session of the recording\n";
    return points;
}

/// How long it was measured is the recording's own.
void take_measurement(Config& config, const Config& recorded) {
    config.warmup = recorded.warmup;
    config.trials = recorded.trials;
    config.precision = recorded.precision;
    config.graph_calls = recorded.graph_calls;
    config.timeout_ms = recorded.timeout_ms;
}

Lenience lenience(const TuneRequest& request) {
    return {.shapes = request.default_config, .sessions = request.any_sessions};
}

/// The recording that was named, or else the one that fits what is asked.
fs::path recording_of(const TuneRequest& request) {
    if (request.recording) return shown(find_recording(*request.recording));
    std::vector<fs::path> recordings;
    for (const fs::path& directory : shipped_recordings()) recordings.emplace_back(shown(directory));
    return choose_recording(recordings, request.config, lenience(request));
}

} // namespace

Replay replay_recording(const TuneRequest& request) {
    if (!request.config.candidates.empty())
        throw InputError("--candidate", "a recording runs no kernels", "measure on GPUs, or leave it out");
    const fs::path directory = recording_of(request);
    if (std::error_code ignored; fs::equivalent(directory, request.out, ignored))
        throw InputError("--out", "`" + request.out.string() + "` is the recording itself", "name another folder");
    const RunRecord recorded = read_provenance(directory / "provenance.yaml");
    std::cout << (request.recording ? "" : "no GPUs here: ") << "replaying the recording " << directory.string() << " ("
              << recorded.fingerprint.sku << ", " << recorded.provenance.date << ")\n";

    Config asked = request.config;
    if (recorded.config) {
        take_candidates(asked, recorded.config->candidates);
        take_measurement(asked, *recorded.config);
    }
    Replay replay{.record = {}, .config = replayable(asked, recorded, lenience(request)), .recorded = {}};
    const Config& config = replay.config;
    std::cout << dropped_lines(asked, config, recorded.gpus, "in the recording");
    asked.dtypes = config.dtypes; // the others were asked for by nobody, and get no cells
    asked.hidden_dims = config.hidden_dims;
    const int sessions = std::exchange(asked.sessions, config.sessions);
    if (config.sessions < sessions)
        std::cout << "sessions: " << config.sessions << " in the recording instead of " << sessions << '\n';
    const auto source = open_recording(directory, config);
    replay.recorded = read_samples(directory / "samples.csv");
    const std::set<Point> points = recorded_points(replay);
    replay.record = {.source = "recording",
                     .fingerprint = recorded.fingerprint,
                     .gpus = recorded.gpus,
                     .provenance = recorded.provenance,
                     .config = asked}; // world sizes that are dropped belong into the table, too
    replay.record.provenance.extra["recording"] = fs::canonical(directory).filename();
    replay_sessions(config, points, *source, begin_run(request.out, replay.record, request.resume));
    return replay;
}

} // namespace crossover
