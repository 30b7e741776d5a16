#include "tuner/measure/gpu_tune.hpp"

#include "comm/environment.hpp"
#include "comm/launch.hpp"
#include "comm/topology.hpp"
#include "tuner/error.hpp"
#include "tuner/measure/gpu_source.hpp"
#include "tuner/measure/limits.hpp"
#include "tuner/measure/plugin.hpp"
#include "tuner/plan/run_session.hpp"
#include "tuner/plan/validation.hpp"
#include "tuner/progress.hpp"
#include "tuner/read_file.hpp"
#include "tuner/scratch_folder.hpp"
#include "tuner/write_atomically.hpp"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <set>
#include <span>

namespace crossover {
namespace {

namespace fs = std::filesystem;

/// What driver and rank processes have on disk as long as this lives: the config, what they tell each other of
/// candidates (tuner/plugins/isolation.hpp), and a session the next of groups (tuner/plan/side_by_side.hpp).
struct JobFolder : ScratchFolder {
    explicit JobFolder(const Config& config) { write_atomically(config_path(path()), to_yaml(config)); }
    static fs::path config_path(const fs::path& folder) { return folder / "config.yaml"; }
    static fs::path clocks_path(const fs::path& folder, int session) {
        return folder / ("clocks." + std::to_string(session));
    }
};

constexpr const char* kClocks = "sm_clock_mhz"; // in provenance

/// The clocks of the sessions of a job that have ended, and of the part of the run that was there before.
void add_clocks(Provenance& provenance, const fs::path& folder, int sessions) {
    ClockRange clocks = parse_clock_range(provenance.extra[kClocks]);
    for (int session = 0; session < sessions; ++session)
        if (const fs::path path = JobFolder::clocks_path(folder, session); fs::exists(path))
            clocks.add(parse_clock_range(read_file(path, "the clocks")));
    if (clocks.highest > 0)
        provenance.extra[kClocks] = to_string(clocks);
    else
        provenance.extra.erase(kClocks); // the driver does not tell
}

/// The environment that rank processes will have: see supervise_ranks().
Environment rank_process_environment() {
    Environment environment = read_environment();
    environment.try_emplace("NCCL_NVLS_ENABLE", "0");
    return environment;
}

RunRecord make_record(const Config& config, int ranks, int nodes) {
    const Environment environment = rank_process_environment();
    const Topology topology = read_topology(environment);
    if (topology.gpus.empty()) throw InputError("environment", topology.problem, "see `crossover doctor`");
    RunRecord record;
    record.fingerprint = fingerprint_of(topology, nodes);
    record.gpus = ranks;
    record.provenance = provenance_of(topology, config);
    for (const auto& [name, value] : relevant_variables(environment)) record.provenance.environment[name] = value;
    record.config = config;
    return record;
}

/// Which rank processes this driver starts: all, or the one of its own rank.
RankJob make_job(const Config& config, const std::optional<RankEnvironment>& self) {
    const int largest = *std::max_element(config.world_sizes.begin(), config.world_sizes.end());
    RankJob job;
    if (self) {
        if (largest > self->world_size)
            throw InputError("world_sizes",
                             std::to_string(largest) + " is above the " + std::to_string(self->world_size) +
                                 " ranks that " + std::string(to_string(self->launcher)) + " started",
                             "start more ranks, or leave it out of the config");
        job.ranks = {{self->rank, self->local_rank}};
        job.world_size = self->world_size;
        job.local_size = self->local_size;
        job.address = self->address;
    } else {
        // All GPUs that whole groups of the largest world can use: smaller worlds run side by side on them.
        job.world_size = gpu_count() / largest * largest;
        if (job.world_size == 0)
            throw InputError("world_sizes",
                             std::to_string(largest) + " is above the " + std::to_string(gpu_count()) + " GPUs here",
                             "leave it out of the config");
        job.local_size = job.world_size;
        for (int rank = 0; rank < job.world_size; ++rank) job.ranks.push_back({rank, rank});
    }
    job.progress_limit = progress_limit(config);
    return job;
}

/// Rank 0's samples so far, on every rank.
std::vector<Sample> share_samples(Communicator& comm, const std::optional<Journal>& journal) {
    std::string text = journal ? samples_csv(journal->existing()) : "";
    std::uint64_t size = text.size();
    comm.broadcast_bytes(std::as_writable_bytes(std::span(&size, 1)), 0);
    text.resize(size);
    comm.broadcast_bytes(std::as_writable_bytes(std::span(text)), 0);
    return parse_samples(text, "samples of rank 0");
}

} // namespace

int gpu_count() {
    int count = 0;
    if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
    cudaGetLastError(); // no driver, or no GPU
    return 0;
}

int available_ranks() {
    const auto self = detect_launcher(read_environment());
    return self ? self->world_size : gpu_count();
}

bool measure_on_gpus(const Config& config, const fs::path& out, bool resume, RunRecord& record) {
    const auto self = detect_launcher(read_environment());
    RankJob job = make_job(config, self);
    // The last host may have fewer ranks than this one.
    const int nodes = self ? (self->world_size + self->local_size - 1) / self->local_size : 1;
    const std::optional<Config> asked = record.config; // before world sizes that this machine cannot have were left out
    record = make_record(config, job.world_size, nodes);
    if (asked) record.config = asked;
    const bool writer = !self || self->rank == 0;
    if (const fs::path former = out / "provenance.yaml"; writer && resume && fs::exists(former))
        if (const auto& extra = read_provenance(former).provenance.extra; extra.contains(kClocks))
            record.provenance.extra[kClocks] = extra.at(kClocks);
    if (writer) begin_run(out, record, resume); // fails before anything is measured; closed for the rank process

    const JobFolder folder(config);
    for (int session = 0; session < config.sessions; ++session) {
        job.arguments = {"rank", folder.path().string(), out.string(), std::to_string(session)};
        if (self) job.port = session_port(*self, session);
        // A launcher's other drivers would have to begin again, too, and do not know of it.
        if (const auto failure =
                self ? supervise_once(job, folder.path()) : supervise_session(job, folder.path(), free_port))
            throw SessionFailure("session " + std::to_string(session + 1) + ": " + failure->message);
    }
    add_clocks(record.provenance, folder.path(), config.sessions);
    return writer;
}

int run_rank(const std::vector<std::string>& arguments) {
    if (arguments.size() != 3)
        throw InputError("crossover rank", "is started by `crossover tune` and `crossover bench`", "use one of those");
    const fs::path folder = arguments[0], out = arguments[1];
    const Config config = read_config(JobFolder::config_path(folder));
    const int session = std::stoi(arguments[2]);

    const Environment environment = read_environment();
    const ProgressReporter reporter(environment);
    Communicator world = Communicator::connect(rank_environment(environment), wait_limit(config));
    PluginSession plugins(config, folder, world.rank());
    GpuSource source(world, config, read_topology(environment), plugins, folder, [&reporter] { reporter.report(); });
    reporter.report();

    std::optional<Journal> journal;
    if (world.rank() == 0) journal.emplace(out / "samples.csv", true);
    std::vector<Sample> samples = share_samples(world, journal);

    // One trial a group and batch; the smallest world has the most groups.
    const int smallest = *std::min_element(config.world_sizes.begin(), config.world_sizes.end());
    const auto batch = static_cast<std::size_t>(std::max(1, world.size() / smallest));
    const LaunchesAt launches = launches_of(source);
    const auto plan = make_plan(config, batch, launches);
    const auto validation = make_validation_plan(config, batch, launches);
    std::set<Point> done;
    for (const Sample& sample : samples)
        if (sample.session == session) done.insert(sample.point);
    const std::size_t total = plan->expected_points() + validation->expected_points();
    std::optional<Progress> progress;
    if (journal) progress.emplace(total - std::min(total, done.size()));
    const auto store = [&](std::span<const Trial> trials, std::span<const Sample> measured) {
        if (!journal) return;
        journal->append(measured);
        progress->advance(trials.size(), "session " + std::to_string(session + 1) + "/" +
                                             std::to_string(config.sessions) + ", world size " +
                                             std::to_string(trials.front().point.cell.world_size) + ", points");
    };
    try {
        run_session(session, *plan, source, samples, store);
        run_session(session, *validation, source, samples, store);
        const ClockRange clocks = source.clocks();
        if (journal) write_atomically(JobFolder::clocks_path(folder, session), to_string(clocks));
    } catch (const TimeoutError& error) {
        std::fprintf(stderr, "crossover: error: %s\n", error.what());
        plugins.in_flight.mark_timed_out();
        std::_Exit(2); // freeing memory would wait for a GPU that hangs
    }
    return 0;
}

} // namespace crossover
