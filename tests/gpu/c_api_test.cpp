// The C API of libcrossover_kernels, and the C++ one on it, on real GPUs. Needs 2.

#define DOCTEST_CONFIG_IMPLEMENT
#include "tests/gpu/on_ranks.hpp"

#include "comm/symmetric_buffer.hpp"
#include "kernels/crossover_kernels.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

using namespace crossover;
using namespace crossover::testing;

namespace {

constexpr std::int64_t kTokens = 96, kHidden = 4096;
constexpr std::size_t kElements = kTokens * kHidden;

/// Collective.
kernels::Workspace workspace_of(ncclComm_t comm) { return {comm, crossover_workspace_bytes(2, 4 * kElements)}; }

/// Tensors of one rank: every element of the input is rank + 1.
struct Tensors {
    explicit Tensors(int rank) : input(kElements), output(kElements) {
        const std::vector<float> mine(kElements, static_cast<float>(rank + 1));
        CROSSOVER_CUDA_CHECK(cudaMemcpy(input.data(), mine.data(), input.bytes(), cudaMemcpyHostToDevice));
        CROSSOVER_CUDA_CHECK(cudaMemset(output.data(), 0xA5, output.bytes()));
        CROSSOVER_CUDA_CHECK(cudaDeviceSynchronize()); // neither is done on return, and other streams do not wait
    }
    crossover_call call() const {
        crossover_call call{};
        call.pattern = CROSSOVER_ALLREDUCE;
        call.dtype = CROSSOVER_FLOAT32;
        call.num_tokens = kTokens;
        call.hidden_dim = kHidden;
        call.input = input.data();
        call.output = output.data();
        return call;
    }
    bool all_are(float expected) const {
        std::vector<float> values(kElements);
        CROSSOVER_CUDA_CHECK(cudaMemcpy(values.data(), output.data(), output.bytes(), cudaMemcpyDeviceToHost));
        return std::all_of(values.begin(), values.end(), [&](float value) { return value == expected; });
    }
    DeviceBuffer<float> input, output;
};

/// One rank of a world without NCCL, in this process; `rank` is its GPU, too, and current when it is made.
struct PointerRank {
    PointerRank(int rank, const std::vector<void*>& base, std::size_t bytes)
        : workspace(rank, base, bytes), tensors(rank) {}
    kernels::Workspace workspace;
    Tensors tensors;
    Stream stream;
};

} // namespace

TEST_CASE("a workspace of an ncclComm_t serves both algorithms and leaves the communicator alone") {
    on_ranks(largest_world(), [](Communicator& world) {
        const auto sum = static_cast<float>(world.size() * (world.size() + 1) / 2);
        for (int round = 0; round < 2; ++round) {
            kernels::Workspace workspace = workspace_of(world.nccl());
            const Stream stream;
            for (const crossover_algorithm algorithm : {CROSSOVER_ONESHOT, CROSSOVER_TWOSHOT}) {
                const Tensors tensors(world.rank());
                const crossover_call call = tensors.call();
                const std::optional launch = workspace.default_launch(algorithm, call);
                for (const auto& given : {std::optional<crossover_launch>(), launch}) {
                    workspace.fused_allreduce(algorithm, call, stream.get(), given);
                    workspace.check_waits(stream.get());
                    CHECK(tensors.all_are(sum));
                }
            }
        }
        world.barrier();
    });
}

TEST_CASE("what cannot be run is said before anything is enqueued") {
    on_ranks(2, [](Communicator& world) {
        const kernels::Workspace workspace = workspace_of(world.nccl());
        const Tensors tensors(world.rank());
        const Stream stream;
        const auto status_of = [&](auto change) {
            crossover_call call = tensors.call();
            change(call);
            return crossover_fused_allreduce(workspace.get(), CROSSOVER_ONESHOT, &call, nullptr, stream.get());
        };
        CHECK(status_of([](crossover_call& call) { call.hidden_dim = 4095; }) == CROSSOVER_UNSUPPORTED);
        CHECK(std::string(crossover_last_error()) == "hidden_dim 4095 is not a positive multiple of 8");
        CHECK(status_of([](crossover_call& call) { call.num_tokens = 0; }) == CROSSOVER_UNSUPPORTED);
        CHECK(status_of([](crossover_call& call) { call.input = nullptr; }) == CROSSOVER_UNSUPPORTED);
        CHECK(status_of([](crossover_call& call) { call.dtype = static_cast<crossover_dtype>(3); }) ==
              CROSSOVER_INVALID);
        crossover_launch launch{};
        crossover_call shape_alone = tensors.call();
        shape_alone.input = nullptr; // no launch is chosen for it, so none is told
        CHECK(crossover_default_launch(workspace.get(), CROSSOVER_ONESHOT, &shape_alone, &launch) ==
              CROSSOVER_UNSUPPORTED);
        CHECK(std::string(crossover_last_error()) == "input or output is null");
        CHECK(launch.threads == 0);
        CHECK(crossover_fused_allreduce(nullptr, CROSSOVER_ONESHOT, nullptr, nullptr, nullptr) == CROSSOVER_INVALID);
        CHECK(crossover_check(workspace.get(), stream.get()) == CROSSOVER_OK);
    });
}

TEST_CASE("a rank that does not call is a time-out that names it") {
    on_ranks(2, [](Communicator& world) {
        const kernels::Workspace workspace = workspace_of(world.nccl());
        const Tensors tensors(world.rank());
        const Stream stream;
        if (world.rank() == 0) {
            const crossover_call call = tensors.call();
            REQUIRE(crossover_fused_allreduce(workspace.get(), CROSSOVER_ONESHOT, &call, nullptr, stream.get()) ==
                    CROSSOVER_OK);
            CHECK(crossover_check(workspace.get(), stream.get()) == CROSSOVER_TIMEOUT);
            CHECK(std::string(crossover_last_error()).starts_with("rank 0 waited for rank 1 in vain"));
        }
        world.barrier();
    });
}

TEST_CASE("a time-out is one on all ranks and the workspace serves again when it is reset") {
    on_ranks(2, [](Communicator& world) {
        kernels::Workspace workspace = workspace_of(world.nccl());
        workspace.set_timeout(50'000'000);
        const Tensors tensors(world.rank());
        const Stream stream;
        const auto run = [&](crossover_algorithm algorithm) {
            const crossover_call call = tensors.call();
            REQUIRE(crossover_fused_allreduce(workspace.get(), algorithm, &call, nullptr, stream.get()) ==
                    CROSSOVER_OK);
            return crossover_check(workspace.get(), stream.get());
        };
        for (const crossover_algorithm algorithm : {CROSSOVER_ONESHOT, CROSSOVER_TWOSHOT})
            for (const int late : {0, 1}) {
                if (world.rank() != late) CHECK(run(algorithm) == CROSSOVER_TIMEOUT);
                world.barrier();
                // It finds what it waits for. In twoshot part of that is what the other has made of nothing.
                if (world.rank() == late) CHECK(run(algorithm) == CROSSOVER_TIMEOUT);
                CHECK(
                    std::string(crossover_last_error())
                        .starts_with("rank " + std::to_string(1 - late) + " waited for rank " + std::to_string(late)));
                CHECK_THROWS_AS(workspace.check_waits(stream.get()), kernels::Error);
                workspace.reset(stream.get());
                CHECK(run(algorithm) == CROSSOVER_OK);
                CHECK(tensors.all_are(3)); // 1 + 2
            }
        CHECK(crossover_workspace_set_timeout(workspace.get(), 0) == CROSSOVER_INVALID);
        CHECK(crossover_workspace_set_timeout(nullptr, 1) == CROSSOVER_INVALID);
        CHECK(crossover_workspace_reset(nullptr, stream.get()) == CROSSOVER_INVALID);
        world.barrier();
    });
}

TEST_CASE("a wait for ever lasts until the other rank comes") {
    on_ranks(2, [](Communicator& world) {
        const kernels::Workspace workspace = workspace_of(world.nccl());
        REQUIRE(crossover_workspace_set_timeout(workspace.get(), UINT64_MAX) == CROSSOVER_OK);
        const Tensors tensors(world.rank());
        const Stream stream;
        if (world.rank() == 1) std::this_thread::sleep_for(std::chrono::milliseconds(200));
        const crossover_call call = tensors.call();
        REQUIRE(crossover_fused_allreduce(workspace.get(), CROSSOVER_TWOSHOT, &call, nullptr, stream.get()) ==
                CROSSOVER_OK);
        CHECK(crossover_check(workspace.get(), stream.get()) == CROSSOVER_OK);
        CHECK(tensors.all_are(3)); // 1 + 2
        world.barrier();
    });
}

TEST_CASE("ranks that ask for workspaces of different sizes are refused") {
    on_ranks(2, [](Communicator& world) {
        crossover_workspace* workspace = nullptr;
        const std::size_t bytes = crossover_workspace_bytes(2, 4 * kElements);
        CHECK(crossover_workspace_create(world.nccl(), bytes * (world.rank() + 1), &workspace) == CROSSOVER_INVALID);
        CHECK(workspace == nullptr);
        CHECK(std::string(crossover_last_error()).find("on another rank") != std::string::npos);
        world.barrier();
    });
}

TEST_CASE("a workspace of pointers serves both algorithms without NCCL") {
    constexpr int kRanks = 2;
    const std::size_t bytes = crossover_workspace_bytes(kRanks, 4 * kElements);
    std::vector<DeviceBuffer<std::byte>> memory;
    std::vector<void*> base;
    for (int rank = 0; rank < kRanks; ++rank) {
        const DeviceGuard guard(rank);
        CROSSOVER_CUDA_CHECK(cudaDeviceEnablePeerAccess(1 - rank, 0));
        base.push_back(memory.emplace_back(bytes).data());
    }
    std::vector<std::unique_ptr<PointerRank>> ranks; // all are made before the first call on any
    for (int rank = 0; rank < kRanks; ++rank) {
        const DeviceGuard guard(rank);
        ranks.push_back(std::make_unique<PointerRank>(rank, base, bytes));
    }
    for (const crossover_algorithm algorithm : {CROSSOVER_ONESHOT, CROSSOVER_TWOSHOT}) {
        for (int rank = 0; rank < kRanks; ++rank) {
            const DeviceGuard guard(rank);
            CROSSOVER_CUDA_CHECK(cudaMemset(ranks[rank]->tensors.output.data(), 0xA5, 4 * kElements));
            CROSSOVER_CUDA_CHECK(cudaDeviceSynchronize());
        }
        for (int rank = 0; rank < kRanks; ++rank) {
            const DeviceGuard guard(rank);
            const crossover_call call = ranks[rank]->tensors.call();
            const crossover_status status = crossover_fused_allreduce(ranks[rank]->workspace.get(), algorithm, &call,
                                                                      nullptr, ranks[rank]->stream.get());
            INFO(crossover_last_error());
            REQUIRE(status == CROSSOVER_OK);
        }
        for (int rank = 0; rank < kRanks; ++rank) {
            const DeviceGuard guard(rank);
            const crossover_status status = crossover_check(ranks[rank]->workspace.get(), ranks[rank]->stream.get());
            INFO(crossover_last_error());
            CHECK(status == CROSSOVER_OK);
            CHECK(ranks[rank]->tensors.all_are(3)); // 1 + 2
        }
    }
}

TEST_CASE("a dispatch and a combine around experts, tokens unevenly split") {
    on_ranks(2, [](Communicator& world) {
        kernels::Workspace workspace = workspace_of(world.nccl());
        const int rank = world.rank();
        constexpr std::array<std::int64_t, 2> tokens{kTokens - 7, 7}; // together Tensors' rows
        SymmetricBuffer gathered(world, 4 * kElements);
        const Tensors tensors(rank), sums(rank);
        const Stream stream;

        crossover_moe_dispatch_call dispatch{};
        dispatch.dtype = CROSSOVER_FLOAT32;
        dispatch.hidden_dim = kHidden;
        std::copy(tokens.begin(), tokens.end(), dispatch.tokens);
        dispatch.input = tensors.input.data();
        for (int peer = 0; peer < 2; ++peer) dispatch.output[peer] = gathered.peers().base[peer];
        workspace.moe_dispatch(dispatch, stream.get());
        workspace.check_waits(stream.get());
        std::vector<float> rows(kElements);
        CROSSOVER_CUDA_CHECK(cudaMemcpy(rows.data(), gathered.local(), 4 * kElements, cudaMemcpyDeviceToHost));
        const auto of_rank_0 = static_cast<std::ptrdiff_t>(tokens[0] * kHidden);
        CHECK(std::all_of(rows.begin(), rows.begin() + of_rank_0, [](float value) { return value == 1; }));
        CHECK(std::all_of(rows.begin() + of_rank_0, rows.end(), [](float value) { return value == 2; }));

        crossover_moe_combine_call combine{};
        combine.dtype = CROSSOVER_FLOAT32;
        combine.hidden_dim = kHidden;
        std::copy(tokens.begin(), tokens.end(), combine.tokens);
        combine.input = gathered.local(); // the same on both ranks
        combine.output = sums.output.data();
        workspace.moe_combine(combine, stream.get());
        workspace.check_waits(stream.get());
        rows.resize(static_cast<std::size_t>(tokens[rank] * kHidden));
        CROSSOVER_CUDA_CHECK(cudaMemcpy(rows.data(), sums.output.data(), 4 * rows.size(), cudaMemcpyDeviceToHost));
        const auto twice = static_cast<float>(2 * (rank + 1));
        CHECK(std::all_of(rows.begin(), rows.end(), [&](float value) { return value == twice; }));
        world.barrier();
    });
}

TEST_CASE("pointers that make no workspace are refused") {
    const std::size_t bytes = crossover_workspace_bytes(2, 0);
    const DeviceBuffer<std::byte> memory(bytes);
    const std::vector<void*> base{memory.data(), memory.data()}, gap{memory.data(), nullptr},
        odd{memory.data(), memory.data() + 8};
    crossover_workspace* workspace = nullptr;
    const auto refusal = [&](int rank, int world_size, void* const* pointers, std::size_t size) {
        CHECK(crossover_workspace_from_pointers(rank, world_size, pointers, size, &workspace) == CROSSOVER_INVALID);
        CHECK(workspace == nullptr);
        return std::string(crossover_last_error());
    };
    CHECK(refusal(0, 3, base.data(), bytes) == "world size 3 is not 2, 4 or 8");
    CHECK(refusal(2, 2, base.data(), bytes) == "rank 2 is not below world_size");
    CHECK(refusal(0, 2, nullptr, bytes) == "base is null");
    CHECK(refusal(0, 2, gap.data(), bytes) == "a rank's memory is null");
    CHECK(refusal(0, 2, odd.data(), bytes) == "a rank's memory is not aligned to 16 bytes");
    CHECK(refusal(0, 2, base.data(), bytes - 1).starts_with("a workspace has " + std::to_string(bytes) + " bytes"));
}
