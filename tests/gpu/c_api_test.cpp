// The C API of libcrossover_kernels on real GPUs. Needs 2.

#define DOCTEST_CONFIG_IMPLEMENT
#include "tests/gpu/on_ranks.hpp"

#include "kernels/crossover_kernels.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

using namespace crossover;
using namespace crossover::testing;

namespace {

constexpr std::int64_t kTokens = 96, kHidden = 4096;
constexpr std::size_t kElements = kTokens * kHidden;

/// A workspace, destroyed with the scope: collective, as its making.
struct OwnedWorkspace {
    explicit OwnedWorkspace(ncclComm_t comm) {
        INFO(crossover_last_error());
        REQUIRE(crossover_workspace_create(comm, crossover_workspace_bytes(2, 4 * kElements), &workspace) ==
                CROSSOVER_OK);
    }
    OwnedWorkspace(const OwnedWorkspace&) = delete;
    OwnedWorkspace& operator=(const OwnedWorkspace&) = delete;
    ~OwnedWorkspace() { crossover_workspace_destroy(workspace); }
    crossover_workspace* workspace = nullptr;
};

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

} // namespace

TEST_CASE("a workspace of an ncclComm_t serves both algorithms and leaves the communicator alone") {
    on_ranks(largest_world(), [](Communicator& world) {
        const auto sum = static_cast<float>(world.size() * (world.size() + 1) / 2);
        for (int round = 0; round < 2; ++round) {
            const OwnedWorkspace owned(world.nccl());
            const Stream stream;
            for (const crossover_algorithm algorithm : {CROSSOVER_ONESHOT, CROSSOVER_TWOSHOT}) {
                const Tensors tensors(world.rank());
                const crossover_call call = tensors.call();
                crossover_launch launch{};
                REQUIRE(crossover_default_launch(owned.workspace, algorithm, &call, &launch) == CROSSOVER_OK);
                for (const crossover_launch* given :
                     {static_cast<const crossover_launch*>(nullptr), static_cast<const crossover_launch*>(&launch)}) {
                    INFO(crossover_last_error());
                    REQUIRE(crossover_fused_allreduce(owned.workspace, algorithm, &call, given, stream.get()) ==
                            CROSSOVER_OK);
                    REQUIRE(crossover_check(owned.workspace, stream.get()) == CROSSOVER_OK);
                    CHECK(tensors.all_are(sum));
                }
            }
        }
        world.barrier();
    });
}

TEST_CASE("what cannot be run is said before anything is enqueued") {
    on_ranks(2, [](Communicator& world) {
        const OwnedWorkspace owned(world.nccl());
        const Tensors tensors(world.rank());
        const Stream stream;
        const auto status_of = [&](auto change) {
            crossover_call call = tensors.call();
            change(call);
            return crossover_fused_allreduce(owned.workspace, CROSSOVER_ONESHOT, &call, nullptr, stream.get());
        };
        CHECK(status_of([](crossover_call& call) { call.hidden_dim = 4095; }) == CROSSOVER_UNSUPPORTED);
        CHECK(std::string(crossover_last_error()) == "hidden_dim 4095 is not a positive multiple of 8");
        CHECK(status_of([](crossover_call& call) { call.num_tokens = 0; }) == CROSSOVER_UNSUPPORTED);
        CHECK(status_of([](crossover_call& call) { call.input = nullptr; }) == CROSSOVER_UNSUPPORTED);
        CHECK(status_of([](crossover_call& call) { call.dtype = static_cast<crossover_dtype>(3); }) ==
              CROSSOVER_INVALID);
        CHECK(crossover_fused_allreduce(nullptr, CROSSOVER_ONESHOT, nullptr, nullptr, nullptr) == CROSSOVER_INVALID);
        CHECK(crossover_check(owned.workspace, stream.get()) == CROSSOVER_OK);
    });
}

TEST_CASE("a rank that does not call is a time-out that names it") {
    on_ranks(2, [](Communicator& world) {
        const OwnedWorkspace owned(world.nccl());
        const Tensors tensors(world.rank());
        const Stream stream;
        if (world.rank() == 0) {
            const crossover_call call = tensors.call();
            REQUIRE(crossover_fused_allreduce(owned.workspace, CROSSOVER_ONESHOT, &call, nullptr, stream.get()) ==
                    CROSSOVER_OK);
            CHECK(crossover_check(owned.workspace, stream.get()) == CROSSOVER_TIMEOUT);
            CHECK(std::string(crossover_last_error()).starts_with("rank 0 waited for rank 1 in vain"));
        }
        world.barrier();
    });
}
