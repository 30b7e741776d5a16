// Rank processes, communicators and symmetric memory on real GPUs. Needs 2.

#define DOCTEST_CONFIG_IMPLEMENT
#include "tests/gpu/on_ranks.hpp"

#include "comm/symmetric_buffer.hpp"
#include "comm/topology.hpp"
#include "tuner/error.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <thread>

using namespace crossover;
using namespace crossover::testing;

namespace {

/// Bytes that differ between ranks, sizes and places.
std::vector<std::byte> pattern(int rank, std::size_t size) {
    std::vector<std::byte> bytes(size);
    for (std::size_t i = 0; i < size; ++i)
        bytes[i] = static_cast<std::byte>(7 * i + 31 * static_cast<std::size_t>(rank) + size);
    return bytes;
}

void check_symmetric(Communicator& world, std::size_t bytes, SymmetricKind kind) {
    SymmetricBuffer buffer(world, bytes, kind);
    INFO(std::string(to_string(kind)), " ", bytes, " bytes: ", buffer.fallback_reason());
    CHECK(buffer.kind() == kind);
    CHECK((buffer.window() != nullptr) == (kind == SymmetricKind::nccl_window));
    REQUIRE(buffer.bytes() >= bytes);
    const Peers& peers = buffer.peers();
    CHECK(peers.rank == world.rank());
    CHECK(peers.world_size == world.size());
    CHECK(peers.base[peers.rank] == buffer.local());
    CHECK(reinterpret_cast<std::uintptr_t>(buffer.local()) % 256 == 0);

    // It begins as zeros, to the last byte, and on all ranks before any goes on.
    std::vector<std::byte> content(buffer.bytes());
    CROSSOVER_CUDA_CHECK(cudaMemcpy(content.data(), buffer.local(), content.size(), cudaMemcpyDeviceToHost));
    CHECK(std::all_of(content.begin(), content.end(), [](std::byte byte) { return byte == std::byte{0}; }));
    world.barrier();

    // Each rank fills its share of every rank's buffer; afterwards each buffer holds all ranks' shares.
    const std::size_t share = buffer.bytes() / static_cast<std::size_t>(world.size());
    const std::vector<std::byte> mine = pattern(world.rank(), share);
    const DeviceBuffer<std::byte> source(share);
    // In the stream that reads it: cudaMemcpy returns before pageable memory has arrived, and this one would not wait.
    CROSSOVER_CUDA_CHECK(cudaMemcpyAsync(source.data(), mine.data(), share, cudaMemcpyHostToDevice, world.stream()));
    for (int peer = 0; peer < world.size(); ++peer)
        CROSSOVER_CUDA_CHECK(cudaMemcpyAsync(peers.base[peer] + share * static_cast<std::size_t>(world.rank()),
                                             source.data(), share, cudaMemcpyDefault, world.stream()));
    world.wait(world.stream(), "writing to peers");
    world.barrier();
    CROSSOVER_CUDA_CHECK(cudaMemcpy(content.data(), buffer.local(), content.size(), cudaMemcpyDeviceToHost));
    for (int rank = 0; rank < world.size(); ++rank) {
        const std::vector<std::byte> expected = pattern(rank, share);
        CHECK(std::memcmp(content.data() + share * static_cast<std::size_t>(rank), expected.data(), share) == 0);
    }
    world.barrier();
}

} // namespace

TEST_CASE("NCCL's header and library are of one version") { CHECK_NOTHROW(check_nccl_version()); }

TEST_CASE("host collectives") {
    on_ranks(largest_world(), [](Communicator& world) {
        const int n = world.size();
        std::vector<double> values{1.0 * world.rank(), -1.0 * world.rank(), 0.1,
                                   -std::numeric_limits<double>::infinity()};
        world.max_all_reduce(values);
        CHECK(values == std::vector<double>{n - 1.0, 0.0, 0.1, -std::numeric_limits<double>::infinity()});

        // Sizes that grow and shrink: staging is reused.
        for (const std::size_t size :
             {std::size_t{1}, std::size_t{13}, std::size_t{1} << 20, std::size_t{64}, std::size_t{0}}) {
            const std::vector<std::byte> all = world.all_gather_bytes(pattern(world.rank(), size));
            REQUIRE(all.size() == size * static_cast<std::size_t>(n));
            for (int rank = 0; rank < n && size > 0; ++rank)
                CHECK(std::memcmp(all.data() + size * static_cast<std::size_t>(rank), pattern(rank, size).data(),
                                  size) == 0);
            for (const int root : {0, n - 1}) {
                std::vector<std::byte> bytes = pattern(world.rank(), size);
                world.broadcast_bytes(bytes, root);
                CHECK(bytes == pattern(root, size));
            }
        }
        std::vector<double> many(100000, world.rank());
        world.max_all_reduce(many);
        CHECK(std::all_of(many.begin(), many.end(), [&](double value) { return value == n - 1; }));
        CHECK(world.any(world.rank() == n - 1));
        CHECK_FALSE(world.any(false));
    });
}

TEST_CASE("a barrier waits for the last rank") {
    on_ranks(2, [](Communicator& world) {
        world.barrier();
        const auto start = std::chrono::steady_clock::now();
        if (world.rank() == 1) std::this_thread::sleep_for(std::chrono::milliseconds(300));
        world.barrier();
        CHECK(std::chrono::steady_clock::now() - start >= std::chrono::milliseconds(250));
    });
}

TEST_CASE("split makes disjoint worlds that work side by side") {
    on_ranks(largest_world(), [](Communicator& world) {
        const int half = world.size() / 2;
        auto part = world.split(world.rank() / half, world.rank());
        REQUIRE(part);
        CHECK(part->size() == half);
        CHECK(part->rank() == world.rank() % half);
        CHECK(part->device() == world.device());
        std::vector<double> value{1.0 * world.rank()};
        part->max_all_reduce(value);
        CHECK(value[0] == world.rank() / half * half + half - 1);

        // One half takes part, in the opposite order; the other gets nothing.
        auto first = world.split(world.rank() < half ? 0 : -1, -world.rank());
        CHECK(first.has_value() == (world.rank() < half));
        if (first) CHECK(first->rank() == half - 1 - world.rank());
    });
}

TEST_CASE("symmetric memory through NCCL windows") {
    on_ranks(largest_world(), [](Communicator& world) {
        for (const std::size_t bytes : {std::size_t{1}, std::size_t{5000}, std::size_t{64} << 20})
            check_symmetric(world, bytes, SymmetricKind::nccl_window);
    });
}

TEST_CASE("symmetric memory through cudaIpc") {
    on_ranks(largest_world(), [](Communicator& world) {
        for (const std::size_t bytes : {std::size_t{1}, std::size_t{5000}, std::size_t{64} << 20})
            check_symmetric(world, bytes, SymmetricKind::cuda_ipc);
    });
}

TEST_CASE("symmetric memory of parts of the world and several buffers at once") {
    on_ranks(largest_world(), [](Communicator& world) {
        auto pair = world.split(world.rank() / 2, world.rank());
        REQUIRE(pair);
        check_symmetric(*pair, 1 << 20, SymmetricKind::nccl_window);
        check_symmetric(*pair, 1 << 20, SymmetricKind::cuda_ipc);
        const SymmetricBuffer first(world, 1 << 20), second(world, 1 << 20), third(*pair, 1 << 20);
        CHECK(first.local() != second.local());
        CHECK(third.peers().world_size == 2);
    });
}

TEST_CASE("NCCL reduces on window buffers and under graph capture") {
    on_ranks(largest_world(), [](Communicator& world) {
        constexpr std::size_t kCount = 1 << 16;
        const SymmetricBuffer input(world, kCount * sizeof(float)), output(world, kCount * sizeof(float));
        const std::vector<float> mine(kCount, static_cast<float>(world.rank() + 1));
        CROSSOVER_CUDA_CHECK(cudaMemcpyAsync(input.local(), mine.data(), kCount * sizeof(float), cudaMemcpyHostToDevice,
                                             world.stream()));
        world.barrier(); // in that stream
        const Stream stream;
        const Graph graph = capture(stream.get(), [&] {
            CROSSOVER_NCCL_CHECK(
                ncclAllReduce(input.local(), output.local(), kCount, ncclFloat32, ncclSum, world.nccl(), stream.get()));
        });
        const GraphExec executable(graph);
        executable.upload(stream.get());
        const Event begin, end;
        begin.record(stream.get());
        for (int replay = 0; replay < 10; ++replay) executable.launch(stream.get());
        end.record(stream.get());
        world.wait(stream.get(), "all-reduce in a graph");
        CHECK(elapsed_us(begin, end) > 0);
        std::vector<float> sum(kCount);
        CROSSOVER_CUDA_CHECK(cudaMemcpy(sum.data(), output.local(), kCount * sizeof(float), cudaMemcpyDeviceToHost));
        const float expected = static_cast<float>(world.size() * (world.size() + 1) / 2);
        CHECK(std::all_of(sum.begin(), sum.end(), [&](float value) { return value == expected; }));
        world.barrier();
    });
}

TEST_CASE("a rank that stays away is a TimeoutError and not a hang") {
    on_ranks(
        2,
        [](Communicator& world) {
            world.barrier();
            if (world.rank() == 0) {
                CHECK_THROWS_AS(world.barrier(), TimeoutError);
                CHECK(world.nccl() == nullptr);
            } else {
                std::this_thread::sleep_for(std::chrono::seconds(13));
                std::_Exit(0); // its peer has aborted the communicator
            }
        },
        std::chrono::seconds(10));
}

TEST_CASE("a rank that dies while others wait ends the job") {
    if (variable(read_environment(), kRankVariable)) {
        end_quietly_when_told();
        Communicator world = Communicator::connect(rank_environment(read_environment()));
        if (world.rank() == 1) std::_Exit(9);
        world.barrier(); // 60 s, were it not for the supervisor
        std::_Exit(0);
    }
    RankJob job{.arguments = {"--test-case=a rank that dies while others wait ends the job"},
                .ranks = {{0, 0}, {1, 1}},
                .world_size = 2,
                .local_size = 2,
                .port = free_port(),
                .environment = {{kRankVariable, "1"}},
                .time_limit = std::chrono::minutes(2)};
    const auto failure = supervise_ranks(job);
    REQUIRE(failure);
    CHECK(failure->message == "rank 1 exited with code 9");
}

TEST_CASE("topology is the same on all ranks and makes sense") {
    on_ranks(largest_world(), [](Communicator& world) {
        const Topology topology = read_topology(read_environment());
        REQUIRE(topology.problem.empty());
        REQUIRE(static_cast<int>(topology.gpus.size()) >= world.size());
        const GpuInfo& gpu = topology.gpus[static_cast<std::size_t>(world.device())];
        CHECK_FALSE(gpu.name.empty());
        CHECK(gpu.major >= 8);
        CHECK(gpu.multiprocessors > 0);
        CHECK_FALSE(topology.driver.empty());
        CHECK(topology.nccl == nccl_version());
        CHECK_FALSE(topology.multicast); // rank processes have NCCL_NVLS_ENABLE=0
        CHECK(count_nodes(world) == 1);
        const auto clock = ClockWatch(world.device()).read();
        if (clock) CHECK(clock->sm_mhz > 0);
        if (world.rank() == 0)
            std::printf("%s, %s, driver %s, CUDA %s, NCCL %s, SM clock %u of %u MHz\n", gpu.name.c_str(),
                        std::string(to_string(topology.link)).c_str(), topology.driver.c_str(), topology.cuda.c_str(),
                        topology.nccl.c_str(), clock ? clock->sm_mhz : 0, clock ? clock->max_sm_mhz : 0);
    });
}

TEST_CASE("more local ranks than GPUs are refused") {
    RankEnvironment self;
    self.local_rank = visible_gpus();
    CHECK_THROWS_AS(device_for(self), InputError);
}
