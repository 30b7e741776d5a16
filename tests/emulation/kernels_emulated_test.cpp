// The kernels' contract on the emulated machine: float64, bit-identity over ranks, algorithms and launches, special
// values. tests/gpu/fused_allreduce_test.cu asks the same of GPUs, with more and larger shapes.

#include "tests/emulation/emulated_world.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <optional>
#include <random>

using namespace crossover;
using namespace crossover::testing;

TEST_CASE("every pattern, dtype and quant mode agrees with float64 and across ranks and algorithms") {
    std::uint64_t seed = 0;
    for (const int size : {2, 4, 8})
        for (const auto& pattern : kAllReducePatterns)
            for (const auto& dtype : kDTypes)
                for (const auto& quant : kQuants) {
                    if (quant.value != Quant::none && !has_norm(pattern.value)) continue;
                    FusedAllReduce shape;
                    shape.pattern = pattern.value;
                    shape.dtype = dtype.value;
                    shape.quant = quant.value;
                    shape.scale_layout = ++seed % 2 ? ScaleLayout::swizzled : ScaleLayout::linear;
                    shape.num_tokens = 5;
                    shape.hidden_dim = 336; // the last unit of a row is partly filled
                    std::optional<CallTensors> expected;
                    for (const int clusters : {seed % 2 ? 2 : 4, 5}) // of more rows than one, and of one
                        for (const Fused algorithm : {Fused::oneshot, Fused::twoshot}) {
                            INFO(describe(algorithm, shape, size) << " clusters " << clusters);
                            EmulatedWorld world(size, {.seed = seed});
                            CallTensors tensors(algorithm == Fused::oneshot ? replicated(shape) : shape, size, seed);
                            world.run(algorithm, tensors, {.cluster_size = 2, .clusters = clusters, .threads = 64});
                            tensors.check_against_reference();
                            if (!expected) expected = tensors;
                            CHECK(tensors.ranks_that_differ(*expected) == 0);
                        }
                }
}

TEST_CASE("shapes from a fraction of a unit to four units a warp, as launched by default") {
    for (const auto& [tokens, hidden] :
         std::vector<std::pair<std::int64_t, std::int64_t>>{{1, 16}, {5, 264}, {2, 504}, {40, 1024}, {3, 2880}}) {
        FusedAllReduce shape;
        shape.num_tokens = tokens;
        shape.hidden_dim = hidden;
        CallTensors expected(shape, 2, 5);
        for (const Variant& variant : kResidualVariants) {
            shape.pattern = variant.pattern;
            INFO(describe(variant.algorithm, shape, 2));
            EmulatedWorld world(2);
            CallTensors tensors(shape, 2, 5);
            const LaunchParameters launch =
                default_launch(variant.algorithm, tensors.call_of(0), world.workspaces[0], 4, 9);
            world.run(variant.algorithm, tensors, launch);
            tensors.check_against_reference();
            if (variant.algorithm == Fused::oneshot) expected = tensors;
            CHECK(tensors.ranks_that_differ(expected) == 0);
        }
    }
}

// Clusters of 4 CTAs and rows of 5 units: two units in each of the first two CTAs, one in the third, none in the last,
// and warps without units beside those that have some. Rings wrap: up to 14 rows a cluster. Of all parameters a random
// part.
TEST_CASE("bits do not depend on the launch parameters") {
    std::minstd_rand random(7);
    int compared = 0;
    for (const int size : {2, 4, 8})
        for (const std::int64_t hidden : {1160, 1024, 2048}) {
            FusedAllReduce shape;
            shape.num_tokens = size == 8 ? 6 : 14;
            shape.hidden_dim = hidden;
            CallTensors expected(shape, size, 5);
            EmulatedWorld(size).run(Fused::oneshot, expected, {.cluster_size = 1, .clusters = 1, .threads = 64});
            expected.check_against_reference();
            int launches = 0;
            for (const int cluster_size : {1, 2, 4})
                for (const int threads : {32, 64, 128})
                    for (const int clusters : {1, 2})
                        for (const int ahead : {0, 1, 2})
                            for (const int behind : {0, 1, 2})
                                for (const Variant& variant : kResidualVariants) {
                                    if (random() / 7 % (CROSSOVER_EMULATED_SHARE * (size == 8 ? 128 : 32)) != 0)
                                        continue;
                                    const LaunchParameters launch{.cluster_size = cluster_size,
                                                                  .clusters = clusters,
                                                                  .threads = threads,
                                                                  .push_ahead = ahead,
                                                                  .consume_behind = behind};
                                    const Fused algorithm = variant.algorithm;
                                    shape.pattern = variant.pattern;
                                    CallTensors tensors(shape, size, 5);
                                    EmulatedWorld world(size, {.seed = static_cast<std::uint64_t>(++launches)});
                                    if (unsupported(algorithm, tensors.call_of(0), world.workspaces[0], launch))
                                        continue;
                                    INFO(describe(algorithm, shape, size)
                                         << " cluster " << cluster_size << " clusters " << clusters << " threads "
                                         << threads << " ahead " << ahead << " behind " << behind);
                                    world.run(algorithm, tensors, launch);
                                    CHECK(tensors.ranks_that_differ(expected) == 0);
                                    ++compared;
                                }
        }
    MESSAGE(compared << " launches");
    CHECK(compared >= 50 / CROSSOVER_EMULATED_SHARE);
}

// More CTAs than a group of lanes that gives sums, more units than a warp has lanes, and a last unit partly filled.
TEST_CASE("rows of 18 and 34 units have the same bits in one CTA and spread over 16") {
    for (const std::int64_t hidden : {4360, 8456}) {
        FusedAllReduce shape;
        shape.num_tokens = 3;
        shape.hidden_dim = hidden;
        CallTensors expected(shape, 2, 11);
        EmulatedWorld(2).run(Fused::oneshot, expected, {.cluster_size = 1, .clusters = 1, .threads = 512});
        expected.check_against_reference();
        for (const LaunchParameters& launch : {LaunchParameters{.cluster_size = 16, .clusters = 1, .threads = 96},
                                               {.cluster_size = 16, .clusters = 2, .threads = 32},
                                               {.cluster_size = 8, .clusters = 1, .threads = 64},
                                               {.cluster_size = 2, .clusters = 1, .threads = 320}})
            for (const Variant& variant : kResidualVariants) {
                shape.pattern = variant.pattern;
                CallTensors tensors(shape, 2, 11);
                EmulatedWorld world(2, {.seed = 3});
                INFO(describe(variant.algorithm, shape, 2)
                     << " cluster " << launch.cluster_size << " threads " << launch.threads);
                world.run(variant.algorithm, tensors, launch);
                CHECK(tensors.ranks_that_differ(expected) == 0);
            }
    }
}

TEST_CASE("special values pass through the protocol: NaNs with every payload, infinities, zeros, subnormals") {
    for (const int size : {2, 4})
        for (const auto& dtype : kDTypes) {
            FusedAllReduce shape;
            shape.pattern = Pattern::allreduce;
            shape.dtype = dtype.value;
            shape.num_tokens = 16;
            shape.hidden_dim = 512;
            const NumberFormat format = format_of(dtype.value);
            // Codes from all over the format, the sentinel of the protocol among them.
            const auto code_of = [&](int rank, std::int64_t i) -> std::uint32_t {
                const auto code = static_cast<std::uint32_t>(i * 40503 + rank * 7) & 0xFFFFu;
                const bool all_ones = i % 64 < 2;
                if (dtype.value == DType::float32) return all_ones ? 0xFFFFFFFFu : code << 16 | (code & 0xFFu);
                return all_ones ? 0xFFFFu : code;
            };
            const std::size_t bytes = element_size(dtype.value);
            ReferenceCall reference = reference_of(shape, size, 1);
            reference.input = [&](int rank, std::int64_t t, std::int64_t c) {
                return decode(format, code_of(rank, t * shape.hidden_dim + c));
            };
            for (const Fused algorithm : {Fused::oneshot, Fused::twoshot}) {
                INFO(describe(algorithm, shape, size));
                CallTensors tensors(shape, size, 1);
                for (int rank = 0; rank < size; ++rank)
                    for (std::int64_t i = 0; i < shape.num_tokens * shape.hidden_dim; ++i) {
                        const std::uint32_t code = code_of(rank, i);
                        std::memcpy(tensors.ranks[static_cast<std::size_t>(rank)].input.data() + i * bytes, &code,
                                    bytes);
                    }
                EmulatedWorld(size).run(algorithm, tensors, {.cluster_size = 1, .clusters = 2, .threads = 64});
                CHECK(tensors.ranks_that_differ(tensors) == 0);
                const auto codes = unpack_codes(format, tensors.ranks[0].output);
                std::size_t wrong = 0, at = 0;
                for (std::int64_t token = 0; token < shape.num_tokens; ++token)
                    for (const double expected : reduced_in_rank_order(reference, token)) {
                        const double got = decode(format, codes[at++]);
                        wrong += got != expected && !(std::isnan(got) && std::isnan(expected));
                    }
                CHECK(wrong == 0);
            }
        }
}

TEST_CASE("a sharded residual gives the bits of a replicated one for values that look like an empty slot") {
    for (const int size : {2, 4, 8})
        for (const auto& dtype : kDTypes)
            for (const auto& quant : kQuants)
                for (const std::int64_t hidden : {16, 304, 336, 1024}) {
                    FusedAllReduce shape;
                    shape.dtype = dtype.value;
                    shape.quant = quant.value;
                    shape.num_tokens = 13;
                    shape.hidden_dim = hidden;
                    const auto run = [&](Pattern pattern) {
                        shape.pattern = pattern;
                        CallTensors tensors(shape, size, 1);
                        for (auto& of : tensors.ranks) {
                            of.input = tensor_of(shape.dtype, shape.num_tokens, hidden, nearly_empty_value);
                            of.gamma = tensor_of(shape.dtype, 1, hidden, [](auto, auto) { return 1.0f; });
                            std::ranges::fill(of.residual_in, std::byte{0});
                        }
                        INFO(describe(Fused::twoshot, shape, size));
                        EmulatedWorld(size).run(Fused::twoshot, tensors,
                                                {.cluster_size = 2, .clusters = 2, .threads = 64});
                        return tensors;
                    };
                    const CallTensors expected = run(Pattern::allreduce_residual_rmsnorm);
                    CHECK(run(Pattern::allreduce_residual_rmsnorm_sharded).ranks_that_differ(expected) == 0);
                    if (quant.value == Quant::fp4) // the test is what it says
                        CHECK(expected.ranks[0].output[static_cast<std::size_t>(hidden / 2) - 1] == std::byte{0xFF});
                }
}

TEST_CASE("of a sharded residual: what is refused, what may be null, what fits the workspace") {
    FusedAllReduce shape;
    shape.pattern = Pattern::allreduce_residual_rmsnorm_sharded;
    shape.num_tokens = 5;
    shape.hidden_dim = 1024;
    EmulatedWorld world(8);
    CallTensors tensors(shape, 8, 1);
    const auto reason = [&](Fused algorithm, const FusedAllReduce& call, int rank) {
        return unsupported(algorithm, call, world.workspaces[static_cast<std::size_t>(rank)], {.clusters = 2})
            .value_or("");
    };
    CHECK(reason(Fused::oneshot, tensors.call_of(0), 0).find("sharded") != std::string::npos);
    for (int rank = 0; rank < 8; ++rank) {
        FusedAllReduce call = tensors.call_of(rank);
        CHECK(reason(Fused::twoshot, call, rank) == "");
        call.residual_in = nullptr;
        CHECK(reason(Fused::twoshot, call, rank) == (rank < 5 ? "residual is null" : "")); // the others own no token
    }
    CHECK_THROWS_AS(unfused::fused_norm(tensors.call_of(0), true, &world.streams[0]), std::invalid_argument);

    // 8 ranks, rows of 16 KiB: fewer clusters than multiprocessors, so that there are some rows between fences, and an
    // odd number. In half of the memory fewer still.
    FusedAllReduce large = tensors.call_of(0);
    large.num_tokens = 4096;
    large.hidden_dim = 8192;
    Workspace workspace;
    workspace.peers.world_size = 8;
    workspace.bytes = std::size_t{128} << 20;
    const LaunchParameters launch = default_launch(Fused::twoshot, large, workspace, 132, 9);
    CHECK(launch.clusters == 90);
    CHECK(fused_arguments(Fused::twoshot, large, workspace, launch).clusters == 89);
    CHECK(fused_arguments(Fused::twoshot, large, workspace, launch).slots.fence_rows == 7);
    workspace.bytes /= 2;
    const LaunchParameters fewer = default_launch(Fused::twoshot, large, workspace, 132, 9);
    CHECK(fewer.clusters == 43);
    CHECK(fused_arguments(Fused::twoshot, large, workspace, fewer).slots.fence_rows == 7);
}

TEST_CASE("the unfused kernels agree with float64") {
    for (const Pattern pattern : {Pattern::allreduce_rmsnorm, Pattern::allreduce_residual_rmsnorm})
        for (const auto& dtype : kDTypes)
            for (const auto& quant : kQuants)
                for (const auto& [tokens, hidden] :
                     std::vector<std::pair<std::int64_t, std::int64_t>>{{1, 16}, {9, 336}, {130, 80}}) {
                    FusedAllReduce shape;
                    shape.pattern = pattern;
                    shape.dtype = dtype.value;
                    shape.quant = quant.value;
                    shape.num_tokens = tokens;
                    shape.hidden_dim = hidden;
                    INFO(describe(Fused::oneshot, shape, 1));
                    CallTensors one(shape, 1, 3), separate(shape, 1, 3);
                    EmulatedWorld world(1);
                    unfused::fused_norm(one.call_of(0), true, &world.streams[0]);
                    // The same in three kernels, chained: they round once more before they quantize.
                    const FusedAllReduce call = separate.call_of(0);
                    const void* source = call.input;
                    if (has_residual(pattern)) {
                        unfused::add_residual(call, true, &world.streams[0]);
                        source = call.residual_out;
                    }
                    Bytes normed(static_cast<std::size_t>(tokens * hidden) * element_size(dtype.value));
                    void* const result = quant.value == Quant::none ? call.output : normed.data();
                    unfused::rmsnorm(call, source, result, true, &world.streams[0]);
                    if (quant.value != Quant::none) unfused::quantize(call, normed.data(), true, &world.streams[0]);
                    world.machine.run();
                    one.check_against_reference();
                    CHECK(separate.ranks[0].residual_out == one.ranks[0].residual_out);
                    separate.check_separate_against_reference();
                }
}
