#pragma once
/// Test cases whose body runs in several rank processes: on_ranks() in the driver process starts this test program once
/// a rank, with the same test case selected; there on_ranks() connects and runs the body. A check that fails on any
/// rank makes that rank's exit code, and so the driver's test case, fail.
///
/// Include with DOCTEST_CONFIG_IMPLEMENT defined; main() is here.

#include "comm/communicator.hpp"
#include "comm/launch.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace crossover::testing {

inline constexpr const char* kRankVariable = "CROSSOVER_TEST_RANK";

inline int visible_gpus() {
    int count = 0;
    return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

/// As many ranks as there are GPUs, a power of two, at most 8.
inline int largest_world() {
    int size = 1;
    while (2 * size <= std::min(visible_gpus(), 8)) size *= 2;
    return size;
}

/// Whether this rank process has come to the body it was started for.
inline bool body_was_run = false;

/// A supervisor ends ranks by SIGTERM when another rank has failed; doctest, whose handler a test case begins with,
/// would report each as a crash of the test case.
inline void end_quietly_when_told() { std::signal(SIGTERM, SIG_DFL); }

/// NCCL refuses two ranks on one GPU of a host. So ranks that share one say that they are on different hosts, which it
/// then connects through the loopback interface; our kernels' memory goes through cudaIpc.
inline void share_gpus(int rank) {
    setenv("NCCL_HOSTID", ("host" + std::to_string(rank / visible_gpus())).c_str(), 1);
    setenv("NCCL_SOCKET_IFNAME", "lo", 1);
}

/// Runs `body(communicator)` on `world_size` ranks on at least `gpus` GPUs, as many as there are ranks if it is left
/// out; times mean nothing where ranks share one. Test case names must have no comma, which ends a doctest filter.
template <class Body>
void on_ranks(int world_size, Body&& body, std::chrono::milliseconds timeout = std::chrono::seconds(60), int gpus = 0) {
    const Environment environment = read_environment();
    const int visible = visible_gpus();
    if (variable(environment, kRankVariable)) {
        end_quietly_when_told();
        const RankEnvironment self = rank_environment(environment);
        if (world_size > visible) share_gpus(self.rank);
        Communicator world = Communicator::connect(self, timeout);
        body_was_run = true;
        body(world);
        return;
    }
    const std::string name = doctest::getContextOptions()->currentTest->m_name;
    if (const int needed = gpus > 0 ? gpus : world_size; visible < needed) {
        std::printf("SKIPPED: \"%s\" needs %d GPUs\n", name.c_str(), needed);
        return;
    }
    RankJob job{.arguments = {"--test-case=" + name, "--no-intro", "--no-version"},
                .world_size = world_size,
                .local_size = world_size,
                .port = free_port(),
                .environment = {{kRankVariable, "1"}},
                .time_limit = std::chrono::minutes(3)};
    for (int rank = 0; rank < world_size; ++rank) job.ranks.push_back({rank, rank % visible});
    const auto failure = supervise_ranks(job);
    INFO((failure ? failure->message : std::string()));
    CHECK_FALSE(failure.has_value());
}

} // namespace crossover::testing

int main(int argc, char** argv) {
    if (crossover::testing::visible_gpus() < 2) {
        std::printf("SKIPPED: needs 2 GPUs\n");
        return 77;
    }
    const int result = doctest::Context(argc, argv).run();
    const bool is_rank =
        crossover::variable(crossover::read_environment(), crossover::testing::kRankVariable).has_value();
    if (is_rank && !crossover::testing::body_was_run) {
        std::printf("no test case of this name ran in the rank process\n");
        return 1;
    }
    return result;
}
