#pragma once
/// All ranks of a world in one process, so that kernels can be tested on any number of GPUs, one included: rank r lives
/// on GPU r mod count, with a stream, tensors and a workspace of its own. Several ranks of one GPU must be resident
/// together, so launches are kept small. Include with DOCTEST_CONFIG_IMPLEMENT defined; main() is here.

#include "comm/cuda_resource.hpp"
#include "kernels/device/ptx.cuh"
#include "tests/support/fused_calls.hpp"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <set>
#include <utility>
#include <vector>

namespace crossover::testing {

inline int gpu_count() {
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess) {
        cudaGetLastError();
        return 0;
    }
    return count;
}

/// Once for each pair: to ask again is an error that compute-sanitizer reports.
inline void enable_peer_access(int device, int other) {
    static std::set<std::pair<int, int>> enabled;
    if (device == other || !enabled.insert({device, other}).second) return;
    const DeviceGuard guard(device);
    CROSSOVER_CUDA_CHECK(cudaDeviceEnablePeerAccess(other, 0));
}

/// Spins for this long: a rank that comes late.
static __global__ void delay_kernel(std::uint64_t nanoseconds) {
    const std::uint64_t start = device::global_nanoseconds();
    while (device::global_nanoseconds() - start < nanoseconds) {
    }
}

/// Adds the number of 4-byte words that differ. Launched with PDL it begins beside the kernel before it, and the one
/// after it beside it.
static __global__ void count_differences_kernel(const unsigned* a, const unsigned* b, std::size_t words,
                                                unsigned long long* differences) {
    device::pdl_wait();
    device::pdl_trigger();
    unsigned long long mine = 0;
    for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < words;
         i += std::size_t{gridDim.x} * blockDim.x)
        mine += a[i] != b[i];
    if (mine) atomicAdd(differences, mine);
}

/// count_differences_kernel with PDL: what an engine's next kernel sees that begins early.
inline void count_differences_early(const void* a, const void* b, std::size_t bytes, unsigned long long* differences,
                                    cudaStream_t stream) {
    if (bytes < 4) return;
    cudaLaunchAttribute early;
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(4);
    config.blockDim = dim3(256);
    config.stream = stream;
    config.attrs = &early;
    config.numAttrs = 1;
    CROSSOVER_CUDA_CHECK(cudaLaunchKernelEx(&config, count_differences_kernel, static_cast<const unsigned*>(a),
                                            static_cast<const unsigned*>(b), bytes / 4, differences));
}

/// Fills [tokens, hidden] with value(token, column), exact in dtype.
template <class Value>
__global__ void fill_kernel(void* tensor, DType dtype, std::int64_t tokens, std::int64_t hidden, Value value) {
    for (std::int64_t i = blockIdx.x * std::int64_t{blockDim.x} + threadIdx.x; i < tokens * hidden;
         i += std::int64_t{gridDim.x} * blockDim.x) {
        const float x = value(i / hidden, i % hidden);
        if (dtype == DType::bfloat16) static_cast<__nv_bfloat16*>(tensor)[i] = __float2bfloat16_rn(x);
        if (dtype == DType::float16) static_cast<__half*>(tensor)[i] = __float2half_rn(x);
        if (dtype == DType::float32) static_cast<float*>(tensor)[i] = x;
    }
}

/// One rank's tensors, each big enough for the largest call of a test.
struct RankMemory {
    int device = 0;
    std::unique_ptr<Stream> stream;
    DeviceBuffer<std::byte> input, residual_in, residual_out, gamma, output, scales, workspace;
    DeviceBuffer<float> quant_scale;
};

class InProcessWorld {
  public:
    InProcessWorld(int world_size, std::size_t tensor_bytes, std::size_t workspace_size) {
        const int gpus = gpu_count();
        for (int rank = 0; rank < world_size; ++rank) {
            RankMemory memory;
            memory.device = rank % gpus;
            const DeviceGuard guard(memory.device);
            for (int other = 0; other < std::min(gpus, world_size); ++other) enable_peer_access(memory.device, other);
            memory.stream = std::make_unique<Stream>();
            for (auto* buffer : {&memory.input, &memory.residual_in, &memory.residual_out, &memory.output})
                *buffer = DeviceBuffer<std::byte>(tensor_bytes);
            memory.gamma = DeviceBuffer<std::byte>(std::size_t{1} << 18);
            memory.scales = DeviceBuffer<std::byte>(tensor_bytes / 8 + (1 << 20));
            memory.workspace = DeviceBuffer<std::byte>(workspace_size);
            memory.quant_scale = DeviceBuffer<float>(1);
            ranks.push_back(std::move(memory));
        }
        for (int rank = 0; rank < world_size; ++rank) {
            Workspace workspace;
            workspace.peers.rank = rank;
            workspace.peers.world_size = world_size;
            for (int peer = 0; peer < world_size; ++peer) workspace.peers.base[peer] = ranks[peer].workspace.data();
            workspace.bytes = workspace_size;
            workspace.timeout_ns = 5'000'000'000;
            workspaces.push_back(workspace);
        }
        reset();
    }

    int size() const { return static_cast<int>(ranks.size()); }

    void reset() {
        for (int rank = 0; rank < size(); ++rank) {
            const DeviceGuard guard(ranks[rank].device);
            reset_workspace(workspaces[rank], ranks[rank].stream->get());
        }
        synchronize();
    }

    void synchronize() {
        for (auto& rank : ranks) {
            const DeviceGuard guard(rank.device);
            rank.stream->synchronize();
        }
    }

    /// The call with rank's tensors.
    FusedAllReduce call_of(FusedAllReduce call, int rank) const {
        const RankMemory& memory = ranks[rank];
        call.input = memory.input.data();
        call.residual_in = memory.residual_in.data();
        call.residual_out = memory.residual_out.data();
        call.gamma = memory.gamma.data();
        call.output = memory.output.data();
        call.output_scales = memory.scales.data();
        call.quant_scale = memory.quant_scale.data();
        return call;
    }

    /// A default launch of which all ranks of a GPU, two launches each (PDL), fit beside each other.
    LaunchParameters launch_for(Fused algorithm, const FusedAllReduce& call) const {
        const int ranks_per_gpu = (size() + gpu_count() - 1) / gpu_count();
        const int multiprocessors = std::max(1, 60 / ranks_per_gpu);
        LaunchParameters launch = default_launch(algorithm, call_of(call, 0), workspaces[0], multiprocessors, 9);
        // A rank's next launch that is resident early may take the room of another rank's current one, a cluster's
        // whole part of the GPU above all; ranks on GPUs of their own have no such neighbours.
        launch.pdl = ranks_per_gpu == 1;
        return launch;
    }

    void enqueue(Fused algorithm, const FusedAllReduce& call, const LaunchParameters& launch, int rank) {
        const DeviceGuard guard(ranks[rank].device);
        (algorithm == Fused::oneshot ? oneshot : twoshot)(call_of(call, rank), workspaces[rank], launch,
                                                          ranks[rank].stream->get());
    }

    void run(Fused algorithm, const FusedAllReduce& call, const LaunchParameters& launch) {
        for (int rank = 0; rank < size(); ++rank) enqueue(algorithm, call, launch, rank);
        synchronize();
        for (int rank = 0; rank < size(); ++rank) {
            const DeviceGuard guard(ranks[rank].device);
            const auto timeout = read_timeout(workspaces[rank], ranks[rank].stream->get());
            if (timeout) FAIL(to_string(*timeout));
        }
    }

    /// After replays: nobody waited in vain, and no rank counted words that are not right.
    void check_replayed(const std::vector<DeviceBuffer<unsigned long long>>& wrong) const {
        for (int rank = 0; rank < size(); ++rank) {
            const DeviceGuard guard(ranks[rank].device);
            const auto timeout = read_timeout(workspaces[rank], ranks[rank].stream->get());
            INFO((timeout ? to_string(*timeout) : std::string()));
            CHECK_FALSE(timeout.has_value());
            unsigned long long differences = 0;
            CROSSOVER_CUDA_CHECK(cudaMemcpy(&differences, wrong[static_cast<std::size_t>(rank)].data(),
                                            sizeof differences, cudaMemcpyDefault));
            CHECK(differences == 0);
        }
    }

    /// A graph a rank, of steps 0…count−1, now and then with a rank that comes late; replayed, with a pause of the host
    /// after every `between`. enqueue(i, rank, wrong) enqueues step i and adds to *wrong the words that are not right;
    /// ahead(replay, rank) comes before each launch of a graph.
    template <class Enqueue, class Ahead>
    void replay(std::size_t count, int replays, int between, Enqueue enqueue, Ahead ahead) {
        std::vector<GraphExec> graphs;
        std::vector<DeviceBuffer<unsigned long long>> wrong;
        for (int rank = 0; rank < size(); ++rank) {
            const DeviceGuard guard(ranks[rank].device);
            const cudaStream_t stream = ranks[rank].stream->get();
            wrong.emplace_back(1);
            CROSSOVER_CUDA_CHECK(cudaMemsetAsync(wrong.back().data(), 0, sizeof(unsigned long long), stream));
            graphs.emplace_back(capture(stream, [&] {
                for (std::size_t i = 0; i < count; ++i) {
                    if ((i + static_cast<std::size_t>(rank)) % 17 == 0) delay_kernel<<<1, 1, 0, stream>>>(5000);
                    enqueue(i, rank, wrong.back().data());
                }
            }));
        }
        for (int replay = 0; replay < replays; ++replay) {
            for (int rank = 0; rank < size(); ++rank) {
                const DeviceGuard guard(ranks[rank].device);
                ahead(replay, rank);
                graphs[static_cast<std::size_t>(rank)].launch(ranks[rank].stream->get());
            }
            if (replay % between == between - 1) synchronize();
        }
        synchronize();
        check_replayed(wrong);
    }

    template <class Enqueue>
    void replay(std::size_t count, int replays, int between, Enqueue enqueue) {
        replay(count, replays, between, enqueue, [](int, int) {});
    }

    /// Fresh inputs, the same residual and gamma on all ranks; input_pattern.hpp's values.
    void fill(const FusedAllReduce& call, std::uint64_t seed, float quant_scale) {
        for (int r = 0; r < size(); ++r) {
            RankMemory& memory = ranks[r];
            const DeviceGuard guard(memory.device);
            const auto fill = [&](void* tensor, std::int64_t tokens, auto value) {
                fill_kernel<<<512, 256, 0, memory.stream->get()>>>(tensor, call.dtype, tokens, call.hidden_dim, value);
            };
            fill(memory.input.data(), call.num_tokens,
                 [=] __device__(std::int64_t t, std::int64_t c) { return input_value(seed, r, t, c); });
            const Pattern pattern = call.pattern;
            const int world = size();
            fill(memory.residual_in.data(), residual_rows(pattern, call.num_tokens, r, world),
                 [=] __device__(std::int64_t row, std::int64_t c) {
                     return residual_value(seed, token_of_residual_row(pattern, row, r, world), c);
                 });
            fill(memory.gamma.data(), 1, [=] __device__(std::int64_t, std::int64_t c) { return gamma_value(seed, c); });
            CROSSOVER_CUDA_CHECK(cudaGetLastError());
            CROSSOVER_CUDA_CHECK(cudaMemcpyAsync(memory.quant_scale.data(), &quant_scale, sizeof quant_scale,
                                                 cudaMemcpyHostToDevice, memory.stream->get()));
        }
        synchronize();
    }

    /// Outputs hold a pattern that no result has, so that what is not written shows.
    void poison() {
        for (auto& rank : ranks) {
            const DeviceGuard guard(rank.device);
            for (auto* buffer : {&rank.residual_out, &rank.output, &rank.scales})
                CROSSOVER_CUDA_CHECK(cudaMemsetAsync(buffer->data(), 0xA5, buffer->bytes(), rank.stream->get()));
        }
        synchronize();
    }

    /// Words that differ between rank 0's buffer and every other rank's, or a copy on rank 0's GPU.
    unsigned long long differences(const void* a, const void* b, std::size_t bytes) {
        const DeviceGuard guard(ranks[0].device);
        DeviceBuffer<unsigned long long> count(1);
        CROSSOVER_CUDA_CHECK(cudaMemset(count.data(), 0, sizeof(unsigned long long)));
        count_differences_kernel<<<256, 256>>>(static_cast<const unsigned*>(a), static_cast<const unsigned*>(b),
                                               bytes / 4, count.data());
        unsigned long long result = 0;
        CROSSOVER_CUDA_CHECK(cudaMemcpy(&result, count.data(), sizeof result, cudaMemcpyDeviceToHost));
        return result;
    }

    std::vector<RankMemory> ranks;
    std::vector<Workspace> workspaces;
};

/// Copies beside the kernels, within each rank's GPU and to the next rank's: stores take longer, unequally.
class MemoryLoad {
  public:
    explicit MemoryLoad(const InProcessWorld& world) {
        for (const RankMemory& memory : world.ranks) {
            const DeviceGuard guard(memory.device);
            buffers_.emplace_back(2 * kBytes);
            streams_.push_back(std::make_unique<Stream>());
        }
    }
    void enqueue(int rank) {
        const auto at = static_cast<std::size_t>(rank), next = (at + 1) % buffers_.size();
        for (std::byte* const to : {buffers_[at].data(), buffers_[next].data()})
            CROSSOVER_CUDA_CHECK(
                cudaMemcpyAsync(to, buffers_[at].data() + kBytes, kBytes, cudaMemcpyDefault, streams_[at]->get()));
    }
    void synchronize() const {
        for (const auto& stream : streams_) stream->synchronize();
    }

  private:
    static constexpr std::size_t kBytes = std::size_t{64} << 20;
    std::vector<DeviceBuffer<std::byte>> buffers_;
    std::vector<std::unique_ptr<Stream>> streams_;
};

inline std::vector<std::byte> download(const void* device, std::size_t bytes) {
    std::vector<std::byte> host(bytes);
    CROSSOVER_CUDA_CHECK(cudaMemcpy(host.data(), device, bytes, cudaMemcpyDeviceToHost));
    return host;
}

} // namespace crossover::testing

int main(int argc, char** argv) {
    setenv("CUDA_MODULE_LOADING", "EAGER", 1);      // loading a kernel may wait for one that spins
    setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 1); // a hardware queue for each rank's stream
    if (crossover::testing::gpu_count() == 0) {
        std::puts("skipped: needs 1 GPU");
        return 77;
    }
    doctest::Context context(argc, argv);
    return context.run();
}
