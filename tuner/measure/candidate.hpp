#pragma once
/// The one seam to the kernels: a candidate is a way to do the whole call, from the rank's input to the outputs.

#include "comm/symmetric_buffer.hpp"
#include "kernels/fused_allreduce.hpp"
#include "kernels/moe.hpp"

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace crossover {

/// What the MoE patterns need beside CallTensors::call.
struct MoeTensors {
    TokensPerRank tokens{};
    std::array<void*, kMaxWorldSize> outputs{}, output_scales{}; // of a dispatch: every rank's, symmetric memory
    void* rows = nullptr;                                        // scratch: [all tokens, hidden_dim]
    void* padded = nullptr;                                      // scratch: [world_size, most tokens, hidden_dim]
    std::size_t padded_bytes = 0;                                // its room; what does not fit is not supported
    void* linear_scales = nullptr;                               // scratch: [all tokens, hidden_dim / 16] bytes
};

/// One call's tensors on this rank. `call` holds plain memory; the symm_* twins lie in NCCL windows and hold the same.
/// Of a MoE pattern `call` has pattern, dtype, quant, scale layout and scale, the shape of this rank's output (which
/// may have no rows), input, output and output scales; there are no twins and no scratch but that in `moe`.
struct CallTensors {
    FusedAllReduce call;
    MoeTensors moe;
    void* reduced = nullptr; // [num_tokens, hidden_dim] scratch: what an unfused all-reduce gives
    void* normed = nullptr;  // the same, for the norm of separate kernels
    /// Of a sharded residual (`call` has every world_size-th token's): that of consecutive tokens, world_size equal
    /// blocks of them, the last padded. `call`'s input, output and output scales have room for the padding.
    const void* block_residual_in = nullptr;
    const void* symm_input = nullptr;
    void* symm_reduced = nullptr;
};

class GroupPlugin;

class Candidate {
  public:
    virtual ~Candidate() = default;
    /// The algorithm that a time of this candidate counts for; several candidates may share one (the fastest is kept).
    virtual std::string_view algorithm() const = 0;
    /// Why it cannot do this call (one line), of a pattern that algorithm::does() says it does, or nothing. Decided
    /// alike on all ranks.
    virtual std::optional<std::string> unsupported(const CallTensors& tensors) const = 0;
    /// Enqueues one call; may be captured.
    virtual void enqueue(const CallTensors& tensors, cudaStream_t stream) = 0;
    /// Whether it does the whole call. What does not is timed without a check; a bound is made of its time.
    virtual bool is_whole() const { return true; }
    /// Whether its bits are those of the fused kernels' contract: equal on all ranks, and to all others that say so.
    virtual bool bit_exact() const { return false; }
    /// The row of this rank's residual_out that holds a token's; nothing if another rank has it.
    virtual std::optional<std::int64_t> residual_row(const FusedAllReduce&, std::int64_t token) const { return token; }
    /// How it is launched for this call; goes into the sample's note.
    virtual std::string detail(const CallTensors&) const { return {}; }
    /// What it runs, if that is not ours; then enqueue() may throw a PluginError.
    virtual GroupPlugin* plugin() { return nullptr; }
};

/// What candidates run on: one group of ranks.
struct CandidateContext {
    ncclComm_t comm = nullptr;
    Workspace workspace;
    int multiprocessors = 0;
    int compute_capability_major = 0;
    std::string no_windows; // why nccl_symm_* cannot run; empty if it can
};

/// "66 of 132 SMs": those that a launch of this many CTAs keeps from other work, at most.
std::string multiprocessors_used(std::int64_t ctas, const CandidateContext& context);

/// The candidates of an algorithm's name (tuner/workload.hpp). `oneshot[cluster=8,clusters=16,threads=128,ahead=1,
/// behind=1]` runs with these launch parameters. @throws InputError for an unknown name.
std::vector<std::unique_ptr<Candidate>> make_candidates(const std::string& algorithm, const CandidateContext& context);
/// Those of the MoE patterns' algorithms; none for any other name.
std::vector<std::unique_ptr<Candidate>> make_moe_candidates(std::string_view algorithm,
                                                            const CandidateContext& context);
/// The one of them that runs our kernels.
std::unique_ptr<Candidate> make_moe_push(const CandidateContext& context);

} // namespace crossover
