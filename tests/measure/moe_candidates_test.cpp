// Every candidate of the MoE patterns gives what moe.hpp promises, from the same tensors, at any split.

#include "tests/measure/moe_world.hpp"

#include <doctest/doctest.h>

#include <array>

using namespace crossover;
using testing::Bytes, testing::RankTensors;
using World = testing::MoeWorld;

namespace {

constexpr std::array kDispatches{algorithm::nccl_allreduce_quantize, algorithm::nccl_allgather_quantize,
                                 algorithm::quantize_nccl_allgather, algorithm::push};
constexpr std::array kCombines{algorithm::nccl_allreduce_slice, algorithm::nccl_reduce_scatter, algorithm::push};

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
