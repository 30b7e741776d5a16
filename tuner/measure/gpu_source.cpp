#include "tuner/measure/gpu_source.hpp"

#include "tuner/error.hpp"
#include "tuner/fit/statistics.hpp"
#include "tuner/measure/rank_group.hpp"
#include "tuner/plan/gpu_seconds.hpp"
#include "tuner/plan/launch_ladder.hpp"
#include "tuner/plan/side_by_side.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <set>
#include <utility>

namespace crossover {

namespace {

/// All ranks plan and launch alike, by what each sees of its own GPU, and a table is of one kind of GPU. (Two of one
/// model may differ by their shares: MIG, MPS.) The same answer on all ranks. @throws InputError
void require_one_kind(Communicator& world, const GpuInfo& mine) {
    std::array<char, 160> text{};
    std::snprintf(text.data(), text.size(), "%s with %d multiprocessors, compute capability %s", mine.name.c_str(),
                  mine.multiprocessors, mine.compute_capability().c_str());
    const std::vector<std::byte> all = world.all_gather_bytes(std::as_bytes(std::span(text)));
    const auto text_of = [&](int rank) {
        return std::string(reinterpret_cast<const char*>(all.data()) + static_cast<std::size_t>(rank) * text.size());
    };
    for (int rank = 1; rank < world.size(); ++rank)
        if (text_of(rank) != text_of(0))
            throw InputError("environment",
                             "rank 0 has an " + text_of(0) + ", rank " + std::to_string(rank) + " an " + text_of(rank),
                             "measure on GPUs that are alike (CUDA_VISIBLE_DEVICES)");
}

} // namespace

GpuSource::GpuSource(Communicator& world, const Config& config, const Topology& topology, PluginSession& session,
                     std::filesystem::path run_folder, std::function<void()> progress)
    : world_(world), config_(config), session_(session), run_folder_(std::move(run_folder)),
      progress_(std::move(progress)), first_gpu_(topology.gpus.at(0)), clock_(world.device()),
      multiprocessors_(topology.gpus.at(static_cast<std::size_t>(world.device())).multiprocessors) {
    require_one_kind(world, topology.gpus.at(static_cast<std::size_t>(world.device())));
}

GpuSource::~GpuSource() = default;

/// This rank's; null where it is in none. Collective when a world size is first asked for.
RankGroup* GpuSource::group_of(int world_size) {
    const auto [at, first] = groups_.try_emplace(world_size);
    std::unique_ptr<RankGroup>& group = at->second;
    if (first) {
        const int groups = world_.size() / world_size;
        const int color = world_.rank() / world_size;
        auto comm = world_.split(color < groups ? color : -1, world_.rank());
        if (comm)
            group = std::make_unique<RankGroup>(std::move(*comm), config_, multiprocessors_, first_gpu_.major, clock_,
                                                session_);
    }
    return group.get();
}

/// By how much (ln, the median over algorithms) one group is slower while the others do the same, in pairs of blocks in
/// turns: alone, together; together, alone. The same on all ranks.
double GpuSource::disturbance(const Trial& trial, int groups, int session) {
    const int world_size = trial.point.cell.world_size;
    const int my_group = world_.rank() / world_size;
    std::vector<double> alone, together;
    for (const bool side_by_side : {false, true, true, false}) {
        world_.barrier();
        progress_();
        if (my_group >= (side_by_side ? groups : 1)) continue;
        for (const Record& record : group_of(world_size)->measure(trial, session))
            (side_by_side ? together : alone).push_back(record.status == SampleStatus::ok ? record.latency_us : 0);
    }
    double slower = median_log_ratio(alone, together);
    world_.broadcast_bytes(std::as_writable_bytes(std::span(&slower, 1)), 0);
    progress_();
    return slower;
}

/// The first session to ask finds out; later ones of the run take what rank 0 has kept.
int GpuSource::groups_at_a_time(const Trial& first, int session) {
    const int world_size = first.point.cell.world_size;
    if (const auto known = at_a_time_.find(world_size); known != at_a_time_.end()) return known->second;
    group_of(world_size); // collective: also on ranks that are in no group
    const int groups = world_.size() / world_size;
    int& at_a_time = at_a_time_[world_size] = groups;
    if (groups == 1) return at_a_time;

    const bool writer = world_.rank() == 0;
    int kept = writer ? kept_side_by_side(run_folder_, world_size, groups).value_or(0) : 0;
    world_.broadcast_bytes(std::as_writable_bytes(std::span(&kept, 1)), 0);
    if (kept > 0) return at_a_time = kept;

    std::set<std::string> of_libraries;
    for (const PluginInfo& candidate : config_.candidates) of_libraries.insert(candidate.name);
    const double slower = disturbance(load_trial(first, of_libraries, config_.max_message_bytes), groups, session);
    at_a_time = groups_side_by_side(groups, slower);
    if (writer) keep_side_by_side(run_folder_, world_size, at_a_time);
    if (writer)
        std::fprintf(stderr, "crossover: %d groups of world size %d side by side: %+.1f %% over one's time alone%s\n",
                     groups, world_size, 100 * std::expm1(slower), at_a_time < groups ? ", so one measures alone" : "");
    return at_a_time;
}

std::vector<Sample> GpuSource::measure(int session, std::span<const Trial> trials) {
    if (trials.empty()) return {};
    const auto groups = static_cast<std::size_t>(groups_at_a_time(trials.front(), session));
    return measure_round(session, trials.first(std::min(groups, trials.size())));
}

/// The i-th trial by the i-th group.
std::vector<Sample> GpuSource::measure_round(int session, std::span<const Trial> trials) {
    const auto world_size = static_cast<std::size_t>(trials.front().point.cell.world_size);
    const std::size_t my_group = static_cast<std::size_t>(world_.rank()) / world_size;
    std::size_t most = 0;
    for (const Trial& trial : trials) most = std::max(most, trial.algorithms.size());

    std::vector<Record> mine(most);
    if (my_group < trials.size()) {
        const std::vector<Record> records = group_of(static_cast<int>(world_size))->measure(trials[my_group], session);
        std::copy(records.begin(), records.end(), mine.begin());
        progress_();
    }
    const std::vector<std::byte> all = world_.all_gather_bytes(std::as_bytes(std::span<const Record>(mine)));
    progress_();

    std::vector<Sample> samples;
    for (std::size_t i = 0; i < trials.size(); ++i)
        for (std::size_t a = 0; a < trials[i].algorithms.size(); ++a) {
            Record record;
            std::memcpy(&record, all.data() + (i * world_size * most + a) * sizeof record, sizeof record);
            samples.push_back({.session = session,
                               .sku = first_gpu_.name,
                               .compute_capability = first_gpu_.compute_capability(),
                               .point = trials[i].point,
                               .algorithm = trials[i].algorithms[a],
                               .latency_us = record.status == SampleStatus::ok ? record.latency_us : 0,
                               .p10_us = record.status == SampleStatus::ok ? record.p10_us : 0,
                               .p90_us = record.status == SampleStatus::ok ? record.p90_us : 0,
                               .replays = record.status == SampleStatus::ok ? record.replays : 0,
                               .rel_error = record.status == SampleStatus::ok ? record.rel_error : 0,
                               .status = record.status,
                               .note = record.note.data()});
        }
    return samples;
}

std::vector<std::string> GpuSource::launches(std::string_view algorithm, const Point& point) const {
    return launch_ladder(algorithm, point,
                         {.multiprocessors = multiprocessors_,
                          .compute_capability_major = first_gpu_.major,
                          .max_message_bytes = config_.max_message_bytes,
                          .workspace_limit_bytes = config_.workspace_limit_bytes});
}

ClockRange GpuSource::clocks() const {
    const std::vector<std::byte> all = world_.all_gather_bytes(std::as_bytes(std::span(&clock_.kept(), 1)));
    ClockRange clocks;
    for (std::size_t at = 0; at < all.size(); at += sizeof clocks) {
        ClockRange of_rank;
        std::memcpy(&of_rank, all.data() + at, sizeof of_rank);
        clocks.add(of_rank);
    }
    return clocks;
}

Fingerprint fingerprint_of(const Topology& topology, int nodes) {
    return {.sku = topology.gpus.at(0).name,
            .compute_capability = topology.gpus.at(0).compute_capability(),
            .topology = std::string(to_string(topology.link)),
            .multicast = topology.multicast,
            .nodes = nodes};
}

Provenance provenance_of(const Topology& topology, const Config& config) {
    Provenance provenance;
    provenance.driver = topology.driver;
    provenance.cuda = topology.cuda;
    provenance.nccl = topology.nccl;
    const std::time_t now = std::time(nullptr);
    char date[16];
    std::strftime(date, sizeof date, "%Y-%m-%d", std::gmtime(&now));
    provenance.date = date;
    provenance.sessions = config.sessions;
    provenance.extra["cache"] = std::string(to_string(config.cache));
    if (std::ranges::count(config.quants, Quant::fp4) > 0)
        provenance.extra["scale_layout"] = std::string(to_string(config.scale_layout));
    provenance.extra["graph_calls"] = std::to_string(config.graph_calls);
    provenance.extra["graph_start"] = std::string(graph_start(config.graph_calls));
    provenance.extra["trials"] = std::to_string(config.trials);
    return provenance;
}

} // namespace crossover
