#include "tuner/cli/tune.hpp"

#include "comm/launch.hpp"
#include "output/emit.hpp"
#include "output/html_report.hpp"
#include "tuner/cli/commands.hpp"
#include "tuner/cli/data_folder.hpp"
#include "tuner/cli/options.hpp"
#include "tuner/cli/sample_files.hpp"
#include "tuner/cli/words.hpp"
#include "tuner/error.hpp"
#include "tuner/make_table.hpp"
#include "tuner/plan/plan.hpp"
#include "tuner/plugins/library.hpp"
#include "tuner/roles.hpp"
#ifdef CROSSOVER_HAS_CUDA
#include "tuner/measure/gpu_tune.hpp"
#endif

#include <array>
#include <iostream>
#include <stdexcept>
#include <utility>

namespace crossover {
namespace {

const Usage kTuneUsage{
    .name = "tune",
    .purpose = "Measures the algorithms of the config at the points that decide, fits the message sizes at\n"
               "which one overtakes the other, and writes table.yaml, oneshot_thresholds.h, report.md,\n"
               "report.html, samples.csv and provenance.yaml. Without GPUs, or with --recording, it\n"
               "replays the recording of a machine that had some. torchrun, mpirun or srun may start\n"
               "it, once a rank; without them it starts a process for each GPU itself."};

std::optional<TuneRequest> parse_tune_request(const std::vector<std::string>& arguments) {
    TuneRequest request;
    std::string config, out, recording, search;
    std::vector<std::string> libraries;
    int sessions = 0;
    po::options_description options;
    // clang-format off
    options.add_options()
        ("config", po::value(&config)->value_name("FILE"), "what to measure: a file, or one of configs/ by its name (default, quick, moe); configs/default.yaml if left out")
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
    const auto values = parse_options(kTuneUsage, options, arguments);
    if (!values) return std::nullopt;

    if (values->count("config") == 0) config = shown(data_folder() / "default.yaml");
    request.config_path = find_config(config);
    request.default_config = is_default_config(request.config_path);
    const ConfigFile file = read_config_file(request.config_path);
    request.config = file.config;
    request.any_sessions = values->count("sessions") == 0 && (request.default_config || !file.names_sessions);
    if (!request.config.candidates.empty())
        throw InputError(request.config_path.string(), "`candidates` is not for configs", "use --candidate FILE");
    take_candidates(request.config, inspect_libraries(libraries, request.config));
    request.out = out;
    if (values->count("recording") != 0) request.recording = recording;
    if (values->count("search") != 0) request.config.search = word_option("--search", search, kSearches);
    if (values->count("sessions") != 0) {
        if (sessions < 1) throw InputError("--sessions", std::to_string(sessions) + " is too few", "write 1 or more");
        request.config.sessions = sessions;
    }
    return request;
}

#ifdef CROSSOVER_HAS_CUDA
/// @returns the record of the run, whose samples are in `request.out`; nothing in a process that is not to write
std::optional<RunRecord> measure(const TuneRequest& request) {
    // A launcher may show each process one GPU, and may span hosts: its ranks are what counts.
    const int gpus = available_ranks();
    Config config = request.config;
    std::string lines;
    if (request.default_config) {
        drop_world_sizes_above(config, gpus);
        if (config.world_sizes.empty())
            throw InputError("environment", "an all-reduce needs 2 GPUs, and there is " + std::to_string(gpus),
                             "see `crossover doctor`, or replay a recording with --recording");
        lines = dropped_lines(request.config, config, gpus, "possible here");
    } else
        require_gpus(config, gpus, request.config_path);
    RunRecord record;
    record.config = request.config; // as asked: what is dropped belongs into the table, too
    try {
        if (!measure_on_gpus(config, request.out, request.resume, record)) return std::nullopt;
    } catch (const SessionFailure& failure) {
        throw std::runtime_error(std::string(failure.what()) + "; what was measured is in " +
                                 (request.out / "samples.csv").string() + ", go on with --resume");
    }
    std::cout << lines;
    return record;
}
#endif

/// From the samples in `request.out` to everything else there, and the summary.
void finish(const TuneRequest& request, RunRecord record, const Replay* replay) {
    const std::vector<Sample> samples = read_samples(request.out / "samples.csv");
    require_gpu_of(record.fingerprint, "provenance", samples, request.out / "samples.csv");
    const FitOptions fit = fit_options(*record.config);
    const auto [table, split, cut] = make_table(samples, record, fit);
    record.provenance.sessions = table.provenance.sessions;
    record.provenance.samples = table.provenance.samples;
    write_provenance(request.out / "provenance.yaml", record);

    // All of them are made before the first is written.
    const std::array<std::string, kMadeOfSamples.size()> texts{
        emit_yaml(table), emit_cpp_header({&table, 1}), emit_markdown(table),
        emit_html({table, split.fitted, split.held_out, fit, {}})};
    for (std::size_t i = 0; i < texts.size(); ++i) write_atomically(request.out / kMadeOfSamples[i], texts[i]);

    std::cout << '\n' << emit_summary(table) << '\n';
    for (const auto& [key, value] : table.provenance.extra) // whose kernels these are
        if (key.starts_with(kCandidatePrefix)) std::cout << key << ": " << value << '\n';
    if (!cut.empty())
        std::cout << "budget: spent before the search of " << cut.size() << " of " << table.cells.size()
                  << " cells ended; their notes say so\n";
    if (validation_points(request.config).empty())
        std::cout << "validation: no shape is held out; "
                  << (request.config.validation_hidden_dims.empty()
                          ? "the config names none\n"
                          : "all are in the sweep or above max_message_bytes\n");
    std::cout << held_out_lines(table, split.held_out);
    if (replay) std::cout << search_lines(table, samples, *replay);
    std::cout << "Written to " << request.out.string() << ": ";
    for (const char* const name : kMadeOfSamples) std::cout << name << ", ";
    std::cout << "samples.csv, provenance.yaml\n";
}

} // namespace

int run_tune(const std::vector<std::string>& arguments) {
    const std::optional<TuneRequest> request = parse_tune_request(arguments);
    if (!request) return 0;
#ifdef CROSSOVER_HAS_CUDA
    if (!request->recording && gpu_count() > 0) {
        if (const auto record = measure(*request)) finish(*request, *record, nullptr);
        return 0;
    }
#endif
    // All processes of a launcher would replay the same into the same folder.
    if (const auto self = detect_rank(read_environment()); self && self->rank != 0) return 0;
    const Replay replayed = replay_recording(*request);
    finish(*request, replayed.record, &replayed);
    return 0;
}

} // namespace crossover
