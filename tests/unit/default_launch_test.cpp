// The launches that the kernels choose by themselves on a GPU of 132 multiprocessors with clusters.

#include "kernels/launch.hpp"
#include "kernels/workspace.hpp"

#include <doctest/doctest.h>

using namespace crossover;

namespace {

/// Of world size 2, in a workspace that limits nothing.
LaunchParameters launch_of(Fused algorithm, std::int64_t num_tokens, std::int64_t hidden_dim) {
    alignas(16) static std::byte tensor[16];
    FusedAllReduce call;
    call.num_tokens = num_tokens;
    call.hidden_dim = hidden_dim;
    call.input = call.residual_in = call.gamma = tensor;
    call.output = call.residual_out = tensor;
    Workspace workspace;
    workspace.peers.world_size = 2;
    workspace.bytes = workspace_bytes(2, std::uint64_t{64} << 20);
    return default_launch(algorithm, call, workspace, 132, 9);
}

} // namespace

TEST_CASE("few tokens: a row of eight units in one CTA, a longer one spread with four units or more on each") {
    const auto cluster_size = [](std::int64_t num_tokens, std::int64_t hidden_dim) {
        return launch_of(Fused::oneshot, num_tokens, hidden_dim).cluster_size;
    };
    for (const std::int64_t num_tokens : {1, 4, 32}) {
        CHECK(cluster_size(num_tokens, 1024) == 1);
        CHECK(cluster_size(num_tokens, 2048) == 1);
        CHECK(cluster_size(num_tokens, 4096) == 4);
        CHECK(cluster_size(num_tokens, 6144) == 4);
        CHECK(cluster_size(num_tokens, 8192) == 8);
    }
    CHECK(cluster_size(4, 16384) == 16);
    CHECK(cluster_size(5, 16384) == 8);
    CHECK(cluster_size(33, 8192) == 2); // as few as give each warp a unit
}

TEST_CASE("twoshot takes one iteration of two units a warp rather than two of one") {
    const LaunchParameters two = launch_of(Fused::twoshot, 66, 8192), one = launch_of(Fused::twoshot, 67, 8192);
    CHECK(two.cluster_size == 2);
    CHECK(two.clusters == 66);
    CHECK(one.cluster_size == 1);
    CHECK(one.clusters == 132);
    CHECK(one.threads == two.threads);
    CHECK(launch_of(Fused::twoshot, 133, 8192) == two);
    CHECK(launch_of(Fused::oneshot, 67, 8192) == two); // where it was no faster
}
