#pragma once
/// Tensors of the MoE collectives for all ranks of an emulated world, and readers of what they give.

#include "kernels/moe_launch.hpp"
#include "tests/emulation/emulated_world.hpp"
#include "tests/emulation/kernels/device/ptx.cuh"
#include "tests/support/moe_calls.hpp"

#include <algorithm>
#include <deque>

namespace crossover::testing {

inline constexpr std::byte kPoison{0xA5};

/// Reads words as the next kernel of the stream does: a.num_tokens of them from a.input to a.output.
inline void copy_kernel(device::Arguments a) {
    device::pdl_wait();
    device::pdl_trigger();
    for (unsigned i = threadIdx.x; i < static_cast<unsigned>(a.num_tokens); i += blockDim.x)
        static_cast<unsigned*>(a.output)[i] = device::load_relaxed_gpu(static_cast<const unsigned*>(a.input) + i);
}

/// Fills `to`, whole words, from the beginning of `from`.
inline void enqueue_copy(const Bytes& from, Bytes& to, cudaStream_t stream) {
    device::Arguments arguments{};
    arguments.input = from.data();
    arguments.output = to.data();
    arguments.num_tokens = static_cast<int>(to.size() / 4);
    arguments.clusters = 1;
    launch_kernel(&copy_kernel, arguments, {.cluster_size = 1, .clusters = 1, .threads = 32}, stream);
}

/// What is common to the calls of both kinds.
struct MoeResults {
    struct OfRank {
        Bytes output, scales;           // where the call writes
        Bytes read_output, read_scales; // as the next kernel of the stream sees it
        bool operator==(const OfRank&) const = default;
    };
    std::vector<OfRank> ranks;

    OfRank& of(int rank) { return ranks[static_cast<std::size_t>(rank)]; }
    void add(std::size_t output_bytes, std::size_t scale_bytes) {
        OfRank& of = ranks.emplace_back();
        for (Bytes* const bytes : {&of.output, &of.read_output}) bytes->assign(output_bytes, kPoison);
        for (Bytes* const bytes : {&of.scales, &of.read_scales}) bytes->assign(scale_bytes, kPoison);
    }
    void enqueue_readers(EmulatedWorld& world) {
        for (int rank = 0; rank < world.size(); ++rank) {
            cudaStream_t const stream = &world.streams[static_cast<std::size_t>(rank)];
            enqueue_copy(of(rank).output, of(rank).read_output, stream);
            enqueue_copy(of(rank).scales, of(rank).read_scales, stream);
        }
    }
};

struct DispatchTensors : MoeResults {
    MoeDispatch shape;
    std::uint64_t seed;
    std::vector<Bytes> inputs;
    float quant_scale;

    DispatchTensors(const MoeDispatch& call, int world, std::uint64_t input_seed) : shape(call), seed(input_seed) {
        const FusedAllReduce rows = gathered(call);
        for (int rank = 0; rank < world; ++rank) {
            inputs.push_back(tensor_of(call.dtype, call.tokens[static_cast<std::size_t>(rank)], call.hidden_dim,
                                       [&](std::int64_t t, std::int64_t c) { return input_value(seed, rank, t, c); }));
            const std::size_t scales = call.quant == Quant::fp4 ? scale_bytes(call.scale_layout, rows.num_tokens,
                                                                              call.hidden_dim / kFp4BlockSize)
                                                                : 0;
            add(output_bytes(rows), (scales + 3) / 4 * 4); // whole words, as enqueue_copy() wants them
        }
        quant_scale = quant_scale_of(rows);
    }

    /// With the outputs of `others`, which may be this one's.
    MoeDispatch call_of(int rank, MoeResults& others) {
        MoeDispatch call = shape;
        call.input = inputs[static_cast<std::size_t>(rank)].data();
        for (std::size_t peer = 0; peer < ranks.size(); ++peer) {
            call.output[peer] = others.ranks[peer].output.data();
            call.output_scales[peer] = others.ranks[peer].scales.data();
        }
        call.quant_scale = &quant_scale;
        return call;
    }
    void enqueue(EmulatedWorld& world, const MoeLaunch& launch) {
        for (int rank = 0; rank < world.size(); ++rank)
            moe_dispatch(call_of(rank, *this), world.workspaces[static_cast<std::size_t>(rank)], launch,
                         &world.streams[static_cast<std::size_t>(rank)]);
        enqueue_readers(world);
    }

    /// The rows gathered, then quantized by the unfused kernel.
    OfRank gathered_then_quantized() {
        Bytes all;
        for (const Bytes& input : inputs) all.insert(all.end(), input.begin(), input.end());
        MoeResults expected;
        expected.add(ranks[0].output.size(), ranks[0].scales.size());
        OfRank& of = expected.ranks[0];
        if (shape.quant == Quant::none || all.empty()) {
            of.output = all;
        } else {
            EmulatedWorld alone(1);
            FusedAllReduce call = gathered(shape);
            call.output = of.output.data();
            call.output_scales = of.scales.data();
            call.quant_scale = &quant_scale;
            unfused::quantize(call, all.data(), true, &alone.streams[0]);
            alone.machine.run();
        }
        of.read_output = of.output;
        of.read_scales = of.scales;
        return of;
    }

    void check_against_reference() const {
        const std::int64_t rows = sum_of(shape.tokens);
        for (std::int64_t row = 0; row < rows; ++row) {
            const std::size_t bytes = ranks[0].output.size() / static_cast<std::size_t>(rows);
            check_dispatched(shape, static_cast<int>(ranks.size()), seed, row,
                             std::span(ranks[0].output).subspan(static_cast<std::size_t>(row) * bytes, bytes),
                             ranks[0].scales);
        }
    }
};

struct CombineTensors : MoeResults {
    MoeCombine shape;
    std::uint64_t seed;
    std::vector<Bytes> inputs;

    CombineTensors(const MoeCombine& call, int world, std::uint64_t input_seed) : shape(call), seed(input_seed) {
        for (int rank = 0; rank < world; ++rank) {
            inputs.push_back(tensor_of(call.dtype, sum_of(call.tokens), call.hidden_dim,
                                       [&](std::int64_t t, std::int64_t c) { return input_value(seed, rank, t, c); }));
            add(static_cast<std::size_t>(call.tokens[static_cast<std::size_t>(rank)] * call.hidden_dim) *
                    element_size(call.dtype),
                0);
        }
    }

    MoeCombine call_of(int rank) {
        MoeCombine call = shape;
        call.input = inputs[static_cast<std::size_t>(rank)].data();
        call.output = of(rank).output.data();
        return call;
    }
    void enqueue(EmulatedWorld& world, const MoeLaunch& launch) {
        for (int rank = 0; rank < world.size(); ++rank)
            moe_combine(call_of(rank), world.workspaces[static_cast<std::size_t>(rank)], launch,
                        &world.streams[static_cast<std::size_t>(rank)]);
        enqueue_readers(world);
    }

    /// Bit for bit, NaNs apart: elements that differ from the sum in rank order, in what was written or read.
    std::size_t wrong() const {
        FusedAllReduce rows;
        rows.pattern = Pattern::allreduce;
        rows.dtype = shape.dtype;
        rows.hidden_dim = shape.hidden_dim;
        ReferenceCall reference = reference_of(rows, static_cast<int>(ranks.size()), seed);
        const NumberFormat format = format_of(shape.dtype);
        const std::size_t size = element_size(shape.dtype);
        reference.input = [&](int rank, std::int64_t t, std::int64_t c) {
            std::uint32_t code = 0;
            std::memcpy(&code,
                        inputs[static_cast<std::size_t>(rank)].data() +
                            static_cast<std::size_t>(t * shape.hidden_dim + c) * size,
                        size);
            return decode(format, code);
        };
        std::size_t wrong = 0;
        std::int64_t row = 0;
        for (const OfRank& of : ranks) {
            const auto codes = unpack_codes(format, of.output);
            wrong += of.read_output != of.output;
            for (std::size_t at = 0; at < codes.size(); ++row)
                for (const double expected : reduced_in_rank_order(reference, row)) {
                    const double got = decode(format, codes[at++]);
                    wrong += got != expected && !(got != got && expected != expected);
                }
        }
        return wrong;
    }
};

/// Calls of all kinds on one workspace, all enqueued at once. Dispatches share one output, as in a serving engine: only
/// what its stream's next kernel reads of it counts.
class MoeSequence {
  public:
    /// Of the largest dispatch: `output_bytes` and `scale_bytes`.
    MoeSequence(int world_size, emulation::Options options, std::size_t workspace_bytes, std::size_t output_bytes,
                std::size_t scale_bytes)
        : world_(world_size, std::move(options), workspace_bytes) {
        for (int rank = 0; rank < world_size; ++rank) outputs_.add(output_bytes, scale_bytes);
    }

    void dispatch(const MoeDispatch& shape, std::uint64_t seed, const MoeLaunch& launch) {
        DispatchTensors& tensors = dispatches_.emplace_back(shape, world_.size(), seed);
        for (int rank = 0; rank < world_.size(); ++rank) {
            const auto at = static_cast<std::size_t>(rank);
            cudaStream_t const stream = &world_.streams[at];
            moe_dispatch(tensors.call_of(rank, outputs_), world_.workspaces[at], launch, stream);
            enqueue_copy(outputs_.of(rank).output, tensors.of(rank).read_output, stream);
            enqueue_copy(outputs_.of(rank).scales, tensors.of(rank).read_scales, stream);
        }
    }
    void combine(const MoeCombine& shape, std::uint64_t seed, const MoeLaunch& launch) {
        combines_.emplace_back(shape, world_.size(), seed).enqueue(world_, launch);
    }
    /// The same values every time.
    void all_reduce(Fused algorithm) {
        FusedAllReduce shape;
        shape.num_tokens = 3;
        shape.hidden_dim = 256;
        world_.enqueue(algorithm, all_reduces_.emplace_back(shape, world_.size(), 1),
                       {.cluster_size = 1, .clusters = 2, .threads = 32});
    }

    /// What goes wrong; empty if nothing does.
    std::string outcome() {
        try {
            world_.machine.run();
        } catch (const emulation::EmulationError& error) {
            return error.what();
        }
        if (const auto timeout = world_.timeout()) return to_string(*timeout);
        for (DispatchTensors& tensors : dispatches_) {
            const auto expected = tensors.gathered_then_quantized();
            for (const auto& of : tensors.ranks) {
                if (of.read_output != expected.output) return "wrong values dispatched";
                for (std::size_t at = 0; at < expected.scales.size(); ++at) // padding is what an earlier call left
                    if (expected.scales[at] != kPoison && of.read_scales[at] != expected.scales[at])
                        return "wrong scales dispatched";
            }
        }
        for (const CombineTensors& tensors : combines_)
            if (tensors.wrong() != 0) return "wrong sums";
        for (const CallTensors& tensors : all_reduces_)
            if (tensors.ranks_that_differ(all_reduces_[0]) != 0) return "wrong all-reduce";
        if (!all_reduces_.empty()) all_reduces_[0].check_against_reference();
        return "";
    }

  private:
    EmulatedWorld world_;
    MoeResults outputs_;
    std::deque<DispatchTensors> dispatches_;
    std::deque<CombineTensors> combines_;
    std::deque<CallTensors> all_reduces_;
};

} // namespace crossover::testing
