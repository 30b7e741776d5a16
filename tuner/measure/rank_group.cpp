// How a group checks what it times; rank_group_timing.cpp has the times.

#include "tuner/measure/rank_group.hpp"

#include "kernels/device/arguments.hpp"
#include "kernels/input_pattern.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace crossover {
namespace {

/// A seed of its own for every point and session: inputs are fresh.
std::uint64_t seed_of(const Point& point, int session) {
    std::uint64_t seed = static_cast<std::uint64_t>(session) + 1;
    for (const std::int64_t part : {point.hidden_dim, point.num_tokens, static_cast<std::int64_t>(point.cell.quant),
                                    static_cast<std::int64_t>(point.cell.world_size)})
        seed = detail::mix(seed + static_cast<std::uint64_t>(part));
    return seed;
}

/// Why no algorithm can be measured at a point, or nothing.
std::optional<std::string> not_measurable(const Point& point) {
    // No kernel takes it, the baselines' norms neither; nor is there room for its gamma or padding.
    constexpr std::int64_t longest_row = std::int64_t{device::kMaxUnitsPerRow} * device::kUnitBytes;
    if (point.hidden_dim * static_cast<std::int64_t>(element_size(point.cell.dtype)) > longest_row)
        return "a row of more than " + std::to_string(longest_row) + " bytes";
    return std::nullopt;
}

} // namespace

RankGroup::RankGroup(Communicator comm, const Config& config, int multiprocessors, int compute_capability_major,
                     ClockWatch& clock, PluginSession& session)
    : comm_(std::move(comm)), config_(config), clock_(clock),
      arena_(comm_, config.max_message_bytes, config.cache == CacheState::cold ? config.graph_calls : kHotRing,
             config.scale_layout),
      slots_(comm_, std::min(workspace_bytes(comm_.size(), config.max_message_bytes),
                             static_cast<std::size_t>(config.workspace_limit_bytes))),
      barrier_(comm_), session_(session) {
    if (std::any_of(config.patterns.begin(), config.patterns.end(), is_moe))
        moe_arena_.emplace(comm_, config.max_message_bytes,
                           config.cache == CacheState::cold ? config.graph_calls : kHotRing, config.scale_layout);
    context_.comm = comm_.nccl();
    context_.workspace.peers = slots_.peers();
    context_.workspace.bytes = slots_.bytes();
    context_.workspace.timeout_ns = timeout_ns();
    context_.multiprocessors = multiprocessors;
    context_.compute_capability_major = compute_capability_major;
    context_.no_windows = arena_.no_windows();
    reset_workspace_on_all();
    for (const auto& [name, functions] : session_.candidates)
        plugins_[name] = std::make_unique<GroupPlugin>(*functions, comm_, config_, context_, session_.in_flight);
}

void RankGroup::reset_workspace_on_all() {
    reset_workspace(context_.workspace, stream_.get());
    comm_.wait(stream_.get(), "workspace reset");
    comm_.barrier();
}

/// A device wait that timed out on any rank: all ranks reset their workspaces and say who missed whom.
std::optional<std::string> RankGroup::agree_on_timeout() {
    const auto mine = read_timeout(context_.workspace, stream_.get());
    if (mine && mine->rank == comm_.rank())
        std::fprintf(stderr, "crossover: %s\n", to_string(*mine).c_str()); // more than fits into a note
    // Ranks and peers as numbers that survive a max-reduction; −1 where nothing timed out.
    std::array<double, 2> who{mine ? mine->rank : -1.0, mine ? mine->peer : -1.0};
    comm_.max_all_reduce(who);
    if (who[0] < 0) return std::nullopt;
    reset_workspace_on_all();
    return "a wait timed out after " + std::to_string(static_cast<int>(config_.timeout_ms)) + " ms (rank " +
           std::to_string(static_cast<int>(who[0])) + ", waiting for rank " + std::to_string(static_cast<int>(who[1])) +
           " or lower)";
}

/// What went wrong on any rank; the others' words are on stderr.
std::optional<std::string> RankGroup::agree(const std::optional<std::string>& mine) {
    if (mine && comm_.rank() != 0) std::fprintf(stderr, "crossover: %s\n", mine->c_str());
    if (!comm_.any(mine.has_value())) return std::nullopt;
    return mine ? *mine : "failed on another rank";
}

std::vector<std::unique_ptr<Candidate>> RankGroup::candidates_of(const std::string& algorithm) {
    const auto found = plugins_.find(algorithm);
    if (found == plugins_.end()) return make_candidates(algorithm, context_);
    std::vector<std::unique_ptr<Candidate>> candidates;
    candidates.push_back(make_candidate(algorithm, *found->second));
    return candidates;
}

/// Runs one call on poisoned outputs; the reason if it is not right.
std::optional<std::string> RankGroup::check(Contender& contender, const Point& point, const Verifier& verifier,
                                            SampleStatus& status) {
    const CallTensors tensors = tensors_of(point).at(point, 0);
    tensors_of(point).poison(point, stream_.get());
    std::optional<std::string> refused;
    try {
        contender.candidate->enqueue(tensors, stream_.get());
    } catch (const PluginError& error) {
        refused = error.what();
    } catch (const CudaError& error) { // a launch that this GPU does not take; what is worse ends the wait
        static_cast<void>(cudaGetLastError());
        refused = error.what();
    }
    comm_.wait(stream_.get(), "correctness check");
    if (auto timeout = agree_on_timeout()) {
        status = SampleStatus::timeout;
        return timeout;
    }
    status = SampleStatus::failed;
    if (auto problem = agree(refused)) return problem;
    if (GroupPlugin* const plugin = contender.candidate->plugin()) {
        status = SampleStatus::timeout;
        if (auto problem = agree(plugin->device_problem(stream_.get()))) return problem;
    }
    const bool symmetric_output =
        !has_norm(point.cell.pattern) && contender.candidate->algorithm().starts_with("nccl_symm");
    std::array<double, 3> worst{
        verifier.relative_error(
            tensors, symmetric_output ? tensors.symm_reduced : tensors.call.output,
            [&](std::int64_t token) { return contender.candidate->residual_row(tensors.call, token); }),
        0, 0};
    worst[1] = tensors_of(point).hash_outputs(point, stream_.get());
    worst[2] = -worst[1];
    if (!std::isfinite(worst[0])) worst[0] = 1e30;
    comm_.max_all_reduce(worst);
    contender.rel_error = worst[0];
    contender.hash = worst[1]; // the same on all ranks
    status = SampleStatus::failed;
    const bool exact = contender.candidate->bit_exact();
    if (contender.rel_error > verifier.tolerance(exact))
        return "relative error " + std::to_string(contender.rel_error) + " is above " +
               std::to_string(verifier.tolerance(exact));
    if (exact && !is_moe_combine(point.cell.pattern) && worst[1] != -worst[2]) return "outputs differ between ranks";
    return std::nullopt;
}

/// Adds an algorithm's candidates that can do the point, and do it right; if one cannot, the record says why.
void RankGroup::add_contenders(const Trial& trial, std::size_t index, const Verifier& verifier,
                               std::vector<Contender>& contenders, Record& record) {
    const Point& point = trial.point;
    const std::string& name = trial.algorithms[index];
    if (const auto excluded = exclusion(session_.verdicts, name, point))
        return record.set(excluded->status, excluded->note);
    if (!algorithm::does(name, point.cell.pattern))
        return record.set(SampleStatus::skipped, "this algorithm does not do the pattern");
    const CallTensors tensors = tensors_of(point).at(point, 0);
    for (auto& candidate : candidates_of(name)) {
        GroupPlugin* const plugin = candidate->plugin();
        std::optional<InFlightFile::Scope> scope;
        if (plugin) scope.emplace(session_.in_flight, Phase::check, point, std::span(&name, 1));
        if (auto reason = candidate->unsupported(tensors)) {
            record.set(SampleStatus::skipped, *reason);
            continue;
        }
        if (auto reason = plugin ? plugin->set_up(point) : std::nullopt) {
            record.set(SampleStatus::failed, *reason);
            continue;
        }
        Contender contender{.algorithm = index, .candidate = std::move(candidate)};
        SampleStatus status = SampleStatus::ok;
        std::optional<std::string> problem;
        if (contender.candidate->is_whole()) problem = check(contender, point, verifier, status);
        for (const Contender& other : contenders) // on rank 0 as on all: equal hashes were checked
            if (!problem && contender.candidate->bit_exact() && other.candidate->bit_exact() &&
                contender.hash != other.hash)
                problem = "bits differ from " + std::string(other.candidate->algorithm());
        if (problem)
            record.set(status, *problem);
        else
            contenders.push_back(std::move(contender));
    }
}

/// Replaying did not change what is computed: the last call's outputs are the first one's.
void RankGroup::check_again(Contender& contender, const Trial& trial, const Verifier& verifier, Record& record) {
    GroupPlugin* const plugin = contender.candidate->plugin();
    if (!contender.timed || !(contender.candidate->bit_exact() || plugin)) return;
    std::optional<InFlightFile::Scope> scope;
    if (plugin)
        scope.emplace(session_.in_flight, Phase::check, trial.point,
                      std::span(&trial.algorithms[contender.algorithm], 1));
    SampleStatus status = SampleStatus::ok;
    const double before = contender.hash;
    auto problem = check(contender, trial.point, verifier, status);
    if (!problem && contender.candidate->bit_exact() && contender.hash != before)
        problem = "outputs changed between two calls";
    if (problem) record.set(status, *problem);
}

std::vector<Record> RankGroup::measure(const Trial& trial, int session) {
    const Point& point = trial.point;
    std::vector<Record> records(trial.algorithms.size());
    if (const auto reason = not_measurable(point)) {
        for (Record& record : records) record.set(SampleStatus::skipped, *reason);
        return records;
    }
    const std::uint64_t seed = seed_of(point, session);
    tensors_of(point).fill(point, seed, comm_.rank(), stream_.get());
    const Verifier verifier(point, seed, comm_.rank());
    std::vector<Contender> contenders;
    for (std::size_t i = 0; i < trial.algorithms.size(); ++i)
        add_contenders(trial, i, verifier, contenders, records[i]);

    // All take turns, unless it is to be found out which one of several from libraries fails.
    std::vector<std::vector<Contender*>> blocks(1);
    const bool apart = run_apart(session_.verdicts, point);
    for (Contender& contender : contenders) {
        if (apart && contender.candidate->plugin())
            blocks.push_back({&contender});
        else
            blocks.front().push_back(&contender);
    }
    for (const std::vector<Contender*>& block : blocks)
        if (!block.empty()) time(block, point, records);
    for (Contender& contender : contenders) check_again(contender, trial, verifier, records[contender.algorithm]);
    return records;
}

} // namespace crossover
