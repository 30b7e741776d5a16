/// moe_dispatch against gather-then-quantize bit for bit, moe_combine against the sum in rank order, both against
/// float64, at uneven splits; long sequences from graphs, mixed with all-reduces, before kernels that begin early; late
/// ranks; time-outs. Needs one GPU or more.

#define DOCTEST_CONFIG_IMPLEMENT
#include "tests/gpu/against_reference.cuh"
#include "tests/support/moe_calls.hpp"

#include <random>

using namespace crossover;
using namespace crossover::testing;

namespace {

constexpr std::size_t kWorkspaceBytes = std::size_t{64} << 20;

/// Launches of which all ranks of a GPU fit beside each other, and PDL where a rank has its own (InProcessWorld).
template <class Call>
MoeLaunch launch_for(const InProcessWorld& world, const Call& call) {
    const int ranks_per_gpu = (world.size() + gpu_count() - 1) / gpu_count();
    MoeLaunch launch = default_launch(call, world.workspaces[0], std::max(1, 60 / ranks_per_gpu));
    launch.pdl = ranks_per_gpu == 1;
    return launch;
}

MoeDispatch call_of(const InProcessWorld& world, MoeDispatch call, int rank) {
    call.input = world.ranks[rank].input.data();
    call.quant_scale = world.ranks[rank].quant_scale.data();
    for (int peer = 0; peer < world.size(); ++peer) {
        const auto at = static_cast<std::size_t>(peer);
        call.output[at] = const_cast<std::byte*>(world.ranks[peer].output.data());
        call.output_scales[at] = const_cast<std::byte*>(world.ranks[peer].scales.data());
    }
    return call;
}

MoeCombine call_of(const InProcessWorld& world, MoeCombine call, int rank) {
    call.input = world.ranks[rank].input.data();
    call.output = const_cast<std::byte*>(world.ranks[rank].output.data());
    return call;
}

void enqueue(const InProcessWorld& world, const MoeDispatch& call, int rank) {
    const DeviceGuard guard(world.ranks[rank].device);
    moe_dispatch(call_of(world, call, rank), world.workspaces[rank], launch_for(world, call),
                 world.ranks[rank].stream->get());
}
void enqueue(const InProcessWorld& world, const MoeCombine& call, int rank) {
    const DeviceGuard guard(world.ranks[rank].device);
    moe_combine(call_of(world, call, rank), world.workspaces[rank], launch_for(world, call),
                world.ranks[rank].stream->get());
}

template <class Call>
void run(InProcessWorld& world, const Call& call) {
    world.poison();
    for (int rank = 0; rank < world.size(); ++rank) enqueue(world, call, rank);
    world.synchronize();
    for (int rank = 0; rank < world.size(); ++rank) {
        const DeviceGuard guard(world.ranks[rank].device);
        const auto timeout = read_timeout(world.workspaces[rank], world.ranks[rank].stream->get());
        if (timeout) FAIL(to_string(*timeout));
    }
}

/// The shape of all ranks' rows, whose inputs InProcessWorld::fill() writes for every rank.
FusedAllReduce rows_of(DType dtype, std::int64_t hidden, const TokensPerRank& tokens) {
    return gathered({.dtype = dtype, .hidden_dim = hidden, .tokens = tokens});
}

std::size_t scale_bytes_of(const MoeDispatch& call) {
    return call.quant == Quant::fp4
               ? scale_bytes(call.scale_layout, sum_of(call.tokens), call.hidden_dim / kFp4BlockSize)
               : 0;
}

void check_dispatch(InProcessWorld& world, const MoeDispatch& call, std::uint64_t seed) {
    INFO(describe(call, world.size()));
    const FusedAllReduce rows = gathered(call);
    if (rows.num_tokens == 0) return run(world, call); // nothing is launched
    world.fill(rows, seed, quant_scale_of(rows));
    run(world, call);

    // Gathered on rank 0's GPU, then quantized there by the unfused kernel, over the same poison.
    const RankMemory& first = world.ranks[0];
    const DeviceGuard guard(first.device);
    const std::size_t row_bytes = static_cast<std::size_t>(call.hidden_dim) * element_size(call.dtype);
    DeviceBuffer<std::byte> all(static_cast<std::size_t>(rows.num_tokens) * row_bytes);
    for (int rank = 0; rank < world.size(); ++rank)
        copy_and_wait(all.data() + static_cast<std::size_t>(offset_of(call.tokens, rank)) * row_bytes,
                      world.ranks[rank].input.data(),
                      static_cast<std::size_t>(call.tokens[static_cast<std::size_t>(rank)]) * row_bytes);
    DeviceBuffer<std::byte> output(output_bytes(rows)), scales(std::max<std::size_t>(16, scale_bytes_of(call)));
    CROSSOVER_CUDA_CHECK(cudaMemsetAsync(scales.data(), 0xA5, scales.bytes(), first.stream->get()));
    if (call.quant == Quant::none) {
        copy_and_wait(output.data(), all.data(), all.bytes());
    } else {
        FusedAllReduce quantize = rows;
        quantize.output = output.data();
        quantize.output_scales = scales.data();
        quantize.quant_scale = first.quant_scale.data();
        unfused::quantize(quantize, all.data(), false, first.stream->get());
    }
    first.stream->synchronize();
    for (const RankMemory& rank : world.ranks) {
        CHECK(world.differences(output.data(), rank.output.data(), output.bytes()) == 0);
        CHECK(world.differences(scales.data(), rank.scales.data(), scale_bytes_of(call)) == 0);
    }

    const std::vector<std::byte> host_scales = download(scales.data(), scale_bytes_of(call));
    const std::size_t output_row_bytes = output.bytes() / static_cast<std::size_t>(rows.num_tokens);
    for (const std::int64_t row : {std::int64_t{0}, rows.num_tokens / 2, rows.num_tokens - 1})
        check_dispatched(
            call, world.size(), seed, row,
            download(first.output.data() + static_cast<std::size_t>(row) * output_row_bytes, output_row_bytes),
            host_scales);
}

void check_combine(InProcessWorld& world, const MoeCombine& call, std::uint64_t seed) {
    INFO(describe(call, world.size()));
    const FusedAllReduce rows = rows_of(call.dtype, call.hidden_dim, call.tokens);
    if (rows.num_tokens == 0) return run(world, call); // nothing is launched
    world.fill(rows, seed, 1);
    run(world, call);
    const ReferenceCall reference = reference_of(rows, world.size(), seed);
    const std::size_t row_bytes = static_cast<std::size_t>(call.hidden_dim) * element_size(call.dtype);
    for (int rank = 0; rank < world.size(); ++rank) {
        const std::int64_t tokens = call.tokens[static_cast<std::size_t>(rank)];
        if (tokens == 0) continue;
        const DeviceGuard guard(world.ranks[rank].device);
        for (const std::int64_t token : {std::int64_t{0}, tokens / 3, tokens / 2, tokens - 1}) {
            const auto codes = unpack_codes(
                format_of(call.dtype),
                download(world.ranks[rank].output.data() + static_cast<std::size_t>(token) * row_bytes, row_bytes));
            const std::vector<double> expected = reduced_in_rank_order(reference, offset_of(call.tokens, rank) + token);
            std::size_t wrong = 0;
            for (std::size_t c = 0; c < codes.size(); ++c)
                wrong += decode(format_of(call.dtype), codes[c]) != expected[c];
            CHECK(wrong == 0);
        }
    }
}

} // namespace

TEST_CASE("dispatch: every dtype, quant mode, layout and split gives the bits of gather, then quantize") {
    std::uint64_t seed = 1;
    for (const int size : {2, 4, 8}) {
        InProcessWorld world(size, std::size_t{64} << 20, kWorkspaceBytes);
        for (const std::int64_t mean : {1, 17, 130})
            for (const TokensPerRank& tokens : splits(size, mean))
                for (const auto& dtype : kDTypes)
                    for (const auto& quant : kQuants)
                        for (const std::int64_t hidden : {16, 24, 2880, 7168}) {
                            if (quant.value == Quant::fp4 && hidden % kFp4BlockSize != 0) continue;
                            check_dispatch(world,
                                           {.dtype = dtype.value,
                                            .quant = quant.value,
                                            .scale_layout = ++seed % 2 ? ScaleLayout::swizzled : ScaleLayout::linear,
                                            .hidden_dim = hidden,
                                            .tokens = tokens},
                                           seed);
                        }
    }
}

TEST_CASE("combine: every dtype and split gives the sum in rank order, rounded once") {
    std::uint64_t seed = 5000;
    for (const int size : {2, 4, 8}) {
        InProcessWorld world(size, std::size_t{64} << 20, kWorkspaceBytes);
        for (const std::int64_t mean : {1, 17, 130})
            for (const TokensPerRank& tokens : splits(size, mean))
                for (const auto& dtype : kDTypes)
                    for (const std::int64_t hidden : {16, 24, 2880, 7168})
                        check_combine(world, {.dtype = dtype.value, .hidden_dim = hidden, .tokens = tokens}, seed++);
    }
}

TEST_CASE("thousands of rows, most of them relayed, and rings that wrap many times on credit") {
    for (const int size : {2, 4, 8}) {
        InProcessWorld world(size, std::size_t{512} << 20, std::size_t{2} << 20);
        const std::int64_t mean = 16384 / size;
        for (const auto& distribution : kDistributions) {
            const TokensPerRank tokens = tokens_of(distribution.value, size, mean);
            check_dispatch(world, {.quant = Quant::fp4, .hidden_dim = 7168, .tokens = tokens}, 1);
            check_combine(world, {.hidden_dim = 7168, .tokens = tokens}, 2);
        }
        TokensPerRank two{3001, 70}; // hot ranks, tiles that ranks share, nothing in units' ends
        two[static_cast<std::size_t>(size - 1)] = 2999;
        for (const auto& dtype : kDTypes)
            for (const auto& quant : kQuants)
                for (const ScaleLayout layout : {ScaleLayout::swizzled, ScaleLayout::linear})
                    for (const TokensPerRank& tokens : {two, tokens_of(Distribution::one_hot, size, 2000)}) {
                        if (quant.value != Quant::fp4 && layout == ScaleLayout::linear) continue;
                        check_dispatch(world,
                                       {.dtype = dtype.value,
                                        .quant = quant.value,
                                        .scale_layout = layout,
                                        .hidden_dim = 2064,
                                        .tokens = tokens},
                                       3);
                    }
    }
}

TEST_CASE("10^4 mixed launches on one workspace, from graphs, with late ranks") {
    for (const int size : {2, 4, 8}) {
        InProcessWorld world(size, std::size_t{64} << 20, std::size_t{8} << 20);
        std::mt19937 random(static_cast<unsigned>(size));
        const std::vector<TokensPerRank> choices = splits(size, 24);
        FusedAllReduce largest = rows_of(DType::bfloat16, 7168, {});
        largest.num_tokens = 24 * size + size * size; // more rows than any split has
        world.fill(largest, 77, 1);                   // a scale that suits fp8 and fp4

        // What each call gives on each rank, from lone runs.
        struct Step {
            int kind; // dispatch, combine, all-reduce
            MoeDispatch dispatch;
            MoeCombine combine;
            std::vector<DeviceBuffer<std::byte>> expected = {}, expected_scales = {};
        };
        FusedAllReduce allreduce = largest;
        allreduce.num_tokens = 5;
        const auto enqueue_step = [&](const Step& step, int rank) {
            if (step.kind == 0) return enqueue(world, step.dispatch, rank);
            if (step.kind == 1) return enqueue(world, step.combine, rank);
            world.enqueue(Fused::oneshot, allreduce, world.launch_for(Fused::oneshot, allreduce), rank);
        };
        const auto bytes_of = [&](const Step& step, int rank) {
            if (step.kind == 0) return output_bytes(gathered(step.dispatch));
            if (step.kind == 2) return output_bytes(allreduce);
            return static_cast<std::size_t>(step.combine.tokens[static_cast<std::size_t>(rank)] *
                                            step.combine.hidden_dim) *
                   2;
        };
        const auto scale_bytes_in = [&](const Step& step) {
            return step.kind == 0 ? scale_bytes_of(step.dispatch) : 0;
        };
        std::vector<Step> steps;
        for (int i = 0; i < 60; ++i) {
            const TokensPerRank& tokens = choices[random() % choices.size()];
            const Quant quant = kQuants[i % 3].value;
            const std::int64_t hidden = std::vector<std::int64_t>{16, 24, 2880, 7168, 7168}[random() % 5];
            steps.push_back({.kind = static_cast<int>(random() % 3),
                             .dispatch = {.quant = quant,
                                          .scale_layout = random() % 2 ? ScaleLayout::swizzled : ScaleLayout::linear,
                                          .hidden_dim = quant == Quant::fp4 && hidden == 24 ? 16 : hidden,
                                          .tokens = tokens},
                             .combine = {.hidden_dim = hidden, .tokens = tokens}});
        }
        const auto keep = [](std::vector<DeviceBuffer<std::byte>>& copies, const void* from, std::size_t bytes) {
            copies.emplace_back(std::max<std::size_t>(16, bytes));
            copy_and_wait(copies.back().data(), from, bytes);
        };
        // Twice: the padding of swizzled scales keeps what the calls before have left there, the last ones included.
        for (const bool keeps : {false, true})
            for (Step& step : steps) {
                for (int rank = 0; rank < size; ++rank) enqueue_step(step, rank);
                world.synchronize();
                for (int rank = 0; keeps && rank < size; ++rank) {
                    const RankMemory& memory = world.ranks[rank];
                    const DeviceGuard guard(memory.device);
                    keep(step.expected, memory.output.data(), bytes_of(step, rank));
                    keep(step.expected_scales, memory.scales.data(), scale_bytes_in(step));
                }
            }

        // Every call is followed by a comparison of its output, which begins beside it, and reads what the next
        // dispatch of a faster rank would overwrite.
        world.replay(steps.size(), 200, 20, [&](std::size_t i, int rank, unsigned long long* wrong) {
            const Step& step = steps[i];
            const RankMemory& memory = world.ranks[rank];
            const auto at = static_cast<std::size_t>(rank);
            enqueue_step(step, rank);
            count_differences_early(memory.output.data(), step.expected[at].data(), bytes_of(step, rank), wrong,
                                    memory.stream->get());
            count_differences_early(memory.scales.data(), step.expected_scales[at].data(), scale_bytes_in(step), wrong,
                                    memory.stream->get());
        });
    }
}

TEST_CASE("a missing rank ends in a time-out that names it, and a reset makes the workspace usable again") {
    InProcessWorld world(4, std::size_t{4} << 20, kWorkspaceBytes);
    for (Workspace& workspace : world.workspaces) workspace.timeout_ns = 50'000'000;
    for (const TokensPerRank& tokens : {TokensPerRank{2, 1, 3, 2}, TokensPerRank{2, 1, 900, 2}}) { // relays the latter
        const MoeDispatch dispatch{.quant = Quant::fp8, .hidden_dim = 2048, .tokens = tokens};
        const MoeCombine combine{.hidden_dim = 2048, .tokens = tokens};
        for (const bool dispatches : {true, false}) {
            world.fill(rows_of(DType::bfloat16, 2048, tokens), 3, kFp8Scale);
            for (const int rank : {0, 1, 3})
                dispatches ? enqueue(world, dispatch, rank) : enqueue(world, combine, rank);
            world.synchronize();
            const auto timeout = read_timeout(world.workspaces[0], world.ranks[0].stream->get());
            REQUIRE(timeout);
            CHECK(timeout->rank == 0);
            CHECK(timeout->peer == 2);
            world.reset();
            check_dispatch(world, dispatch, 4);
            check_combine(world, combine, 5);
        }
    }
}
