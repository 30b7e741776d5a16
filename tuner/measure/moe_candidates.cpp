// The candidates of the MoE patterns: NCCL's paths. (Ours: moe_push.cpp.)
//
// All give what moe.hpp promises, from the same tensors: rows lie in rank order without gaps. Where an algorithm wants
// another form it pays for the change, as an engine would. All-reduces work on rows padded to the largest rank; where
// padding displaces nothing (all ranks have the same number) nothing is copied. Scales that are quantized before a
// gather travel in the linear layout, in which a rank's are one piece, and are swizzled where they arrive: tiles of the
// swizzled layout would be shared between ranks.

#include "comm/nccl_check.hpp"
#include "kernels/reference.hpp"
#include "tuner/measure/candidate.hpp"
#include "tuner/measure/nccl_path.hpp"
#include "tuner/workload.hpp"

#include <algorithm>

namespace crossover {
namespace {

/// NCCL calls that make one operation.
template <class Calls>
void in_group(Calls calls) {
    CROSSOVER_NCCL_CHECK(ncclGroupStart());
    calls();
    CROSSOVER_NCCL_CHECK(ncclGroupEnd());
}

std::byte* at(void* tensor, std::size_t offset) { return static_cast<std::byte*>(tensor) + offset; }

void copy(void* to, const void* from, std::size_t bytes, cudaStream_t stream) {
    if (bytes > 0) CROSSOVER_CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream));
}

std::size_t row_bytes(const FusedAllReduce& call) {
    return static_cast<std::size_t>(call.hidden_dim) * element_size(call.dtype);
}
std::size_t quantized_row_bytes(const FusedAllReduce& call) {
    return call.quant == Quant::none ? row_bytes(call)
                                     : static_cast<std::size_t>(call.hidden_dim) / (call.quant == Quant::fp4 ? 2 : 1);
}

/// How the tokens lie, as bytes of rows of one kind.
class Split {
  public:
    Split(const CallTensors& tensors, const CandidateContext& context)
        : tokens_(tensors.moe.tokens), world_(context.workspace.peers.world_size), rank_(context.workspace.peers.rank) {
    }

    int world() const { return world_; }
    int rank() const { return rank_; }
    std::size_t all() const { return static_cast<std::size_t>(sum_of(tokens_)); }
    std::size_t most() const { return static_cast<std::size_t>(*std::max_element(tokens_.begin(), tokens_.end())); }
    std::size_t of(int rank) const { return static_cast<std::size_t>(tokens_[static_cast<std::size_t>(rank)]); }
    std::size_t own() const { return of(rank_); }
    std::size_t before(int rank) const { return static_cast<std::size_t>(offset_of(tokens_, rank)); }
    bool even() const { return all() == most() * static_cast<std::size_t>(world_); }
    std::size_t padded() const { return most() * static_cast<std::size_t>(world_); }

  private:
    TokensPerRank tokens_;
    int world_, rank_;
};

/// A tensor of all ranks' rows, and where this rank's come from: elsewhere, or their place in it.
struct Rows {
    const void* own;
    void* all;
    std::size_t row_bytes;
};

class MoeCandidate : public Candidate {
  public:
    /// `grouped`: calls that allow another size on every rank, not the collective that wants the same.
    MoeCandidate(std::string_view name, bool grouped, const CandidateContext& context)
        : name_(name), grouped_(grouped), context_(context) {}

    std::string_view algorithm() const override { return name_; }

  protected:
    std::optional<std::string> unsupported_split(const CallTensors& tensors) const {
        if (!grouped_ && !Split(tensors, context_).even()) return "ranks have different numbers of tokens";
        return std::nullopt;
    }
    std::optional<std::string> unsupported_padding(const CallTensors& tensors) const {
        const std::size_t needed = Split(tensors, context_).padded() * row_bytes(tensors.call);
        if (needed <= tensors.moe.padded_bytes) return std::nullopt;
        return "padded to the largest rank the tokens take " + std::to_string(needed) + " bytes, and there are " +
               std::to_string(tensors.moe.padded_bytes);
    }
    /// All-reduces the padded rows in place.
    void all_reduce_padded(const CallTensors& tensors, cudaStream_t stream) const {
        const std::size_t elements =
            Split(tensors, context_).padded() * static_cast<std::size_t>(tensors.call.hidden_dim);
        CROSSOVER_NCCL_CHECK(ncclAllReduce(tensors.moe.padded, tensors.moe.padded, elements,
                                           nccl_type(tensors.call.dtype), ncclSum, context_.comm, stream));
    }
    /// Gives every rank all rows of all these tensors.
    void gather(const CallTensors& tensors, std::initializer_list<Rows> parts, cudaStream_t stream) const {
        const Split split(tensors, context_);
        in_group([&] {
            for (const auto& [own, all, bytes] : parts) {
                if (bytes == 0) continue;
                if (!grouped_) {
                    CROSSOVER_NCCL_CHECK(
                        ncclAllGather(own, all, split.own() * bytes, ncclUint8, context_.comm, stream));
                    continue;
                }
                for (int root = 0; root < split.world(); ++root)
                    if (split.of(root) > 0)
                        CROSSOVER_NCCL_CHECK(ncclBroadcast(own, at(all, split.before(root) * bytes),
                                                           split.of(root) * bytes, ncclUint8, root, context_.comm,
                                                           stream));
            }
        });
    }
    /// Quantizes `rows` rows of dtype.
    static void quantize(const CallTensors& tensors, const void* from, std::size_t rows, ScaleLayout layout, void* to,
                         void* scales, cudaStream_t stream) {
        if (rows == 0) return;
        FusedAllReduce call = tensors.call;
        call.num_tokens = static_cast<std::int64_t>(rows);
        call.scale_layout = layout;
        call.output = to;
        call.output_scales = scales;
        unfused::quantize(call, from, kPdl, stream);
    }

    std::string_view name_;
    bool grouped_;
    CandidateContext context_;
};

/// Zeros everywhere but in this rank's place, all-reduced, then quantized.
class AllReduceQuantize : public MoeCandidate {
  public:
    using MoeCandidate::MoeCandidate;

    std::optional<std::string> unsupported(const CallTensors& tensors) const override {
        return unsupported_padding(tensors);
    }
    void enqueue(const CallTensors& tensors, cudaStream_t stream) override {
        const FusedAllReduce& call = tensors.call;
        const Split split(tensors, context_);
        const std::size_t bytes = row_bytes(call);
        const auto slot = [&](int rank) {
            return at(tensors.moe.padded, static_cast<std::size_t>(rank) * split.most() * bytes);
        };
        CROSSOVER_CUDA_CHECK(cudaMemsetAsync(tensors.moe.padded, 0, split.padded() * bytes, stream));
        copy(slot(split.rank()), call.input, split.own() * bytes, stream);
        all_reduce_padded(tensors, stream);
        const bool quantized = call.quant != Quant::none;
        void* const rows = quantized ? tensors.moe.rows : call.output;
        if (!split.even() || !quantized)
            for (int rank = 0; rank < (split.even() ? 1 : split.world()); ++rank)
                copy(at(rows, split.before(rank) * bytes), slot(rank),
                     (split.even() ? split.all() : split.of(rank)) * bytes, stream);
        if (quantized)
            quantize(tensors, split.even() ? tensors.moe.padded : rows, split.all(), call.scale_layout, call.output,
                     call.output_scales, stream);
    }
};

/// Rows of dtype gathered, then quantized.
class AllGatherQuantize : public MoeCandidate {
  public:
    using MoeCandidate::MoeCandidate;

    bool bit_exact() const override { return true; }
    std::optional<std::string> unsupported(const CallTensors& tensors) const override {
        return unsupported_split(tensors);
    }
    void enqueue(const CallTensors& tensors, cudaStream_t stream) override {
        const FusedAllReduce& call = tensors.call;
        const Split split(tensors, context_);
        const bool quantized = call.quant != Quant::none;
        void* const rows = quantized ? tensors.moe.rows : call.output;
        gather(tensors, {{call.input, rows, row_bytes(call)}}, stream);
        if (quantized) quantize(tensors, rows, split.all(), call.scale_layout, call.output, call.output_scales, stream);
    }
    std::string detail(const CallTensors&) const override { return grouped_ ? "grouped broadcasts" : "all-gather"; }
};

/// Own rows quantized, then values and scales gathered in one group.
class QuantizeAllGather : public MoeCandidate {
  public:
    using MoeCandidate::MoeCandidate;

    bool bit_exact() const override { return true; }
    std::optional<std::string> unsupported(const CallTensors& tensors) const override {
        if (auto reason = unsupported_split(tensors)) return reason;
        if (tensors.call.quant == Quant::none) return "nothing is quantized: as nccl_allgather_quantize";
        if (quantized_row_bytes(tensors.call) % 16 != 0) return "quantized rows are not aligned to 16 bytes";
        return std::nullopt;
    }
    void enqueue(const CallTensors& tensors, cudaStream_t stream) override {
        const FusedAllReduce& call = tensors.call;
        const Split split(tensors, context_);
        const std::size_t blocks =
            call.quant == Quant::fp4 ? static_cast<std::size_t>(call.hidden_dim / kFp4BlockSize) : 0;
        const bool swizzle = blocks > 0 && call.scale_layout == ScaleLayout::swizzled;
        void* const linear = swizzle ? tensors.moe.linear_scales : call.output_scales;
        const std::size_t bytes = quantized_row_bytes(call), before = split.before(split.rank());
        void* const own = at(call.output, before * bytes);
        void* const own_scales = at(linear, before * blocks);
        quantize(tensors, call.input, split.own(), ScaleLayout::linear, own, own_scales, stream);
        gather(tensors, {{own, call.output, bytes}, {own_scales, linear, blocks}}, stream);
        if (swizzle)
            unfused::swizzle_scales(linear, call.output_scales, static_cast<std::int64_t>(split.all()),
                                    static_cast<std::int64_t>(blocks), kPdl, stream);
    }
    std::string detail(const CallTensors&) const override { return grouped_ ? "grouped broadcasts" : "all-gather"; }
};

/// Padded rows all-reduced, of which a rank keeps its own.
class AllReduceSlice : public MoeCandidate {
  public:
    using MoeCandidate::MoeCandidate;

    std::optional<std::string> unsupported(const CallTensors& tensors) const override {
        return unsupported_padding(tensors);
    }
    void enqueue(const CallTensors& tensors, cudaStream_t stream) override {
        const FusedAllReduce& call = tensors.call;
        const Split split(tensors, context_);
        const std::size_t bytes = row_bytes(call);
        if (split.even()) {
            CROSSOVER_NCCL_CHECK(ncclAllReduce(call.input, tensors.moe.padded,
                                               split.all() * static_cast<std::size_t>(call.hidden_dim),
                                               nccl_type(call.dtype), ncclSum, context_.comm, stream));
        } else { // what lies in the padding is summed and not looked at
            for (int rank = 0; rank < split.world(); ++rank)
                copy(at(tensors.moe.padded, static_cast<std::size_t>(rank) * split.most() * bytes),
                     static_cast<const std::byte*>(call.input) + split.before(rank) * bytes, split.of(rank) * bytes,
                     stream);
            all_reduce_padded(tensors, stream);
        }
        copy(call.output, at(tensors.moe.padded, static_cast<std::size_t>(split.rank()) * split.most() * bytes),
             split.own() * bytes, stream);
    }
};

/// Every rank's rows reduced to it.
class ReduceScatter : public MoeCandidate {
  public:
    using MoeCandidate::MoeCandidate;

    std::optional<std::string> unsupported(const CallTensors& tensors) const override {
        return unsupported_split(tensors);
    }
    void enqueue(const CallTensors& tensors, cudaStream_t stream) override {
        const FusedAllReduce& call = tensors.call;
        const Split split(tensors, context_);
        const auto hidden = static_cast<std::size_t>(call.hidden_dim);
        const ncclDataType_t type = nccl_type(call.dtype);
        if (!grouped_) {
            CROSSOVER_NCCL_CHECK(
                ncclReduceScatter(call.input, call.output, split.own() * hidden, type, ncclSum, context_.comm, stream));
            return;
        }
        in_group([&] {
            for (int root = 0; root < split.world(); ++root)
                if (split.of(root) > 0)
                    CROSSOVER_NCCL_CHECK(
                        ncclReduce(static_cast<const std::byte*>(call.input) + split.before(root) * row_bytes(call),
                                   call.output, split.of(root) * hidden, type, ncclSum, root, context_.comm, stream));
        });
    }
    std::string detail(const CallTensors&) const override { return grouped_ ? "grouped reduces" : "reduce-scatter"; }
};

} // namespace

std::vector<std::unique_ptr<Candidate>> make_moe_candidates(std::string_view name, const CandidateContext& context) {
    std::vector<std::unique_ptr<Candidate>> candidates;
    const auto add = [&]<class C>(std::type_identity<C>, std::string_view constant, bool grouped) {
        candidates.push_back(std::make_unique<C>(constant, grouped, context));
    };
    if (name == algorithm::nccl_allreduce_quantize)
        add(std::type_identity<AllReduceQuantize>{}, algorithm::nccl_allreduce_quantize, true);
    if (name == algorithm::nccl_allreduce_slice)
        add(std::type_identity<AllReduceSlice>{}, algorithm::nccl_allreduce_slice, true);
    if (name == algorithm::push) candidates.push_back(make_moe_push(context));
    for (const bool grouped : {false, true}) {
        if (name == algorithm::nccl_allgather_quantize)
            add(std::type_identity<AllGatherQuantize>{}, algorithm::nccl_allgather_quantize, grouped);
        if (name == algorithm::quantize_nccl_allgather)
            add(std::type_identity<QuantizeAllGather>{}, algorithm::quantize_nccl_allgather, grouped);
        if (name == algorithm::nccl_reduce_scatter)
            add(std::type_identity<ReduceScatter>{}, algorithm::nccl_reduce_scatter, grouped);
    }
    return candidates;
}

} // namespace crossover
