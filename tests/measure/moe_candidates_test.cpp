// Every candidate of the MoE patterns gives what moe.hpp promises, from the same tensors, at any split.

#include "tests/emulation/emulated_world.hpp"
#include "tests/measure/fake_nccl.hpp"
#include "tests/support/moe_calls.hpp"
#include "tuner/measure/candidate.hpp"
#include "tuner/workload.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <set>

using namespace crossover;
using testing::Bytes;

namespace {

constexpr std::array kDispatches{algorithm::nccl_allreduce_quantize, algorithm::nccl_allgather_quantize,
                                 algorithm::quantize_nccl_allgather, algorithm::push};
constexpr std::array kCombines{algorithm::nccl_allreduce_slice, algorithm::nccl_reduce_scatter, algorithm::push};

/// One rank's tensors; poison in outputs and scratch.
struct RankTensors {
    Bytes input, output, scales, rows, padded, linear_scales;
    float quant_scale;
};

struct World {
    testing::EmulatedWorld emulated;
    testing::FakeNccl nccl;
    std::vector<RankTensors> ranks;
    std::vector<CallTensors> tensors;

    World(Pattern pattern, DType dtype, Quant quant, ScaleLayout layout, std::int64_t hidden,
          const TokensPerRank& tokens, int size, std::uint64_t seed)
        : emulated(size, {.seed = seed}), nccl(size), ranks(static_cast<std::size_t>(size)),
          tensors(static_cast<std::size_t>(size)) {
        const bool dispatch = is_moe_dispatch(pattern);
        const std::size_t row = static_cast<std::size_t>(hidden) * element_size(dtype);
        const auto most = static_cast<std::size_t>(*std::max_element(tokens.begin(), tokens.end()));
        for (int rank = 0; rank < size; ++rank) {
            RankTensors& memory = ranks[static_cast<std::size_t>(rank)];
            const std::int64_t all = sum_of(tokens), own = tokens[static_cast<std::size_t>(rank)];
            const std::int64_t in = dispatch ? own : all, out = dispatch ? all : own;
            FusedAllReduce& call = tensors[static_cast<std::size_t>(rank)].call;
            call = {.pattern = pattern,
                    .dtype = dtype,
                    .quant = quant,
                    .scale_layout = layout,
                    .num_tokens = out,
                    .hidden_dim = hidden};
            constexpr std::byte poison{0xA5};
            memory.input = testing::tensor_of(
                dtype, in, hidden, [&](std::int64_t t, std::int64_t c) { return input_value(seed, rank, t, c); });
            memory.output.assign(testing::output_bytes(call), poison);
            if (quant == Quant::fp4) memory.scales.assign(scale_bytes(layout, out, hidden / kFp4BlockSize), poison);
            memory.rows.assign(static_cast<std::size_t>(all) * row, poison);
            memory.padded.assign(most * static_cast<std::size_t>(size) * row, poison);
            memory.linear_scales.assign(static_cast<std::size_t>(all * hidden / kFp4BlockSize), poison);
            memory.quant_scale = testing::quant_scale_of(call);
        }
        for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
            FusedAllReduce& call = tensors[rank].call;
            call.input = ranks[rank].input.data();
            call.output = ranks[rank].output.data();
            call.output_scales = ranks[rank].scales.data();
            call.quant_scale = &ranks[rank].quant_scale;
            MoeTensors& moe = tensors[rank].moe;
            moe.tokens = tokens;
            for (std::size_t peer = 0; peer < ranks.size(); ++peer) {
                moe.outputs[peer] = ranks[peer].output.data();
                moe.output_scales[peer] = ranks[peer].scales.data();
            }
            moe.rows = ranks[rank].rows.data();
            moe.padded = ranks[rank].padded.data();
            moe.padded_bytes = ranks[rank].padded.size();
            moe.linear_scales = ranks[rank].linear_scales.data();
        }
    }

    /// Runs the `variant`-th candidate of this name on all ranks; false if it says that it cannot, or there is none.
    bool run(std::string_view name, std::size_t variant) {
        std::set<std::string> refusals;
        for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
            const auto candidates = make_moe_candidates(name, {.comm = nccl.comm_of(static_cast<int>(rank)),
                                                               .workspace = emulated.workspaces[rank],
                                                               .multiprocessors = 2,
                                                               .compute_capability_major = 9,
                                                               .no_windows = {}});
            if (variant >= candidates.size()) return false;
            CHECK(candidates[variant]->algorithm() == name);
            refusals.insert(candidates[variant]->unsupported(tensors[rank]).value_or(""));
            if (refusals == std::set<std::string>{""})
                candidates[variant]->enqueue(tensors[rank], &emulated.streams[rank]);
        }
        REQUIRE(refusals.size() == 1); // all ranks agree
        emulated.machine.run();
        REQUIRE_FALSE(emulated.timeout().has_value());
        return refusals.begin()->empty();
    }
};

} // namespace

TEST_CASE("all candidates of moe_dispatch agree, bit for bit, and with float64") {
    std::uint64_t seed = 0;
    for (const int size : {2, 4})
        for (const TokensPerRank& tokens : testing::splits(size, 3))
            for (const auto& dtype : kDTypes)
                for (const auto& quant : kQuants) {
                    if (sum_of(tokens) == 0) continue;
                    const ScaleLayout layout = ++seed % 2 ? ScaleLayout::swizzled : ScaleLayout::linear;
                    const MoeDispatch shape{.dtype = dtype.value,
                                            .quant = quant.value,
                                            .scale_layout = layout,
                                            .hidden_dim = 96,
                                            .tokens = tokens};
                    const auto make = [&] {
                        return World(Pattern::moe_dispatch_even, dtype.value, quant.value, layout, 96, tokens, size,
                                     seed);
                    };
                    World expected = make();
                    REQUIRE(expected.run(algorithm::push, 0));
                    const Bytes& output = expected.ranks[0].output;
                    const std::size_t row = output.size() / static_cast<std::size_t>(sum_of(tokens));
                    for (std::int64_t i = 0; i < sum_of(tokens); ++i)
                        testing::check_dispatched(shape, size, seed, i,
                                                  std::span(output).subspan(static_cast<std::size_t>(i) * row, row),
                                                  expected.ranks[0].scales);
                    for (const std::string_view name : kDispatches) {
                        int ran = 0;
                        for (const std::size_t variant : {0, 1}) {
                            INFO(name << " variant " << variant << " " << testing::describe(shape, size));
                            World world = make();
                            if (!world.run(name, variant)) continue;
                            ++ran;
                            int wrong = 0;
                            for (const RankTensors& rank : world.ranks)
                                wrong +=
                                    rank.output != expected.ranks[0].output || rank.scales != expected.ranks[0].scales;
                            CHECK(wrong == 0);
                        }
                        CHECK((ran > 0 || (name == algorithm::quantize_nccl_allgather && quant.value == Quant::none)));
                    }
                }
}

TEST_CASE("all candidates of moe_combine sum every rank's rows") {
    std::uint64_t seed = 0;
    for (const int size : {2, 4})
        for (const TokensPerRank& tokens : testing::splits(size, 3))
            for (const auto& dtype : kDTypes)
                for (const std::string_view name : kCombines) {
                    if (sum_of(tokens) == 0) continue;
                    ++seed;
                    const MoeCombine shape{.dtype = dtype.value, .hidden_dim = 40, .tokens = tokens};
                    int ran = 0;
                    for (const std::size_t variant : {0, 1}) {
                        INFO(name << " variant " << variant << " " << testing::describe(shape, size));
                        World world(Pattern::moe_combine_even, dtype.value, Quant::none, ScaleLayout::linear, 40,
                                    tokens, size, seed);
                        if (!world.run(name, variant)) continue;
                        ++ran;
                        FusedAllReduce rows;
                        rows.pattern = Pattern::allreduce;
                        rows.dtype = dtype.value;
                        rows.hidden_dim = 40;
                        const ReferenceCall reference = testing::reference_of(rows, size, seed);
                        RelativeError error;
                        for (int rank = 0; rank < size; ++rank) {
                            const auto codes = unpack_codes(format_of(dtype.value),
                                                            world.ranks[static_cast<std::size_t>(rank)].output);
                            for (std::int64_t t = 0; t < tokens[static_cast<std::size_t>(rank)]; ++t) {
                                std::vector<double> got;
                                for (std::size_t c = 0; c < 40; ++c)
                                    got.push_back(
                                        decode(format_of(dtype.value), codes[static_cast<std::size_t>(t) * 40 + c]));
                                error.add(got, reference_row(reference, offset_of(tokens, rank) + t).reduced);
                            }
                        }
                        CHECK(error.value() <= (name == algorithm::push          ? 0
                                                : dtype.value == DType::bfloat16 ? 1e-2
                                                                                 : 1e-3));
                    }
                    CHECK(ran > 0);
                }
}

TEST_CASE("equal numbers of tokens also go by the collectives that ask for them, others do not") {
    World even(Pattern::moe_combine_even, DType::bfloat16, Quant::none, ScaleLayout::linear, 16, {2, 2}, 2, 1);
    CHECK(even.run(algorithm::nccl_reduce_scatter, 0));
    World uneven(Pattern::moe_combine_even, DType::bfloat16, Quant::none, ScaleLayout::linear, 16, {3, 2}, 2, 1);
    CHECK_FALSE(uneven.run(algorithm::nccl_reduce_scatter, 0));
    uneven.tensors[0].moe.padded_bytes = uneven.tensors[1].moe.padded_bytes = 6 * 16 * 2 - 1;
    CHECK_FALSE(uneven.run(algorithm::nccl_allreduce_slice, 0));
}

TEST_CASE("candidates of ours say how they are launched and how many multiprocessors that takes") {
    World world(Pattern::moe_combine_even, DType::bfloat16, Quant::none, ScaleLayout::linear, 16, {2, 2}, 2, 1);
    CandidateContext context{.workspace = world.emulated.workspaces[0],
                             .multiprocessors = 2,
                             .compute_capability_major = 9,
                             .no_windows = {}};
    const std::string push = make_moe_candidates(algorithm::push, context)[0]->detail(world.tensors[0]);
    CHECK(push.starts_with("ctas="));
    CHECK(push.ends_with(" of 2 SMs"));

    context.multiprocessors = 132;
    CallTensors tensors;
    tensors.call.pattern = Pattern::allreduce;
    tensors.call.hidden_dim = 4096;
    const std::string launch = "cluster=2,clusters=60,threads=128,ahead=1,behind=1";
    const auto detail = [&](std::int64_t num_tokens) {
        tensors.call.num_tokens = num_tokens;
        return make_candidates("twoshot[" + launch + "]", context)[0]->detail(tensors);
    };
    CHECK(detail(3) == launch + "; 6 of 132 SMs"); // the other clusters have no token
    CHECK(detail(100) == launch + "; 120 of 132 SMs");
}
