#include "output/emit.hpp"
#include "output/html_report.hpp"
#include "tuner/cli/commands.hpp"
#include "tuner/cli/data_folder.hpp"
#include "tuner/cli/options.hpp"
#include "tuner/error.hpp"
#include "tuner/make_table.hpp"
#include "tuner/plan/run_session.hpp"
#include "tuner/progress.hpp"
#include "tuner/samples/recording.hpp"
#ifdef CROSSOVER_HAS_CUDA
#include "comm/launch.hpp"
#include "tuner/measure/gpu_tune.hpp"
#endif

#include <algorithm>
#include <array>
#include <iostream>
#include <set>
#include <utility>

namespace crossover {
namespace {

namespace fs = std::filesystem;

const Usage kUsage{.name = "tune",
                   .arguments = "",
                   .purpose = "Measures every algorithm of the config at every point, fits the message sizes at which\n"
                              "one overtakes the other, and writes table.yaml, oneshot_thresholds.h, report.md,\n"
                              "report.html, samples.csv and provenance.yaml. Without GPUs, or with --recording, it\n"
                              "replays the recording of a machine that had some. torchrun, mpirun or srun may start\n"
                              "it, once a rank; without them it starts a process for each GPU itself."};

/// What the user asked for.
struct Request {
    fs::path config_path;
    bool default_config = true; // none was named, so it may be cut to the GPUs at hand
    bool any_sessions = true;   // nor a number of sessions: those of the recording will do
    Config config;
    fs::path out;
    std::optional<std::string> recording;
    bool resume = false;
};

std::optional<Request> parse_request(const std::vector<std::string>& arguments) {
    Request request;
    std::string config, out, recording;
    int sessions = 0;
    po::options_description options;
    // clang-format off
    options.add_options()
        ("config", po::value(&config)->value_name("FILE"), "what to measure; configs/default.yaml if left out")
        ("out", po::value(&out)->value_name("DIR")->default_value("out"), "folder to write into")
        ("recording", po::value(&recording)->value_name("DIR"),
         "replay this run folder (or its name in configs/recordings), even if there are GPUs")
        ("sessions", po::value(&sessions)->value_name("N"), "sessions to measure, instead of the config's")
        ("resume", po::bool_switch(&request.resume), "go on with the run in --out: measure only what it lacks");
    // clang-format on
    const auto values = parse_options(kUsage, options, arguments);
    if (!values) return std::nullopt;

    request.default_config = values->count("config") == 0;
    request.any_sessions = request.default_config && values->count("sessions") == 0;
    request.config_path = request.default_config ? shown(data_folder() / "default.yaml") : config;
    request.config = read_config(request.config_path);
    request.out = out;
    if (values->count("recording") != 0) request.recording = recording;
    if (values->count("sessions") != 0) {
        if (sessions < 1) throw InputError("--sessions", "is " + std::to_string(sessions), "write 1 or more");
        request.config.sessions = sessions;
    }
    return request;
}

/// Leaves out the world sizes that a machine of this many GPUs cannot have.
/// @returns a line about each. @throws InputError if none is left
std::string drop_world_sizes(Config& config, int gpus, const std::string& where) {
    std::string lines;
    for (const int world_size : drop_world_sizes_above(config, gpus))
        lines += "world size " + std::to_string(world_size) + ": not " + where + " (" + std::to_string(gpus) +
                 " GPUs), cells are marked not_measured\n";
    if (config.world_sizes.empty())
        throw InputError("world_sizes", "none is possible with " + std::to_string(gpus) + " GPUs",
                         "name a config with smaller ones");
    return lines;
}

/// Every session from the recording into the journal.
void replay_sessions(const Config& config, SampleSource& source, Journal journal) {
    const auto plan = make_grid_plan(config);
    std::vector<Sample> samples = journal.existing();
    std::set<std::pair<int, Point>> done;
    for (const Sample& sample : samples) done.emplace(sample.session, sample.point);
    const std::size_t total = plan->expected_points() * static_cast<std::size_t>(config.sessions);
    Progress progress(total - std::min(total, done.size()), stderr);
    for (int session = 0; session < config.sessions; ++session) {
        const std::string what =
            "session " + std::to_string(session + 1) + "/" + std::to_string(config.sessions) + ", points";
        run_session(session, *plan, source, samples,
                    [&](std::span<const Trial> trials, std::span<const Sample> measured) {
                        journal.append(measured);
                        progress.advance(trials.size(), what);
                    });
    }
}

/// @returns the record of the run; its samples are in `request.out`
RunRecord replay(const Request& request, const std::string& why) {
    const fs::path directory = find_recording(request.recording);
    const RunRecord recorded = read_provenance(directory / "provenance.yaml");
    std::cout << why << "replaying the recording " << shown(directory) << " (" << recorded.fingerprint.sku << ", "
              << recorded.provenance.date << ")\n";

    Config config = request.config;
    if (recorded.gpus > 0) std::cout << drop_world_sizes(config, recorded.gpus, "in the recording");
    if (request.any_sessions && config.sessions > recorded.provenance.sessions) {
        std::cout << "sessions: " << recorded.provenance.sessions << " in the recording instead of " << config.sessions
                  << '\n';
        config.sessions = recorded.provenance.sessions;
    }
    const auto source = open_recording(shown(directory), config);
    RunRecord record{.source = "recording",
                     .fingerprint = source->fingerprint(),
                     .gpus = recorded.gpus,
                     .provenance = source->provenance(),
                     .config = request.config}; // as asked: what is dropped belongs into the table, too
    replay_sessions(config, *source, begin_run(request.out, record, request.resume));
    return record;
}

#ifdef CROSSOVER_HAS_CUDA
/// @returns the record of the run, whose samples are in `request.out`; nothing in a process that is not to write
std::optional<RunRecord> measure(const Request& request, int gpus) {
    // A launcher may show each process one GPU, and may span hosts: its ranks are what counts.
    if (const auto launched = detect_launcher(read_environment())) gpus = launched->world_size;
    Config config = request.config;
    std::string lines;
    if (request.default_config)
        lines = drop_world_sizes(config, gpus, "possible here");
    else
        require_gpus(config, gpus, request.config_path);
    RunRecord record;
    record.config = request.config; // as asked: what is dropped belongs into the table, too
    if (!measure_on_gpus(config, request.out, request.resume, record)) return std::nullopt;
    std::cout << lines;
    return record;
}
#endif

/// From the samples in `request.out` to everything else there, and the summary.
void finish(const Request& request, RunRecord record) {
    const std::vector<Sample> samples = read_samples(request.out / "samples.csv");
    const FitOptions fit = fit_options(request.config);
    const Table table = make_table(samples, record, fit, cell_keys(request.config));
    record.provenance.sessions = table.provenance.sessions;
    record.provenance.samples = table.provenance.samples;
    write_provenance(request.out / "provenance.yaml", record);

    // All of them are made before the first is written.
    const std::array files{
        std::pair{"table.yaml", emit_yaml(table)}, std::pair{"oneshot_thresholds.h", emit_cpp_header({&table, 1})},
        std::pair{"report.md", emit_markdown(table)}, std::pair{"report.html", emit_html({table, samples, fit, {}})}};
    for (const auto& [name, text] : files) write_atomically(request.out / name, text);

    std::cout << '\n' << emit_summary(table) << "\nWritten to " << request.out.string() << ": ";
    for (const auto& [name, text] : files) std::cout << name << ", ";
    std::cout << "samples.csv, provenance.yaml\n";
}

} // namespace

int run_tune(const std::vector<std::string>& arguments) {
    const std::optional<Request> request = parse_request(arguments);
    if (!request) return 0;
#ifdef CROSSOVER_HAS_CUDA
    if (const int gpus = request->recording ? 0 : gpu_count(); gpus > 0) {
        if (const auto record = measure(*request, gpus)) finish(*request, *record);
        return 0;
    }
#endif
    finish(*request, replay(*request, request->recording ? "" : "no GPUs here: "));
    return 0;
}

} // namespace crossover
