/// oneshot and twoshot against the float64 reference, against each other and across ranks; adversarial values; long
/// mixed sequences on one workspace; late ranks; time-outs. Needs one GPU or more.

#define DOCTEST_CONFIG_IMPLEMENT
#include "kernels/launch.hpp"
#include "tests/gpu/against_reference.cuh"

#include <limits>
#include <random>
#include <string>

using namespace crossover;
using namespace crossover::testing;

namespace {

constexpr std::size_t kWorkspaceBytes = std::size_t{64} << 20;
/// Runs both algorithms and checks them: reference on sampled rows, all ranks equal, oneshot equal to twoshot. With a
/// sharded residual: oneshot with the whole one, then twoshot.
void check_call(InProcessWorld& world, const FusedAllReduce& shape, std::uint64_t seed) {
    const ReferenceCall reference = reference_of(shape, world.size(), seed);
    const RankMemory& first = world.ranks[0];
    DeviceBuffer<std::byte> output(first.output.size()), residual(first.residual_out.size());
    DeviceBuffer<std::byte> scales(first.scales.size());
    for (const Fused algorithm : {Fused::oneshot, Fused::twoshot}) {
        const FusedAllReduce call = algorithm == Fused::oneshot ? replicated(shape) : shape;
        INFO(describe(algorithm, call, world.size()));
        world.fill(call, seed, quant_scale_of(call));
        world.poison();
        world.run(algorithm, call, world.launch_for(algorithm, call));
        check_rows(world, call, reference);

        const std::size_t residual_size = residual_bytes(replicated(call), 0, world.size());
        const std::size_t row_size = residual_size / static_cast<std::size_t>(call.num_tokens);
        for (int rank = 1; rank < world.size(); ++rank) {
            const RankMemory& other = world.ranks[rank];
            CHECK(world.differences(first.output.data(), other.output.data(), output_bytes(call)) == 0);
            if (!is_sharded(call.pattern))
                CHECK(world.differences(first.residual_out.data(), other.residual_out.data(), residual_size) == 0);
            CHECK(world.differences(first.scales.data(), other.scales.data(), first.scales.bytes()) == 0);
        }
        if (algorithm == Fused::oneshot) {
            copy_and_wait(output.data(), first.output.data(), output_bytes(call));
            copy_and_wait(residual.data(), first.residual_out.data(), residual_size);
            copy_and_wait(scales.data(), first.scales.data(), scales.bytes());
            continue;
        }
        CHECK(world.differences(first.output.data(), output.data(), output_bytes(call)) == 0);
        CHECK(world.differences(first.scales.data(), scales.data(), scales.bytes()) == 0);
        if (!is_sharded(call.pattern)) {
            CHECK(world.differences(first.residual_out.data(), residual.data(), residual_size) == 0);
            continue;
        }
        for (std::int64_t token = 0; token < call.num_tokens; ++token) {
            const auto [rank, row] = residual_place(call, token, world.size());
            const std::byte* const found = world.ranks[rank].residual_out.data() + row * row_size;
            const std::byte* const expected = residual.data() + token * row_size;
            if (token % (call.num_tokens / 64 + 1) == 0) CHECK(world.differences(found, expected, row_size) == 0);
        }
    }
}

} // namespace

TEST_CASE("every pattern, dtype and quant mode agrees with float64 and across ranks and algorithms") {
    for (const int size : {2, 4, 8}) {
        InProcessWorld world(size, std::size_t{16} << 20, kWorkspaceBytes);
        std::uint64_t seed = 1;
        for (const auto& pattern : kAllReducePatterns)
            for (const auto& dtype : kDTypes)
                for (const auto& quant : kQuants)
                    for (const std::int64_t hidden : {1024, 2880, 7168, 8192})
                        for (const std::int64_t tokens : {1, 3, 33, 130}) {
                            if (quant.value != Quant::none && !has_norm(pattern.value)) continue;
                            FusedAllReduce call;
                            call.pattern = pattern.value;
                            call.dtype = dtype.value;
                            call.quant = quant.value;
                            call.scale_layout = tokens % 2 ? ScaleLayout::swizzled : ScaleLayout::linear;
                            call.num_tokens = tokens;
                            call.hidden_dim = hidden;
                            check_call(world, call, seed++);
                        }
    }
}

TEST_CASE("shapes from a fraction of a unit to many iterations of the ring") {
    for (const int size : {2, 4, 8}) {
        InProcessWorld world(size, std::size_t{64} << 20, kWorkspaceBytes);
        std::uint64_t seed = 1000;
        for (const auto& [tokens, hidden] : std::vector<std::pair<std::int64_t, std::int64_t>>{
                 {1, 16}, {5, 264}, {2, 504}, {4096, 1024}, {4096, 8192}, {1500, 2880}, {700, 16384}, {9, 65536}}) {
            FusedAllReduce call;
            call.num_tokens = tokens;
            call.hidden_dim = hidden;
            check_call(world, call, seed++);
        }
    }
}

TEST_CASE("bits do not depend on the launch parameters") {
    for (const int size : {2, 8}) {
        InProcessWorld world(size, std::size_t{4} << 20, kWorkspaceBytes);
        FusedAllReduce call;
        call.num_tokens = 37;
        call.hidden_dim = 7168;
        world.fill(call, 5, 1);
        world.run(Fused::oneshot, call, world.launch_for(Fused::oneshot, call));
        const std::size_t bytes = output_bytes(call);
        DeviceBuffer<std::byte> expected(bytes);
        copy_and_wait(expected.data(), world.ranks[0].output.data(), bytes);
        for (const Variant& variant : kResidualVariants) {
            const Fused algorithm = variant.algorithm;
            call.pattern = variant.pattern;
            world.fill(call, 5, 1);
            for (const int cluster_size : {1, 2, 4, 8})
                for (const int threads : {128, 256, 512})
                    for (const int clusters : {1, 2})
                        for (const int ahead : {0, 1, 2}) {
                            const LaunchParameters launch{.cluster_size = cluster_size,
                                                          .clusters = clusters,
                                                          .threads = threads,
                                                          .push_ahead = ahead,
                                                          .consume_behind = ahead,
                                                          .pdl = true};
                            if (unsupported(algorithm, world.call_of(call, 0), world.workspaces[0], launch)) continue;
                            INFO(describe(algorithm, call, size)
                                 << " cluster " << cluster_size << " clusters " << clusters << " threads " << threads
                                 << " ahead " << ahead);
                            world.poison();
                            world.run(algorithm, call, launch);
                            for (int rank = 0; rank < size; ++rank)
                                CHECK(world.differences(expected.data(), world.ranks[rank].output.data(), bytes) == 0);
                        }
        }
    }
}

TEST_CASE("a sharded residual gives the bits of a replicated one for values that look like an empty slot") {
    for (const int size : {2, 4, 8}) {
        InProcessWorld world(size, std::size_t{1} << 20, kWorkspaceBytes);
        for (const auto& dtype : kDTypes)
            for (const auto& quant : kQuants)
                for (const std::int64_t hidden : {16, 2896, 7168}) {
                    FusedAllReduce call;
                    call.dtype = dtype.value;
                    call.quant = quant.value;
                    call.num_tokens = 13;
                    call.hidden_dim = hidden;
                    world.fill(call, 1, quant_scale_of(call));
                    for (RankMemory& memory : world.ranks) {
                        const DeviceGuard guard(memory.device);
                        const auto fill = [&](auto& tensor, std::int64_t tokens, auto value) {
                            fill_kernel<<<64, 256, 0, memory.stream->get()>>>(tensor.data(), call.dtype, tokens, hidden,
                                                                              value);
                        };
                        fill(memory.input, 13,
                             [] __device__(std::int64_t t, std::int64_t c) { return nearly_empty_value(t, c); });
                        fill(memory.residual_in, 13, [] __device__(std::int64_t, std::int64_t) { return 0.0f; });
                        fill(memory.gamma, 1, [] __device__(std::int64_t, std::int64_t) { return 1.0f; });
                    }
                    world.synchronize();
                    std::vector<std::byte> expected, scales;
                    for (const Pattern pattern :
                         {Pattern::allreduce_residual_rmsnorm, Pattern::allreduce_residual_rmsnorm_sharded}) {
                        call.pattern = pattern;
                        INFO(describe(Fused::twoshot, call, size));
                        world.poison();
                        world.run(Fused::twoshot, call, world.launch_for(Fused::twoshot, call));
                        if (!is_sharded(pattern)) {
                            expected = download(world.ranks[0].output.data(), output_bytes(call));
                            scales = download(world.ranks[0].scales.data(), world.ranks[0].scales.bytes());
                        }
                        for (const RankMemory& memory : world.ranks) {
                            CHECK(download(memory.output.data(), expected.size()) == expected);
                            CHECK(download(memory.scales.data(), scales.size()) == scales);
                        }
                    }
                    if (quant.value == Quant::fp4) // the test is what it says
                        CHECK(expected[static_cast<std::size_t>(hidden / 2) - 1] == std::byte{0xFF});
                }
    }
}

TEST_CASE("special values pass through the protocol: NaNs with every payload, infinities, zeros, subnormals") {
    for (const int size : {2, 4, 8})
        for (const auto& dtype : kDTypes) {
            InProcessWorld world(size, std::size_t{1} << 20, kWorkspaceBytes);
            FusedAllReduce call;
            call.pattern = Pattern::allreduce;
            call.dtype = dtype.value;
            call.num_tokens = 16;
            call.hidden_dim = 4096;
            // All 65536 codes of a 16-bit type in turn, the sentinel of the protocol among them; the high half in fp32.
            const auto code_of = [&](int rank, std::size_t i) -> std::uint32_t {
                const auto code =
                    static_cast<std::uint32_t>(i * 40503u + static_cast<std::uint32_t>(rank) * 7u) & 0xFFFFu;
                const bool all_ones = i % 64 < 2;
                if (dtype.value == DType::float32) return all_ones ? 0xFFFFFFFFu : code << 16 | (code & 0xFFu);
                return all_ones ? 0xFFFFu : code;
            };
            const std::size_t elements = 16 * 4096;
            for (int rank = 0; rank < size; ++rank) {
                std::vector<std::byte> host(elements * element_size(dtype.value));
                for (std::size_t i = 0; i < elements; ++i) {
                    const std::uint32_t code = code_of(rank, i);
                    std::memcpy(host.data() + i * element_size(dtype.value), &code, element_size(dtype.value));
                }
                const DeviceGuard guard(world.ranks[rank].device);
                CROSSOVER_CUDA_CHECK(cudaMemcpyAsync(world.ranks[rank].input.data(), host.data(), host.size(),
                                                     cudaMemcpyHostToDevice, world.ranks[rank].stream->get()));
            }
            ReferenceCall reference;
            reference.pattern = call.pattern;
            reference.dtype = call.dtype;
            reference.world_size = size;
            reference.hidden_dim = call.hidden_dim;
            reference.input = [&](int rank, std::int64_t t, std::int64_t c) {
                return decode(format_of(dtype.value), code_of(rank, static_cast<std::size_t>(t * 4096 + c)));
            };
            for (const Fused algorithm : {Fused::oneshot, Fused::twoshot}) {
                INFO(describe(algorithm, call, size));
                world.poison();
                world.run(algorithm, call, world.launch_for(algorithm, call));
                for (std::int64_t token = 0; token < call.num_tokens; ++token) {
                    const std::vector<double> expected = reduced_in_rank_order(reference, token);
                    const std::size_t bytes = 4096 * element_size(dtype.value);
                    const auto got = unpack_codes(
                        format_of(dtype.value),
                        download(world.ranks[0].output.data() + static_cast<std::size_t>(token) * bytes, bytes));
                    std::size_t wrong = 0;
                    for (std::size_t c = 0; c < 4096; ++c) {
                        const double value = decode(format_of(dtype.value), got[c]);
                        wrong += !(value == expected[c] || (value != value && expected[c] != expected[c]));
                    }
                    CHECK(wrong == 0);
                }
                for (int rank = 1; rank < size; ++rank)
                    CHECK(world.differences(world.ranks[0].output.data(), world.ranks[rank].output.data(),
                                            output_bytes(call)) == 0);
            }
        }
}

TEST_CASE("10^5 mixed launches on one workspace, from graphs, with late ranks") {
    for (const int size : {2, 4, 8}) {
        InProcessWorld world(size, std::size_t{4} << 20, kWorkspaceBytes);
        std::mt19937 random(static_cast<unsigned>(size));
        FusedAllReduce largest;
        largest.num_tokens = 256;
        largest.hidden_dim = 8192;
        world.fill(largest, 77, 1);

        // Each launch has its own shape, algorithm and configuration. The expected result is that of a first, lone run.
        struct Step {
            Fused algorithm;
            FusedAllReduce call;
            LaunchParameters launch;
        };
        std::vector<Step> steps;
        for (int i = 0; i < 100; ++i) {
            FusedAllReduce call;
            call.hidden_dim = std::vector<std::int64_t>{512, 1024, 2880, 4096, 8192}[random() % 5];
            call.num_tokens = 1 + static_cast<std::int64_t>(random() % (i % 10 == 0 ? 256 : 12));
            call.num_tokens = std::min(call.num_tokens, std::int64_t{4 << 20} / (2 * call.hidden_dim));
            const Fused algorithm = random() % 2 ? Fused::oneshot : Fused::twoshot;
            if (algorithm == Fused::twoshot && random() % 2) {
                call.pattern = Pattern::allreduce_residual_rmsnorm_sharded;
                call.quant = kQuants[random() % 3].value;
            }
            LaunchParameters launch = world.launch_for(algorithm, call);
            if (random() % 3 == 0) launch.clusters = std::max(1, launch.clusters / 2);
            if (random() % 3 == 0) launch.push_ahead = static_cast<int>(random() % 3);
            if (unsupported(algorithm, world.call_of(call, 0), world.workspaces[0], launch))
                launch = world.launch_for(algorithm, call);
            steps.push_back({algorithm, call, launch});
        }
        std::vector<DeviceBuffer<std::byte>> expected;
        for (const Step& step : steps) {
            world.run(step.algorithm, step.call, step.launch);
            DeviceBuffer<std::byte> copy(output_bytes(step.call));
            copy_and_wait(copy.data(), world.ranks[0].output.data(), copy.bytes());
            expected.push_back(std::move(copy));
        }

        const int replays = 100'000 / static_cast<int>(steps.size());
        world.replay(steps.size(), replays, 50, [&](std::size_t i, int rank, unsigned long long* wrong) {
            world.enqueue(steps[i].algorithm, steps[i].call, steps[i].launch, rank);
            if (i % 3 == 0) // between others the launches follow each other directly, chained by PDL
                count_differences_kernel<<<4, 256, 0, world.ranks[rank].stream->get()>>>(
                    reinterpret_cast<const unsigned*>(world.ranks[rank].output.data()),
                    reinterpret_cast<const unsigned*>(expected[i].data()), expected[i].bytes() / 4, wrong);
        });
    }
}

// Slots that are used again and again within a launch: nothing but the protocol keeps a row's data apart from the next
// one's. Two inputs in turn, so that what an earlier call has left is not taken for this one's result.
TEST_CASE("plain all-reduces whose rings wrap many times, with late ranks and a loaded memory") {
    for (const int size : {2, 4, 8}) {
        InProcessWorld world(size, std::size_t{16} << 20, static_cast<std::size_t>(size) << 19);
        for (Workspace& workspace : world.workspaces) workspace.timeout_ns = 500'000'000;
        MemoryLoad load(world);
        for (const std::int64_t hidden : {2880, 7168}) {
            FusedAllReduce shape;
            shape.num_tokens = 1024;
            shape.hidden_dim = hidden;
            world.fill(shape, 9, 1);
            shape.pattern = Pattern::allreduce;
            const auto enqueue = [&](Fused algorithm, std::size_t call, const LaunchParameters& launch, int rank) {
                const DeviceGuard guard(world.ranks[rank].device);
                FusedAllReduce allreduce = world.call_of(shape, rank);
                if (call % 2) allreduce.input = allreduce.residual_in;
                (algorithm == Fused::oneshot ? oneshot : twoshot)(allreduce, world.workspaces[rank], launch,
                                                                  world.ranks[rank].stream->get());
            };

            // The results of first, lone runs: one for all algorithms and launches.
            std::vector<std::vector<DeviceBuffer<std::byte>>> expected(2);
            for (std::size_t call = 0; call < 2; ++call) {
                world.poison();
                for (int rank = 0; rank < size; ++rank)
                    enqueue(Fused::oneshot, call, world.launch_for(Fused::oneshot, shape), rank);
                world.synchronize();
                if (call == 0) check_rows(world, shape, reference_of(shape, size, 9));
                for (const RankMemory& memory : world.ranks) {
                    const DeviceGuard guard(memory.device);
                    expected[call].emplace_back(output_bytes(shape));
                    copy_and_wait(expected[call].back().data(), world.ranks[0].output.data(), output_bytes(shape));
                }
            }
            REQUIRE(world.differences(expected[0][0].data(), expected[1][0].data(), output_bytes(shape)) > 0);

            for (const Fused algorithm : {Fused::oneshot, Fused::twoshot})
                for (const int ahead : {0, 1}) {
                    LaunchParameters launch = world.launch_for(algorithm, shape);
                    launch.push_ahead = launch.consume_behind = ahead;
                    INFO(describe(algorithm, shape, size) << " ahead " << ahead);
                    const auto slots = slot_layout(algorithm, world.call_of(shape, 0), world.workspaces[0], launch);
                    CHECK(shape.num_tokens / launch.clusters >= 3 * slots.push_stages); // the test is what it says
                    world.replay(
                        10, 40, 10,
                        [&](std::size_t i, int rank, unsigned long long* wrong) {
                            enqueue(algorithm, i, launch, rank);
                            if (i % 3 == 0) // between others the launches follow each other directly, chained by PDL
                                count_differences_kernel<<<64, 256, 0, world.ranks[rank].stream->get()>>>(
                                    reinterpret_cast<const unsigned*>(world.ranks[rank].output.data()),
                                    reinterpret_cast<const unsigned*>(
                                        expected[i % 2][static_cast<std::size_t>(rank)].data()),
                                    output_bytes(shape) / 4, wrong);
                        },
                        [&](int replay, int rank) {
                            if (replay % 4 == 0) load.enqueue(rank);
                        });
                    load.synchronize();
                    world.reset();
                }
        }
    }
}

TEST_CASE("a missing rank ends in a time-out that names it, and a reset makes the workspace usable again") {
    InProcessWorld world(4, std::size_t{1} << 20, kWorkspaceBytes);
    for (Workspace& workspace : world.workspaces) workspace.timeout_ns = 50'000'000;
    FusedAllReduce call;
    call.num_tokens = 8;
    call.hidden_dim = 2048;
    world.fill(call, 3, 1);
    for (const Fused algorithm : {Fused::oneshot, Fused::twoshot}) {
        INFO(name_of(algorithm));
        const LaunchParameters launch = world.launch_for(algorithm, call);
        for (const int rank : {0, 1, 3}) world.enqueue(algorithm, call, launch, rank);
        world.synchronize();
        const auto timeout = read_timeout(world.workspaces[0], world.ranks[0].stream->get());
        REQUIRE(timeout);
        CHECK(timeout->rank == 0);
        if (algorithm == Fused::oneshot) CHECK(timeout->peer == 2);
        world.reset();
        check_call(world, call, 4);
    }
}

TEST_CASE("what cannot run is refused before any launch, with the reason") {
    InProcessWorld world(2, std::size_t{1} << 20, std::size_t{1} << 20);
    FusedAllReduce call;
    call.num_tokens = 4;
    call.hidden_dim = 4096;
    const LaunchParameters launch = world.launch_for(Fused::oneshot, call);
    const auto reason = [&](const FusedAllReduce& bad, const LaunchParameters& parameters) {
        return unsupported(Fused::oneshot, world.call_of(bad, 0), world.workspaces[0], parameters).value_or("");
    };
    CHECK(reason(call, launch) == "");
    FusedAllReduce bad = call;
    bad.hidden_dim = 4100;
    CHECK(reason(bad, launch).find("4100") != std::string::npos);
    CHECK_THROWS_AS(oneshot(world.call_of(bad, 0), world.workspaces[0], launch, nullptr), std::invalid_argument);
    bad = call;
    bad.num_tokens = 0;
    CHECK(reason(bad, launch).find("num_tokens 0") != std::string::npos);
    bad = call;
    bad.quant = Quant::fp4;
    bad.hidden_dim = 4104;
    CHECK(reason(bad, launch).find("multiple of 16") != std::string::npos);
    LaunchParameters wide = launch;
    wide.clusters = 4;
    wide.cluster_size = 1;
    wide.threads = 32;
    CHECK(reason(call, wide).find("too few") != std::string::npos);
    bad = call;
    bad.pattern = Pattern::allreduce_residual_rmsnorm_sharded;
    CHECK(reason(bad, launch).find("sharded") != std::string::npos);
    bad = call;
    bad.num_tokens = 4096; // never launched: the tensors are smaller
    const LaunchParameters many{.cluster_size = 1, .clusters = 4096, .threads = 512}; // 4096 rows at once: 32 MiB
    CHECK(reason(bad, many).find("workspace") != std::string::npos);
    CHECK(reason(bad, world.launch_for(Fused::oneshot, bad)) == ""); // fewer at a time
}
