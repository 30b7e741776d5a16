// The launches that the kernels choose by themselves on a GPU of 132 multiprocessors with clusters.

#include "kernels/launch.hpp"
#include "kernels/workspace.hpp"
#include "tuner/launch_name.hpp"

#include <doctest/doctest.h>

#include <utility>

using namespace crossover;

namespace {

constexpr std::uint64_t kLargest = std::uint64_t{64} << 20;

struct Shape {
    std::int64_t num_tokens, hidden_dim;
};

FusedAllReduce call_of(Pattern pattern, Shape shape, Quant quant = Quant::none) {
    alignas(16) static std::byte tensor[16];
    FusedAllReduce call;
    call.pattern = pattern;
    call.num_tokens = shape.num_tokens;
    call.hidden_dim = shape.hidden_dim;
    call.input = call.residual_in = call.gamma = tensor;
    call.output = call.residual_out = call.output_scales = tensor;
    static const float scale = 1;
    call.quant = quant;
    call.quant_scale = &scale;
    return call;
}

Workspace workspace_of(int world_size, std::size_t bytes) {
    Workspace workspace;
    workspace.peers.world_size = world_size;
    workspace.bytes = bytes;
    return workspace;
}

LaunchParameters launch_of(Fused algorithm, Pattern pattern, Shape shape, int world_size, std::size_t workspace_bytes,
                           int multiprocessors, Quant quant = Quant::none) {
    return default_launch(algorithm, call_of(pattern, shape, quant), workspace_of(world_size, workspace_bytes),
                          multiprocessors, 9);
}

/// Of world size 2, in a workspace that limits nothing.
LaunchParameters launch_of(Fused algorithm, std::int64_t num_tokens, std::int64_t hidden_dim) {
    return launch_of(algorithm, Pattern::allreduce_residual_rmsnorm, {num_tokens, hidden_dim}, 2, kLargest, 132);
}

} // namespace

TEST_CASE("a row of eight units in one CTA, a longer one spread with four units or more on each if all rows fit") {
    const auto cluster_size = [](std::int64_t num_tokens, std::int64_t hidden_dim) {
        return launch_of(Fused::oneshot, num_tokens, hidden_dim).cluster_size;
    };
    for (const std::int64_t num_tokens : {1, 4, 32}) {
        CHECK(cluster_size(num_tokens, 1024) == 1);
        CHECK(cluster_size(num_tokens, 2048) == 1);
        CHECK(cluster_size(num_tokens, 2304) == 2); // nine units
        CHECK(cluster_size(num_tokens, 4096) == 4);
        CHECK(cluster_size(num_tokens, 6144) == 4);
        CHECK(cluster_size(num_tokens, 8192) == 8);
    }
    CHECK(cluster_size(4, 16384) == 16);
    CHECK(cluster_size(5, 16384) == 8);
    CHECK(cluster_size(120, 8192) == 8); // as many as fit beside each other
    CHECK(cluster_size(121, 8192) == 2);
    CHECK(cluster_size(240, 4096) == 4);
    CHECK(cluster_size(241, 4096) == 2);
}

TEST_CASE("oneshot of four ranks or more, up to 16 tokens: a row in up to 16 CTAs of a unit or two") {
    const auto launch = [](Fused algorithm, std::int64_t num_tokens, std::int64_t hidden_dim, int world_size = 4) {
        return launch_of(algorithm, Pattern::allreduce_residual_rmsnorm, {num_tokens, hidden_dim}, world_size, kLargest,
                         132);
    };
    for (const std::int64_t num_tokens : {1, 16}) {
        CHECK(launch(Fused::oneshot, num_tokens, 8192).cluster_size == 16);
        CHECK(launch(Fused::oneshot, num_tokens, 8192).threads == 64);
        CHECK(launch(Fused::oneshot, num_tokens, 4096, 8).cluster_size == 16);
        CHECK(launch(Fused::oneshot, num_tokens, 1024).cluster_size == 4);
        CHECK(launch(Fused::twoshot, num_tokens, 8192).cluster_size == 8);
    }
    CHECK(launch(Fused::oneshot, 17, 8192).cluster_size == 8);
}

TEST_CASE("one row a cluster where all fit beside each other, else as many clusters as fit") {
    for (const Fused algorithm : {Fused::oneshot, Fused::twoshot})
        for (const int world_size : {2, 4, 8}) {
            const auto launch = [&](std::int64_t num_tokens) {
                return launch_of(algorithm, Pattern::allreduce_residual_rmsnorm, {num_tokens, 8192}, world_size,
                                 kLargest, 132);
            };
            INFO((algorithm == Fused::oneshot ? "oneshot" : "twoshot") << " of " << world_size);
            // Kernels for eight ranks have registers for one CTA of 512 threads a multiprocessor.
            const int fit = world_size == 8 ? 66 : 132;
            for (const int num_tokens : {33, 60, fit - 1, fit}) CHECK(launch(num_tokens).clusters == num_tokens);
            CHECK(launch(fit).cluster_size == 2);
            CHECK(launch(fit).threads == 512);
            if (algorithm == Fused::oneshot || world_size < 8) { // as many as three iterations need, or two
                CHECK(launch(fit + 1).clusters == (world_size == 8 ? 34 : 45));
                CHECK(launch(198).clusters == 66);
                CHECK(launch(199).clusters == 50);
            }
        }
    for (const std::int64_t num_tokens : {1584, 1585}) // rows of a unit: 12 CTAs a multiprocessor, of any size
        CHECK(launch_of(Fused::oneshot, num_tokens, 256) ==
              LaunchParameters{.cluster_size = 1, .clusters = 1584, .threads = 32});
}

TEST_CASE("twoshot of eight ranks takes one iteration of two units a warp rather than two of one") {
    const auto launch = [](std::int64_t num_tokens, std::int64_t hidden_dim) {
        return launch_of(Fused::twoshot, Pattern::allreduce_residual_rmsnorm, {num_tokens, hidden_dim}, 8, kLargest,
                         132);
    };
    CHECK(launch(67, 8192) == LaunchParameters{.cluster_size = 2, .clusters = 67, .threads = 256});
    CHECK(launch(132, 8192) == LaunchParameters{.cluster_size = 2, .clusters = 132, .threads = 256});
    CHECK(launch(133, 8192) == LaunchParameters{.cluster_size = 2, .clusters = 45});
    CHECK(launch(200, 4096) == LaunchParameters{.cluster_size = 2, .clusters = 200, .threads = 128});
    CHECK(launch(200, 2048) == LaunchParameters{.cluster_size = 1, .clusters = 200, .threads = 256});
}

TEST_CASE(
    "twoshot of four ranks or more: rows of 9 to 16 units in two CTAs, even iterations, four of them pushed early") {
    const auto launch = [](Shape shape, int world_size = 4, Fused algorithm = Fused::twoshot) {
        return launch_of(algorithm, Pattern::allreduce_residual_rmsnorm, shape, world_size, kLargest, 132);
    };
    CHECK(launch({1024, 4096}) == LaunchParameters{.cluster_size = 2, .clusters = 128, .threads = 256});
    CHECK(launch({1024, 2304}) == LaunchParameters{.cluster_size = 2, .clusters = 171, .threads = 160});
    CHECK(launch({600, 2048}) == LaunchParameters{.cluster_size = 1, .clusters = 200, .threads = 256});
    CHECK(launch({1024, 4096}, 2) == LaunchParameters{.cluster_size = 1, .clusters = 132});
    CHECK(launch({1024, 4096}, 4, Fused::oneshot) == LaunchParameters{.cluster_size = 1, .clusters = 132});
    CHECK(launch({2049, 4096}).cluster_size == 1); // above 16 MiB
    for (const int world_size : {4, 8}) {
        CHECK(launch({256, 8192}, world_size) == LaunchParameters{.cluster_size = 2, .clusters = 64, .push_ahead = 2});
        CHECK(launch({265, 8192}, world_size).push_ahead == 1);
        CHECK(launch({198, 8192}, world_size).push_ahead == 1);
    }
    CHECK(launch({256, 8192}, 2).push_ahead == 1);
    CHECK(launch({256, 8192}, 4, Fused::oneshot).push_ahead == 1);
}

TEST_CASE("above 16 MiB twice the CTAs: of a unit a warp where registers allow it, else of two") {
    const LaunchParameters launch{.cluster_size = 2, .clusters = 64}; // in 16 iterations
    CHECK(launch_of(Fused::oneshot, 1024, 8192) == launch);
    CHECK(launch_of(Fused::oneshot, 1025, 8192) == LaunchParameters{.cluster_size = 2, .clusters = 129});
    CHECK(launch_of(Fused::twoshot, 1024, 8192) == launch);
    CHECK(launch_of(Fused::twoshot, 1025, 8192).threads == 256);
    CHECK(launch_of(Fused::twoshot, 8193, 1024).threads == 128); // four units have a warp each at any size
}

TEST_CASE("CTAs of 9 to 12 warps lie beside each other above 4 MiB, where registers allow it") {
    const LaunchParameters alone{.cluster_size = 1, .clusters = 114, .threads = 384}; // in six iterations
    CHECK(launch_of(Fused::oneshot, 682, 3072) == alone);
    CHECK(launch_of(Fused::oneshot, 683, 3072) == LaunchParameters{.cluster_size = 1, .clusters = 228, .threads = 384});
    CHECK(launch_of(Fused::oneshot, 640, 5120) == LaunchParameters{.cluster_size = 2, .clusters = 160, .threads = 320});
    CHECK(launch_of(Fused::oneshot, 640, 6656).clusters == 64);   // of 13 warps
    CHECK(launch_of(Fused::oneshot, 2048, 2048).clusters == 264); // of eight: two have always fitted
    CHECK(launch_of(Fused::twoshot, 683, 3072).clusters == 132);
    const LaunchParameters of_fp4 =
        launch_of(Fused::oneshot, Pattern::allreduce_residual_rmsnorm, {640, 5120}, 2, kLargest, 132, Quant::fp4);
    CHECK(of_fp4 == LaunchParameters{.cluster_size = 2, .clusters = 64, .threads = 320});
}

TEST_CASE("oneshot of two ranks in single CTAs of more than eight warps: even iterations, up to eight of them") {
    CHECK(launch_of(Fused::oneshot, 288, 4096) == LaunchParameters{.cluster_size = 1, .clusters = 96});
    CHECK(launch_of(Fused::oneshot, 1024, 4096).clusters == 128);
    CHECK(launch_of(Fused::oneshot, 1088, 4096).clusters == 132); // nine
    CHECK(launch_of(Fused::oneshot, 1088, 2048).clusters == 264); // two CTAs of eight warps
}

TEST_CASE("clusters of four CTAs and more: those that fit beside each other, and no more than the iterations need") {
    for (const Fused algorithm : {Fused::oneshot, Fused::twoshot}) {
        const LaunchParameters launch = launch_of(algorithm, 270, 16384);
        CHECK(launch.cluster_size == 4);
        CHECK(launch.threads == 512);
        CHECK(launch.clusters == 30);
        CHECK(launch_of(algorithm, 64, 16384).clusters == 22); // in three iterations
        CHECK(launch_of(algorithm, 1080, 16384).clusters == 60);
        CHECK(launch_of(algorithm, 255, 32768).cluster_size == 8);
        CHECK(launch_of(algorithm, 255, 32768).clusters == 15);
    }
    CHECK(launch_of(Fused::oneshot, 60, 16384).clusters == 60); // twice the CTAs, as with narrower clusters
    CHECK(launch_of(Fused::oneshot, 32, 16384).clusters == 32);
    CHECK(launch_of(Fused::oneshot, 1080, 16384).threads == 512);
    CHECK(launch_of(Fused::twoshot, 1080, 16384).threads == 256);
}

TEST_CASE("a sharded residual: twice the CTAs of two units a warp above 2 MiB, if not a row each") {
    const auto sharded = [](std::int64_t num_tokens, std::int64_t hidden_dim, int world_size = 2) {
        return launch_of(Fused::twoshot, Pattern::allreduce_residual_rmsnorm_sharded, {num_tokens, hidden_dim},
                         world_size, kLargest, 132);
    };
    CHECK(sharded(132, 8192) == LaunchParameters{.cluster_size = 2, .clusters = 132}); // a row each
    CHECK(sharded(133, 8192) == LaunchParameters{.cluster_size = 2, .clusters = 132, .threads = 256});
    CHECK(sharded(67, 8192, 8) == LaunchParameters{.cluster_size = 2, .clusters = 66});
    CHECK(sharded(265, 4096).cluster_size == 1);
    CHECK(sharded(265, 4096).clusters == 264);
}

TEST_CASE("sharded fp4 of two ranks: a unit a warp up to 32 MiB, where it takes more than two iterations of two") {
    const auto sharded = [](std::int64_t num_tokens, std::int64_t hidden_dim, Quant quant = Quant::fp4,
                            int world_size = 2) {
        return launch_of(Fused::twoshot, Pattern::allreduce_residual_rmsnorm_sharded, {num_tokens, hidden_dim},
                         world_size, kLargest, 132, quant);
    };
    const LaunchParameters two{.cluster_size = 2, .clusters = 132, .threads = 256};
    CHECK(sharded(264, 8192) == two);
    for (const std::int64_t num_tokens : {265, 2048})
        CHECK(sharded(num_tokens, 8192) == LaunchParameters{.cluster_size = 2, .clusters = 66});
    CHECK(sharded(2049, 8192) == two);
    CHECK(sharded(265, 8192, Quant::fp8) == two);
    CHECK(sharded(265, 8192, Quant::fp4, 4).threads == 256);
    // 20 warps a multiprocessor
    CHECK(sharded(512, 5120) == LaunchParameters{.cluster_size = 2, .clusters = 132, .threads = 320});
    CHECK(sharded(2048, 1536) == LaunchParameters{.cluster_size = 1, .clusters = 396, .threads = 192});
}

TEST_CASE("on any GPU: supported, clusters only where there are some, and no more CTAs than find room") {
    int launches = 0, of_one_row = 0;
    const auto check = [&](Fused algorithm, Pattern pattern, Shape shape, int world_size, int multiprocessors,
                           int compute_capability_major, std::size_t mebibytes, Quant quant = Quant::none) {
        const FusedAllReduce call = call_of(pattern, shape, quant);
        const Workspace workspace = workspace_of(world_size, mebibytes << 20);
        const LaunchParameters launch =
            default_launch(algorithm, call, workspace, multiprocessors, compute_capability_major);
        INFO(to_string(launch) << " for " << shape.num_tokens << " x " << shape.hidden_dim << ", world size "
                               << world_size << ", " << multiprocessors << " multiprocessors of "
                               << compute_capability_major << ".x, " << mebibytes << " MiB, " << to_string(pattern));
        if (compute_capability_major < 9) REQUIRE(launch.cluster_size == 1);
        if (unsupported(algorithm, call, workspace, launch)) {
            const bool too_long = compute_capability_major < 9 && units_per_row(call) > 64; // for one CTA
            const bool too_large = mebibytes == 1 && launch.clusters == 1;
            REQUIRE((too_long || too_large));
            return;
        }
        const device::Arguments arguments = fused_arguments(algorithm, call, workspace, launch);
        const bool one_row = arguments.num_tokens <= arguments.clusters;
        const int threads = threads_per_multiprocessor(algorithm, call, world_size, arguments.units_per_warp, one_row);
        REQUIRE(arguments.clusters <= resident_clusters(launch, threads, multiprocessors));
        ++launches;
        of_one_row += one_row;
    };
    for (const int multiprocessors : {60, 78, 108, 132, 148, 188, 200})
        for (const int major : {8, 9, 10, 12})
            for (const int world_size : {2, 4, 8})
                for (const std::int64_t hidden_dim : {16, 264, 1024, 2880, 8192, 16400, 65536, 131072})
                    for (const std::int64_t num_tokens : {1, 5, 16, 17, 64, 131, 300, 1600, 5000})
                        for (const std::size_t mebibytes : {1, 64}) {
                            const Shape shape{num_tokens, hidden_dim};
                            check(Fused::oneshot, Pattern::allreduce_residual_rmsnorm, shape, world_size,
                                  multiprocessors, major, mebibytes);
                            check(Fused::twoshot, Pattern::allreduce_residual_rmsnorm, shape, world_size,
                                  multiprocessors, major, mebibytes);
                            for (const Quant quant : {Quant::none, Quant::fp4})
                                if (quant == Quant::none || hidden_dim % 16 == 0)
                                    check(Fused::twoshot, Pattern::allreduce_residual_rmsnorm_sharded, shape,
                                          world_size, multiprocessors, major, mebibytes, quant);
                        }
    CHECK(launches > 10000);
    CHECK(of_one_row > 3000);
}

TEST_CASE("fewer clusters where the rings do not fit, and down to half of those for four rows between fences") {
    int as_many_as_fit = 0, four_rows = 0, half = 0;
    for (const Fused algorithm : {Fused::oneshot, Fused::twoshot})
        for (const int world_size : {2, 4, 8})
            for (const std::int64_t num_tokens : {64, 512, 1024, 4096})
                for (const std::size_t mebibytes : {1, 4, 16, 64}) {
                    const FusedAllReduce call = call_of(Pattern::allreduce_residual_rmsnorm, {num_tokens, 8192});
                    const Workspace workspace = workspace_of(world_size, mebibytes << 20);
                    const LaunchParameters launch = default_launch(algorithm, call, workspace, 132, 9);
                    const LaunchParameters roomy =
                        default_launch(algorithm, call, workspace_of(world_size, std::size_t{1} << 36), 132, 9);
                    INFO(to_string(launch) << ", with room " << to_string(roomy) << ", " << mebibytes << " MiB");
                    REQUIRE_FALSE(unsupported(algorithm, call, workspace, launch).has_value());
                    LaunchParameters fits = roomy;
                    while (fits.clusters > 1 && unsupported(algorithm, call, workspace, fits)) --fits.clusters;
                    const auto fence_rows = [&](const LaunchParameters& of) {
                        return slot_layout(algorithm, call, workspace, of).fence_rows;
                    };
                    CHECK(launch.clusters <= fits.clusters);
                    if (fence_rows(fits) >= 4) {
                        CHECK(launch.clusters == fits.clusters);
                        ++as_many_as_fit;
                    } else if (fence_rows(launch) >= 4) {
                        CHECK(launch.clusters >= (fits.clusters - 1) / 2);
                        ++four_rows;
                    } else {
                        CHECK(launch.clusters >= (fits.clusters - 1) / 2);
                        CHECK(launch.clusters <= fits.clusters / 2 + 1);
                        ++half;
                    }
                }
    CHECK(as_many_as_fit > 0);
    CHECK(four_rows > 0);
    CHECK(half > 0);
}

TEST_CASE(
    "workspace_bytes() is enough for the launch that there is with 64 MiB: what was measured is what an engine runs") {
    int launches = 0;
    const auto check = [&](Fused algorithm, Pattern pattern, Shape shape, int world_size, int multiprocessors) {
        const auto message = static_cast<std::uint64_t>(shape.num_tokens * shape.hidden_dim * 2);
        const std::size_t bytes = workspace_bytes(world_size, message);
        if (bytes == kLargest) return;
        INFO(shape.num_tokens << " x " << shape.hidden_dim << ", world size " << world_size << ", " << multiprocessors
                              << " multiprocessors, " << to_string(pattern));
        REQUIRE(launch_of(algorithm, pattern, shape, world_size, bytes, multiprocessors) ==
                launch_of(algorithm, pattern, shape, world_size, kLargest, multiprocessors));
        ++launches;
    };
    for (const int multiprocessors : {48, 132, 148})
        for (const int world_size : {2, 4, 8})
            for (const std::int64_t hidden_dim : {2048, 2056, 2304, 2880, 4096, 5120, 7168, 8192, 8200, 8448, 16384})
                for (std::int64_t num_tokens = 1; num_tokens <= 512; ++num_tokens) {
                    const Shape shape{num_tokens, hidden_dim};
                    constexpr Pattern kPlain = Pattern::allreduce_residual_rmsnorm;
                    check(Fused::oneshot, kPlain, shape, world_size, multiprocessors);
                    check(Fused::twoshot, kPlain, shape, world_size, multiprocessors);
                    check(Fused::twoshot, Pattern::allreduce_residual_rmsnorm_sharded, shape, world_size,
                          multiprocessors);
                }
    CHECK(launches > 50000);
}
