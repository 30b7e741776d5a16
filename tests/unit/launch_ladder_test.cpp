/// Which launches are looked at: few, supported, and known by names.
#include "tuner/error.hpp"
#include "tuner/launch_name.hpp"
#include "tuner/plan/launch_ladder.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

using namespace crossover;

namespace {

constexpr LaunchRoom kH200{.multiprocessors = 132,
                           .compute_capability_major = 9,
                           .max_message_bytes = 64 << 20,
                           .workspace_limit_bytes = 64 << 20};

/// A call whose tensors are somewhere.
FusedAllReduce call_of(const Point& point, std::int64_t num_tokens) {
    alignas(16) static char tensor[16];
    static float scale = 1;
    return {.pattern = point.cell.pattern,
            .dtype = point.cell.dtype,
            .quant = point.cell.quant,
            .num_tokens = num_tokens,
            .hidden_dim = point.hidden_dim,
            .input = tensor,
            .residual_in = tensor,
            .residual_out = tensor,
            .gamma = tensor,
            .output = tensor,
            .output_scales = tensor,
            .quant_scale = &scale};
}

} // namespace

TEST_CASE("every launch of the ladder is supported up to twice the tokens, in the workspace that a table asks for") {
    std::size_t most = 0, shapes = 0, empty = 0;
    for (const int world_size : {2, 4, 8})
        for (const std::int64_t hidden_dim : {2048, 2880, 4096, 5120, 8192, 16384})
            for (std::int64_t num_tokens = 1; num_tokens <= 16384; num_tokens *= 2)
                for (const DType dtype : {DType::bfloat16, DType::float32})
                    for (const Fused algorithm : {Fused::oneshot, Fused::twoshot}) {
                        const Point point{{.dtype = dtype, .world_size = world_size}, hidden_dim, num_tokens};
                        if (message_bytes(point) > kH200.max_message_bytes) continue;
                        CAPTURE(to_string(point));
                        const std::vector<LaunchParameters> ladder = launch_ladder(algorithm, point, kH200);
                        CHECK(ladder == launch_ladder(algorithm, point, kH200));
                        ++shapes;
                        empty += ladder.empty();
                        most = std::max(most, ladder.size());
                        std::set<std::string> names;
                        for (const LaunchParameters& launch : ladder) {
                            CHECK(names.insert(to_string(launch)).second);
                            // An H200 takes 30 of 4 CTAs of 512 threads, oneshot's of two ranks twice.
                            const int ctas = algorithm == Fused::oneshot && world_size == 2 ? 2 : 1;
                            if (launch.cluster_size >= 4)
                                CHECK(launch.clusters * launch.cluster_size <= 120 * (ctas * 512 / launch.threads));
                            for (std::int64_t tokens : {std::int64_t{1}, num_tokens, 2 * num_tokens}) {
                                const FusedAllReduce call = call_of(point, tokens);
                                Point larger = point;
                                larger.num_tokens = 2 * num_tokens;
                                if (message_bytes(larger) > kH200.max_message_bytes && tokens > num_tokens) continue;
                                Workspace workspace;
                                workspace.peers.world_size = world_size;
                                workspace.bytes = workspace_bytes(world_size, message_bytes(larger));
                                CHECK_FALSE(unsupported(algorithm, call, workspace, launch).has_value());
                            }
                        }
                    }
    CHECK(shapes > 500);
    CHECK(empty == 0);
    CHECK(most <= 7);
}

TEST_CASE("small messages spread their rows, large ones do not, and clusters need compute capability 9") {
    const auto widest = [](std::int64_t num_tokens, LaunchRoom room) {
        int cluster_size = 0;
        for (const LaunchParameters& launch :
             launch_ladder(Fused::oneshot, {{.world_size = 8}, 8192, num_tokens}, room))
            cluster_size = std::max(cluster_size, launch.cluster_size);
        return cluster_size;
    };
    CHECK(widest(1, kH200) == 16);
    CHECK(widest(32, kH200) == 8);
    CHECK(widest(4096, kH200) == 2);
    LaunchRoom older = kH200;
    older.compute_capability_major = 8;
    CHECK(widest(1, older) == 1);
    CHECK(launch_ladder("nccl_fused_norm", {{.world_size = 8}, 8192, 1}, kH200).empty());
}

TEST_CASE("twice the CTAs are looked at where registers allow it and there are rows for them") {
    const auto looks = [](Fused algorithm, const CellKey& cell, std::int64_t num_tokens, LaunchParameters launch) {
        const auto ladder = launch_ladder(algorithm, {cell, 8192, num_tokens}, kH200);
        return std::find(ladder.begin(), ladder.end(), launch) != ladder.end();
    };
    const LaunchParameters once{.cluster_size = 2, .clusters = 66}, twice{.cluster_size = 2, .clusters = 132};
    for (const std::int64_t num_tokens : {66, 67, 128, 133, 1024, 4096}) {
        CHECK(looks(Fused::oneshot, {.world_size = 2}, num_tokens, once));
        CHECK(looks(Fused::oneshot, {.world_size = 2}, num_tokens, twice) == (num_tokens > 66));
        CHECK(looks(Fused::oneshot, {.quant = Quant::fp8, .world_size = 2}, num_tokens, twice) == (num_tokens > 66));
        CHECK(looks(Fused::oneshot, {.quant = Quant::fp4, .world_size = 2}, num_tokens, twice) == (num_tokens > 66));
        CHECK_FALSE(looks(Fused::oneshot, {.world_size = 8}, num_tokens, twice));
        CHECK_FALSE(looks(Fused::twoshot, {.world_size = 2}, num_tokens, twice));
    }
}

TEST_CASE("names of launches, and back") {
    const LaunchParameters launch{.cluster_size = 8, .clusters = 66, .threads = 128, .push_ahead = 2};
    const std::string name = launched_name("oneshot", launch);
    CHECK(name == "oneshot[cluster=8,clusters=66,threads=128,ahead=2,behind=1]");
    CHECK(parse_launched(name) == LaunchedAlgorithm{"oneshot", launch});
    CHECK(parse_launched("oneshot") == LaunchedAlgorithm{"oneshot", std::nullopt});
    CHECK(parse_launched("mine[x]") == LaunchedAlgorithm{"mine[x]", std::nullopt});
    CHECK(base_of(name) == "oneshot");
    CHECK(base_of("mine[x]") == "mine[x]");
    CHECK(is_launch_variant(name));
    CHECK_FALSE(is_launch_variant("oneshot"));
    CHECK_FALSE(is_launch_variant("oneshot[cluster=8"));
    CHECK_THROWS_WITH_AS(parse_launched("twoshot[cluster=8,warps=2]"),
                         "launch parameters `cluster=8,warps=2`: cannot read `warps=2`; write "
                         "cluster=N,clusters=N,threads=N,ahead=N,behind=N",
                         InputError);
    for (const std::string wrong :
         {"cluster=x", "cluster=", "cluster=99999999999", "cluster=8,cluster=4", "cluster=1e3"})
        CHECK_THROWS_AS(parse_launched("twoshot[" + wrong + "]"), InputError);
}
