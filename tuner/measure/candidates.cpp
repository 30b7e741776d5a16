#include "comm/nccl_check.hpp"
#include "kernels/moe.hpp"
#include "kernels/reference.hpp"
#include "tuner/error.hpp"
#include "tuner/launch_name.hpp"
#include "tuner/measure/candidate.hpp"
#include "tuner/measure/nccl_path.hpp"
#include "tuner/named_words.hpp"
#include "tuner/workload.hpp"

#include <algorithm>
#include <utility>

namespace crossover {
namespace {

/// A launch in words: a cluster without a token is not launched.
std::string described(const LaunchParameters& launch, const FusedAllReduce& call, const CandidateContext& context) {
    const std::int64_t clusters = std::min<std::int64_t>(launch.clusters, call.num_tokens);
    return to_string(launch) + "; " + multiprocessors_used(clusters * launch.cluster_size, context);
}

class FusedCandidate : public Candidate {
  public:
    FusedCandidate(std::string name, Fused algorithm, std::optional<LaunchParameters> launch,
                   const CandidateContext& context)
        : name_(std::move(name)), algorithm_(algorithm), launch_(launch), context_(context) {}

    std::string_view algorithm() const override { return name_; }
    bool bit_exact() const override { return true; }
    std::optional<std::string> unsupported(const CallTensors& tensors) const override {
        return crossover::unsupported(algorithm_, tensors.call, context_.workspace, launch_for(tensors.call));
    }
    void enqueue(const CallTensors& tensors, cudaStream_t stream) override {
        run(algorithm_, tensors.call, context_.workspace, launch_for(tensors.call), stream);
    }
    std::string detail(const CallTensors& tensors) const override {
        return described(launch_for(tensors.call), tensors.call, context_);
    }
    std::optional<std::int64_t> residual_row(const FusedAllReduce& call, std::int64_t token) const override {
        if (!is_sharded(call.pattern)) return token;
        const Peers& peers = context_.workspace.peers;
        return token % peers.world_size == peers.rank ? std::optional(token / peers.world_size) : std::nullopt;
    }

    static void run(Fused algorithm, const FusedAllReduce& call, const Workspace& workspace,
                    const LaunchParameters& launch, cudaStream_t stream) {
        (algorithm == Fused::oneshot ? oneshot : twoshot)(call, workspace, launch, stream);
    }

  private:
    LaunchParameters launch_for(const FusedAllReduce& call) const {
        return launch_ ? *launch_
                       : default_launch(algorithm_, call, context_.workspace, context_.multiprocessors,
                                        context_.compute_capability_major);
    }

    std::string name_;
    Fused algorithm_;
    std::optional<LaunchParameters> launch_;
    CandidateContext context_;
};

/// What follows an all-reduce: one kernel, or one each for residual, norm and quantization.
void enqueue_norm(const CallTensors& tensors, const void* reduced, bool separate, cudaStream_t stream) {
    FusedAllReduce call = tensors.call;
    call.input = reduced;
    if (!separate) return unfused::fused_norm(call, kPdl, stream);
    const void* summed = reduced;
    if (has_residual(call.pattern)) {
        unfused::add_residual(call, kPdl, stream);
        summed = call.residual_out;
    }
    const bool quantized = call.quant != Quant::none;
    void* const normed = quantized ? tensors.normed : call.output;
    unfused::rmsnorm(call, summed, normed, kPdl, stream);
    if (quantized) unfused::quantize(call, normed, kPdl, stream);
}

class NcclCandidate : public Candidate {
  public:
    NcclCandidate(std::string_view name, bool symmetric, bool separate, const CandidateContext& context)
        : name_(name), symmetric_(symmetric), separate_(separate), context_(context) {}

    std::string_view algorithm() const override { return name_; }
    std::optional<std::string> unsupported(const CallTensors&) const override {
        if (symmetric_ && !context_.no_windows.empty()) return "no NCCL symmetric windows: " + context_.no_windows;
        return std::nullopt;
    }
    void enqueue(const CallTensors& tensors, cudaStream_t stream) override {
        const FusedAllReduce& call = tensors.call;
        const bool norm = has_norm(call.pattern);
        const void* const input = symmetric_ ? tensors.symm_input : call.input;
        // Without a norm the all-reduce's result is the output; windows need it in theirs, where it is then copied from
        // when it is checked, not when it is timed.
        void* const reduced = symmetric_ ? tensors.symm_reduced : norm ? tensors.reduced : call.output;
        CROSSOVER_NCCL_CHECK(ncclAllReduce(input, reduced, static_cast<std::size_t>(call.num_tokens * call.hidden_dim),
                                           nccl_type(call.dtype), ncclSum, context_.comm, stream));
        if (norm) enqueue_norm(tensors, reduced, separate_, stream);
    }

  private:
    std::string_view name_;
    bool symmetric_, separate_;
    CandidateContext context_;
};

/// Our all-reduce, then the single norm kernel: the unfused path of an engine that has a good all-reduce of its own.
class CustomFusedNormCandidate : public Candidate {
  public:
    CustomFusedNormCandidate(Fused allreduce, const CandidateContext& context)
        : allreduce_(allreduce), context_(context) {}

    std::string_view algorithm() const override { return algorithm::custom_fused_norm; }
    std::optional<std::string> unsupported(const CallTensors& tensors) const override {
        const FusedAllReduce call = allreduce_only(tensors);
        return crossover::unsupported(allreduce_, call, context_.workspace, launch_for(call));
    }
    void enqueue(const CallTensors& tensors, cudaStream_t stream) override {
        const FusedAllReduce call = allreduce_only(tensors);
        FusedCandidate::run(allreduce_, call, context_.workspace, launch_for(call), stream);
        enqueue_norm(tensors, tensors.reduced, false, stream);
    }
    std::string detail(const CallTensors& tensors) const override {
        const FusedAllReduce call = allreduce_only(tensors);
        return std::string(allreduce_ == Fused::oneshot ? "oneshot " : "twoshot ") +
               described(launch_for(call), call, context_);
    }

  private:
    static FusedAllReduce allreduce_only(const CallTensors& tensors) {
        FusedAllReduce call = tensors.call;
        call.pattern = Pattern::allreduce;
        call.quant = Quant::none;
        call.output = tensors.reduced;
        return call;
    }
    LaunchParameters launch_for(const FusedAllReduce& call) const {
        return default_launch(allreduce_, call, context_.workspace, context_.multiprocessors,
                              context_.compute_capability_major);
    }

    Fused allreduce_;
    CandidateContext context_;
};

/// A sharded residual without our kernel: NCCL reduce-scatters, one kernel norms and quantizes the rank's rows, NCCL
/// all-gathers what it wrote. NCCL's shares are blocks of consecutive tokens and all of one size, so tokens are padded
/// to a multiple of the world size, as engines pad them; ownership by blocks costs the same time as any other.
class NcclShardedNormCandidate : public Candidate {
  public:
    explicit NcclShardedNormCandidate(const CandidateContext& context) : context_(context) {}

    std::string_view algorithm() const override { return algorithm::nccl_sharded_norm; }
    std::optional<std::string> unsupported(const CallTensors&) const override { return std::nullopt; }
    std::optional<std::int64_t> residual_row(const FusedAllReduce& call, std::int64_t token) const override {
        const std::int64_t rows = rows_per_rank(call);
        return token / rows == context_.workspace.peers.rank ? std::optional(token % rows) : std::nullopt;
    }
    void enqueue(const CallTensors& tensors, cudaStream_t stream) override {
        const FusedAllReduce& call = tensors.call;
        const std::int64_t rows = rows_per_rank(call);
        const auto elements = static_cast<std::size_t>(rows * call.hidden_dim);
        CROSSOVER_NCCL_CHECK(ncclReduceScatter(call.input, tensors.reduced, elements, nccl_type(call.dtype), ncclSum,
                                               context_.comm, stream));
        FusedAllReduce norm = call;
        norm.pattern = Pattern::allreduce_residual_rmsnorm;
        norm.num_tokens = rows;
        norm.input = tensors.reduced;
        norm.residual_in = tensors.block_residual_in;
        norm.output = tensors.normed;
        const bool fp4 = call.quant == Quant::fp4;
        const std::size_t values = fp4 ? elements / 2 : elements; // bytes, if quantized
        const std::size_t scales = elements / kFp4BlockSize;
        if (fp4) { // scales of a few rows do not fill the tiles of the swizzled layout
            norm.scale_layout = ScaleLayout::linear;
            norm.output_scales = static_cast<std::byte*>(tensors.normed) + values;
        }
        unfused::fused_norm(norm, kPdl, stream);
        if (call.quant == Quant::none) {
            gather(norm.output, call.output, elements, nccl_type(call.dtype), stream);
            return;
        }
        if (!fp4) {
            gather(norm.output, call.output, values, ncclUint8, stream);
            return;
        }
        const bool swizzle = call.scale_layout == ScaleLayout::swizzled;
        void* const gathered = swizzle ? tensors.reduced : call.output_scales;
        CROSSOVER_NCCL_CHECK(ncclGroupStart());
        gather(norm.output, call.output, values, ncclUint8, stream);
        gather(norm.output_scales, gathered, scales, ncclUint8, stream);
        CROSSOVER_NCCL_CHECK(ncclGroupEnd());
        if (swizzle)
            unfused::swizzle_scales(gathered, call.output_scales, call.num_tokens, call.hidden_dim / kFp4BlockSize,
                                    kPdl, stream);
    }

  private:
    std::int64_t rows_per_rank(const FusedAllReduce& call) const {
        return residual_rows(call.pattern, call.num_tokens, 0, context_.workspace.peers.world_size);
    }
    void gather(const void* mine, void* all, std::size_t count, ncclDataType_t type, cudaStream_t stream) {
        CROSSOVER_NCCL_CHECK(ncclAllGather(mine, all, count, type, context_.comm, stream));
    }

    CandidateContext context_;
};

/// What is left of a call when nothing is communicated: the single norm kernel on the rank's own input.
class LocalWorkCandidate : public Candidate {
  public:
    explicit LocalWorkCandidate(const CandidateContext& context) : world_size_(context.workspace.peers.world_size) {}

    std::string_view algorithm() const override { return algorithm::floor; }
    std::optional<std::string> unsupported(const CallTensors& tensors) const override {
        if (!has_norm(tensors.call.pattern)) return "pattern allreduce leaves no local work";
        return std::nullopt;
    }
    void enqueue(const CallTensors& tensors, cudaStream_t stream) override {
        CallTensors local = tensors;
        if (is_sharded(local.call.pattern)) { // of the first rank's tokens
            local.call.num_tokens = residual_rows(local.call.pattern, local.call.num_tokens, 0, world_size_);
            local.call.pattern = Pattern::allreduce_residual_rmsnorm;
        }
        enqueue_norm(local, local.call.input, false, stream);
    }
    bool is_whole() const override { return false; }

  private:
    int world_size_;
};

} // namespace

std::string multiprocessors_used(std::int64_t ctas, const CandidateContext& context) {
    return std::to_string(std::min<std::int64_t>(ctas, context.multiprocessors)) + " of " +
           std::to_string(context.multiprocessors) + " SMs";
}

std::vector<std::unique_ptr<Candidate>> make_candidates(const std::string& name, const CandidateContext& context) {
    std::vector<std::unique_ptr<Candidate>> candidates = make_moe_candidates(name, context);
    const auto [base, launch] = parse_launched(name);
    if (algorithm::is_fused(base)) {
        candidates.push_back(std::make_unique<FusedCandidate>(
            name, base == algorithm::oneshot ? Fused::oneshot : Fused::twoshot, launch, context));
    } else if (name == algorithm::floor) {
        candidates.push_back(std::make_unique<LocalWorkCandidate>(context));
    } else if (name == algorithm::nccl_sharded_norm) {
        candidates.push_back(std::make_unique<NcclShardedNormCandidate>(context));
    } else if (name == algorithm::custom_fused_norm) {
        for (const Fused allreduce : {Fused::oneshot, Fused::twoshot})
            candidates.push_back(std::make_unique<CustomFusedNormCandidate>(allreduce, context));
    } else {
        struct {
            std::string_view name;
            bool symmetric, separate;
        } constexpr kinds[] = {{algorithm::nccl, false, false},
                               {algorithm::nccl_symm, true, false},
                               {algorithm::nccl_separate, false, true},
                               {algorithm::nccl_fused_norm, false, false},
                               {algorithm::nccl_symm_separate, true, true},
                               {algorithm::nccl_symm_fused_norm, true, false}};
        for (const auto& kind : kinds)
            if (kind.name == name)
                candidates.push_back(
                    std::make_unique<NcclCandidate>(kind.name, kind.symmetric, kind.separate, context));
    }
    if (candidates.empty())
        throw InputError("algorithm `" + name + "`", "there is no such algorithm",
                         "use one of " + listed(algorithm::kOwn));
    return candidates;
}

} // namespace crossover
