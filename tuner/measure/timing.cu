#include "kernels/device/ptx.cuh"
#include "tuner/fit/statistics.hpp"
#include "tuner/measure/timing.hpp"

#include <algorithm>

namespace crossover {
namespace {

/// One warp: lane r tells rank r that this rank is here, and waits for rank r.
__global__ void barrier_kernel(const __grid_constant__ Peers peers, unsigned epoch, std::uint64_t pause_ns,
                               std::uint64_t timeout_ns) {
    const int peer = static_cast<int>(threadIdx.x);
    if (peer < peers.world_size) {
        auto* const theirs = reinterpret_cast<unsigned*>(peers.base[peer]) + peers.rank;
        auto* const mine = reinterpret_cast<unsigned*>(peers.base[peers.rank]) + peer;
        asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(theirs), "r"(epoch) : "memory");
        const std::uint64_t start = device::global_nanoseconds();
        unsigned seen;
        do {
            asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(seen) : "l"(mine) : "memory");
        } while (static_cast<int>(seen - epoch) < 0 && device::global_nanoseconds() - start < timeout_ns);
    }
    __syncwarp();
    const std::uint64_t together = device::global_nanoseconds();
    while (device::global_nanoseconds() - together < pause_ns) {
    }
}

} // namespace

DeviceBarrier::DeviceBarrier(Communicator& comm) : flags_(comm, 4096) {}

void DeviceBarrier::enqueue(cudaStream_t stream, double pause_us, std::uint64_t timeout_ns) {
    barrier_kernel<<<1, 32, 0, stream>>>(flags_.peers(), ++epoch_, static_cast<std::uint64_t>(1e3 * pause_us),
                                         timeout_ns);
    CROSSOVER_CUDA_CHECK(cudaGetLastError());
}

std::vector<GraphTime> time_interleaved(const std::vector<GraphExec>& graphs, Communicator& comm,
                                        DeviceBarrier& barrier, const TimingOptions& options, cudaStream_t stream) {
    // A host needs some 10 µs to enqueue barrier, event, graph and event: the GPU must be behind it at every replay,
    // or the host's gaps are timed.
    constexpr double kPauseUs = 20;
    const auto rounds = static_cast<std::size_t>(options.warmup + options.trials);
    std::vector<std::vector<Event>> begin(graphs.size()), end(graphs.size());
    for (std::size_t i = 0; i < graphs.size(); ++i) {
        begin[i] = std::vector<Event>(rounds);
        end[i] = std::vector<Event>(rounds);
        graphs[i].upload(stream);
    }
    for (std::size_t round = 0; round < rounds; ++round)
        for (std::size_t turn = 0; turn < graphs.size(); ++turn) {
            const std::size_t i = round % 2 == 0 ? turn : graphs.size() - 1 - turn;
            if (options.before_replay) options.before_replay(stream);
            barrier.enqueue(stream, kPauseUs, options.timeout_ns);
            begin[i][round].record(stream);
            graphs[i].launch(stream);
            end[i][round].record(stream);
        }
    comm.wait(stream, "timed replays");

    std::vector<double> times; // graph-major; the slowest rank's after the reduction
    for (std::size_t i = 0; i < graphs.size(); ++i)
        for (auto round = static_cast<std::size_t>(options.warmup); round < rounds; ++round)
            times.push_back(elapsed_us(begin[i][round], end[i][round]) / options.calls);
    comm.max_all_reduce(times);

    std::vector<GraphTime> result;
    const auto trials = static_cast<std::size_t>(options.trials);
    for (std::size_t i = 0; i < graphs.size(); ++i) {
        const auto first = times.begin() + static_cast<std::ptrdiff_t>(i * trials);
        const std::vector<double> mine(first, first + static_cast<std::ptrdiff_t>(trials));
        result.push_back({median(mine), quantile(mine, 0.1), quantile(mine, 0.9), options.trials});
    }
    return result;
}

} // namespace crossover
