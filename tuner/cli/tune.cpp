#include "output/emit.hpp"
#include "output/format.hpp"
#include "output/html_report.hpp"
#include "tuner/cli/commands.hpp"
#include "tuner/cli/data_folder.hpp"
#include "tuner/cli/options.hpp"
#include "tuner/error.hpp"
#include "tuner/fit/regret.hpp"
#include "tuner/launch_name.hpp"
#include "tuner/make_table.hpp"
#include "tuner/plan/gpu_seconds.hpp"
#include "tuner/plan/run_session.hpp"
#include "tuner/plan/validation.hpp"
#include "tuner/plugins/library.hpp"
#include "tuner/progress.hpp"
#include "tuner/roles.hpp"
#include "tuner/samples/recording.hpp"
#ifdef CROSSOVER_HAS_CUDA
#include "comm/launch.hpp"
#include "tuner/measure/gpu_tune.hpp"
#endif

#include <algorithm>
#include <array>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <map>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

namespace crossover {
namespace {

namespace fs = std::filesystem;

const Usage kUsage{.name = "tune",
                   .arguments = "",
                   .purpose =
                       "Measures the algorithms of the config at the points that decide, fits the message sizes at\n"
                       "which one overtakes the other, and writes table.yaml, oneshot_thresholds.h, report.md,\n"
                       "report.html, samples.csv and provenance.yaml. Without GPUs, or with --recording, it\n"
                       "replays the recording of a machine that had some. torchrun, mpirun or srun may start\n"
                       "it, once a rank; without them it starts a process for each GPU itself."};

/// What the user asked for.
struct Request {
    fs::path config_path;
    bool default_config = true; // none else was named, so it may be cut to the GPUs or the recording at hand
    bool any_sessions = true;   // nor a number of sessions: those of the recording will do
    Config config;
    fs::path out;
    std::optional<std::string> recording;
    bool resume = false;
};

std::optional<Request> parse_request(const std::vector<std::string>& arguments) {
    Request request;
    std::string config, out, recording, search;
    std::vector<std::string> libraries;
    int sessions = 0;
    po::options_description options;
    // clang-format off
    options.add_options()
        ("config", po::value(&config)->value_name("FILE"), "what to measure; configs/default.yaml if left out")
        ("out", po::value(&out)->value_name("DIR")->default_value("out"), "folder to write into")
        ("recording", po::value(&recording)->value_name("DIR"),
         "replay this run folder (or its name in configs/recordings), even if there are GPUs; without GPUs and a name, "
         "the shipped one that has what the config asks for, with most of its world sizes")
        ("candidate", po::value(&libraries)->value_name("FILE"),
         "shared library with kernels of an engine (kernels/crossover_candidate.h); its oneshot and twoshot take the "
         "place of ours; may be given several times")
        ("search", po::value(&search)->value_name("NAME"),
         "adaptive: the points that decide; grid: all of them; instead of the config's")
        ("sessions", po::value(&sessions)->value_name("N"), "sessions to measure, instead of the config's")
        ("resume", po::bool_switch(&request.resume), "go on with the run in --out: measure only what it lacks");
    // clang-format on
    const auto values = parse_options(kUsage, options, arguments);
    if (!values) return std::nullopt;

    std::error_code ignored; // a file that is not there is told when it is read
    request.default_config =
        values->count("config") == 0 || fs::equivalent(config, data_folder() / "default.yaml", ignored);
    request.any_sessions = request.default_config && values->count("sessions") == 0;
    request.config_path = values->count("config") == 0 ? shown(data_folder() / "default.yaml") : config;
    request.config = read_config(request.config_path);
    if (!request.config.candidates.empty())
        throw InputError(request.config_path.string(), "`candidates` is not for configs", "use --candidate FILE");
    take_candidates(request.config, inspect_libraries(libraries, request.config));
    request.out = out;
    if (values->count("recording") != 0) request.recording = recording;
    if (values->count("search") != 0) {
        const auto parsed = parse_search(search);
        if (!parsed) throw InputError("--search", "is `" + search + "`", "write adaptive or grid");
        request.config.search = *parsed;
    }
    if (values->count("sessions") != 0) {
        if (sessions < 1) throw InputError("--sessions", "is " + std::to_string(sessions), "write 1 or more");
        request.config.sessions = sessions;
    }
    return request;
}

/// A line about each world size, dtype and hidden_dim that was asked for and is not in what a machine of this many GPUs
/// is used for.
std::string dropped_lines(const Config& asked, const Config& used, int gpus, const std::string& where) {
    std::string lines;
    for (const int world_size : asked.world_sizes)
        if (std::ranges::find(used.world_sizes, world_size) == used.world_sizes.end())
            lines += "world size " + std::to_string(world_size) + ": not " + where + " (" + std::to_string(gpus) +
                     " GPUs), cells are marked not_measured\n";
    for (const DType dtype : asked.dtypes)
        if (std::ranges::find(used.dtypes, dtype) == used.dtypes.end())
            lines += std::string(to_string(dtype)) + ": not " + where + ", left out\n";
    for (const auto hidden_dim : asked.hidden_dims)
        if (std::ranges::find(used.hidden_dims, hidden_dim) == used.hidden_dims.end())
            lines += "hidden_dim " + std::to_string(hidden_dim) + ": not " + where + ", left out\n";
    return lines;
}

constexpr std::size_t kBatch = 16;

/// Every session from the recording into the journal, and what of held-out points was recorded.
void replay_sessions(const Config& config, const std::set<Point>& recorded, SampleSource& source, Journal journal) {
    const LaunchesAt launches = [&source](std::string_view algorithm, const Point& point) {
        return source.launches(algorithm, point);
    };
    const auto plan = make_plan(config, kBatch, launches);
    const auto validation =
        make_validation_plan(config, kBatch, launches, [&](const Point& point) { return recorded.contains(point); });
    std::vector<Sample> samples = journal.existing();
    std::set<std::pair<int, Point>> done;
    for (const Sample& sample : samples) done.emplace(sample.session, sample.point);
    const std::size_t total =
        (plan->expected_points() + validation->expected_points()) * static_cast<std::size_t>(config.sessions);
    Progress progress(total - std::min(total, done.size()), stderr);
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

/// What a recording has that a replay need not use: it tells how good the rest was.
struct Replay {
    RunRecord record; // of the run; its samples are in `request.out`
    Config config;    // without what was not recorded
    std::vector<Sample> recorded;
};

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
        std::cout << "validation: " << count << " of " << wanted.size() << " held-out points are in the recording\n";
    return points;
}

Lenience lenience(const Request& request) {
    return {.shapes = request.default_config, .sessions = request.any_sessions};
}

/// The recording that was named, or else the one that fits what is asked.
fs::path recording_of(const Request& request) {
    if (request.recording) return shown(find_recording(*request.recording));
    std::vector<fs::path> recordings;
    for (const fs::path& directory : shipped_recordings()) recordings.emplace_back(shown(directory));
    return choose_recording(recordings, request.config, lenience(request));
}

Replay replay(const Request& request, const std::string& why) {
    if (!request.config.candidates.empty())
        throw InputError("--candidate", "a recording runs no kernels", "measure on GPUs, or leave it out");
    const fs::path directory = recording_of(request);
    const RunRecord recorded = read_provenance(directory / "provenance.yaml");
    std::cout << why << "replaying the recording " << directory.string() << " (" << recorded.fingerprint.sku << ", "
              << recorded.provenance.date << ")\n";

    Config asked = request.config;
    if (recorded.config) take_candidates(asked, recorded.config->candidates);
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
                     .fingerprint = source->fingerprint(),
                     .gpus = recorded.gpus,
                     .provenance = source->provenance(),
                     .config = asked}; // world sizes that are dropped belong into the table, too
    replay_sessions(config, points, *source, begin_run(request.out, replay.record, request.resume));
    return replay;
}

#ifdef CROSSOVER_HAS_CUDA
/// @returns the record of the run, whose samples are in `request.out`; nothing in a process that is not to write
std::optional<RunRecord> measure(const Request& request, int gpus) {
    // A launcher may show each process one GPU, and may span hosts: its ranks are what counts.
    if (const auto launched = detect_launcher(read_environment())) gpus = launched->world_size;
    Config config = request.config;
    std::string lines;
    if (request.default_config) {
        drop_world_sizes_above(config, gpus);
        if (config.world_sizes.empty())
            throw InputError("world_sizes", "none is possible with " + std::to_string(gpus) + " GPUs",
                             "name a config with smaller ones");
        lines = dropped_lines(request.config, config, gpus, "possible here");
    } else
        require_gpus(config, gpus, request.config_path);
    RunRecord record;
    record.config = request.config; // as asked: what is dropped belongs into the table, too
    if (!measure_on_gpus(config, request.out, request.resume, record)) return std::nullopt;
    std::cout << lines;
    return record;
}
#endif

std::string regret_text(const Regret& regret) {
    return std::to_string(regret.points) + " points: mean " + percent(regret.mean, 2) + ", worst " +
           percent(regret.max, 1);
}

/// The held-out regret of each world size, and where it is the worst.
std::string held_out_lines(const Table& table, std::span<const Sample> held_out) {
    std::map<int, std::vector<PointRegret>> by_world_size; // worst first
    for (PointRegret& point : regret_report(held_out, table.cells).points)
        by_world_size[point.point.cell.world_size].push_back(std::move(point));
    std::string lines;
    for (const auto& [world_size, points] : by_world_size) {
        lines += "Time lost against the best algorithm, world size " + std::to_string(world_size) + ", held-out " +
                 regret_text(summary(points));
        const PointRegret& worst = points.front();
        if (worst.regret() > 0) {
            const std::size_t sessions = sessions_of(worst.point, held_out);
            char times[100];
            std::snprintf(times, sizeof times, "takes %.2f us, %s %.2f us; measured in %zu session%s)", worst.chosen_us,
                          worst.best.c_str(), worst.best_us, sessions, sessions > 1 ? "s" : "");
            lines += " (" + to_string(worst.point) + ": " + worst.chosen + " " + times;
        }
        lines += '\n';
    }
    return lines;
}

/// What the search took of the grid, and what its table loses at all that was recorded beside that.
std::string search_lines(const Table& table, std::span<const Sample> samples, const Replay& replay) {
    const std::vector<Point> points = grid_points(replay.config);
    const bool tuned = replay.config.launches == LaunchChoice::tuned;
    const auto in_grid = [&](const Sample& sample) {
        return sample.session < replay.config.sessions &&
               std::ranges::find(replay.config.algorithms, tuned ? base_of(sample.algorithm) : sample.algorithm) !=
                   replay.config.algorithms.end() &&
               std::binary_search(points.begin(), points.end(), sample.point);
    };
    std::vector<Sample> grid, searched, rest;
    std::ranges::copy_if(replay.recorded, std::back_inserter(grid), in_grid);
    std::ranges::copy_if(samples, std::back_inserter(searched), in_grid);
    std::set<Point> used;
    for (const Sample& sample : samples) used.insert(sample.point);
    std::ranges::copy_if(replay.recorded, std::back_inserter(rest),
                         [&](const Sample& sample) { return !used.contains(sample.point); });

    const auto share = [](double part, double whole) { return percent(part / whole, 1).substr(1); }; // no sign
    std::string lines =
        "Samples of the search: " + std::to_string(searched.size()) + " of the grid's " + std::to_string(grid.size()) +
        " (" + share(static_cast<double>(searched.size()), static_cast<double>(grid.size())) + "), " +
        share(gpu_seconds(searched, replay.config), gpu_seconds(grid, replay.config)) + " of its GPU time\n";
    rest = in_roles(rest, replay.config);
    const Regret regret = summary(regret_report(rest, table.cells).points);
    if (regret.points > 0)
        lines += "Time lost against the best algorithm at the other recorded " + regret_text(regret) + '\n';
    return lines;
}

/// From the samples in `request.out` to everything else there, and the summary.
void finish(const Request& request, RunRecord record, const Replay* replay) {
    const std::vector<Sample> samples = read_samples(request.out / "samples.csv");
    const FitOptions fit = fit_options(*record.config);
    const Table table = make_table(samples, record, fit, cell_keys(*record.config));
    record.provenance.sessions = table.provenance.sessions;
    record.provenance.samples = table.provenance.samples;
    write_provenance(request.out / "provenance.yaml", record);

    const auto [fitted, held_out] = split_samples(samples, record);

    // All of them are made before the first is written.
    const std::array files{std::pair{"table.yaml", emit_yaml(table)},
                           std::pair{"oneshot_thresholds.h", emit_cpp_header({&table, 1})},
                           std::pair{"report.md", emit_markdown(table)},
                           std::pair{"report.html", emit_html({table, fitted, held_out, fit, {}})}};
    for (const auto& [name, text] : files) write_atomically(request.out / name, text);

    std::cout << '\n' << emit_summary(table) << '\n';
    for (const auto& [key, value] : table.provenance.extra) // whose kernels these are
        if (key.starts_with(kCandidatePrefix)) std::cout << key << ": " << value << '\n';
    std::cout << held_out_lines(table, held_out);
    if (replay) std::cout << search_lines(table, samples, *replay);
    std::cout << "Written to " << request.out.string() << ": ";
    for (const auto& [name, text] : files) std::cout << name << ", ";
    std::cout << "samples.csv, provenance.yaml\n";
}

} // namespace

int run_tune(const std::vector<std::string>& arguments) {
    const std::optional<Request> request = parse_request(arguments);
    if (!request) return 0;
#ifdef CROSSOVER_HAS_CUDA
    if (const int gpus = request->recording ? 0 : gpu_count(); gpus > 0) {
        if (const auto record = measure(*request, gpus)) finish(*request, *record, nullptr);
        return 0;
    }
#endif
    const Replay replayed = replay(*request, request->recording ? "" : "no GPUs here: ");
    finish(*request, replayed.record, &replayed);
    return 0;
}

} // namespace crossover
