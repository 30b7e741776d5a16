#include "kernels/device/ptx.cuh"
#include "tuner/measure/timing.hpp"

#include <algorithm>
#include <cstddef>

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

namespace {

/// Which of the contenders, and in which round of all: every other one goes backwards.
struct Rounds {
    std::vector<std::size_t> contenders;
    int first = 0;
    int count = 0;
};

struct EventPair {
    Event begin, end;
};

/// Times of each contender's replays by round, µs a call, of the slowest rank.
std::vector<std::vector<double>> replay(const std::vector<TimedGraphs>& contenders, const Rounds& rounds,
                                        Communicator& comm, DeviceBarrier& barrier, const TimingOptions& options,
                                        cudaStream_t stream) {
    // A host needs some 10 µs to enqueue barrier, event, graph and event: the GPU must be behind it at every replay,
    // or the host's gaps are timed.
    constexpr double kPauseUs = 20;
    const auto count = static_cast<std::size_t>(rounds.count);
    const std::size_t turns = rounds.contenders.size();
    std::vector<EventPair> around_calls(turns * count), around_few(turns * count); // by turn, then round
    const auto time = [&](const GraphExec& graph, const EventPair& events) {
        if (options.before_replay) options.before_replay(stream);
        barrier.enqueue(stream, kPauseUs, options.timeout_ns);
        events.begin.record(stream);
        graph.launch(stream);
        events.end.record(stream);
    };
    for (std::size_t round = 0; round < count; ++round)
        for (std::size_t i = 0; i < turns; ++i) {
            const bool backwards = (static_cast<std::size_t>(rounds.first) + round) % 2 == 1;
            const std::size_t turn = backwards ? turns - 1 - i : i;
            const TimedGraphs& graphs = contenders[rounds.contenders[turn]];
            if (graphs.few) time(graphs.few, around_few[turn * count + round]);
            time(graphs.calls, around_calls[turn * count + round]);
        }
    comm.wait(stream, "timed replays");

    std::vector<double> all(2 * turns * count);
    for (std::size_t i = 0; i < turns * count; ++i) {
        all[2 * i] = elapsed_us(around_calls[i].begin, around_calls[i].end);
        if (contenders[rounds.contenders[i / count]].few)
            all[2 * i + 1] = elapsed_us(around_few[i].begin, around_few[i].end);
    }
    comm.max_all_reduce(all);
    std::vector<std::vector<double>> times(turns);
    for (std::size_t i = 0; i < turns * count; ++i) {
        const int few_calls = contenders[rounds.contenders[i / count]].few ? options.few_calls : 0;
        times[i / count].push_back((all[2 * i] - all[2 * i + 1]) / (options.calls - few_calls));
    }
    return times;
}

} // namespace

std::vector<GraphTime> time_interleaved(const std::vector<TimedGraphs>& contenders, Communicator& comm,
                                        DeviceBarrier& barrier, const TimingOptions& options, cudaStream_t stream) {
    for (const TimedGraphs& graphs : contenders) {
        graphs.calls.upload(stream);
        if (graphs.few) graphs.few.upload(stream);
    }
    int rounds = 0;
    const auto replay_more = [&](const std::vector<std::size_t>& open, int done, int count) {
        const int warmup = done == 0 ? options.warmup : 0;
        auto times = replay(contenders, {.contenders = open, .first = rounds, .count = warmup + count}, comm, barrier,
                            options, stream);
        for (std::vector<double>& mine : times) mine.erase(mine.begin(), mine.begin() + warmup);
        rounds += warmup + count;
        return times;
    };
    const std::vector<std::vector<double>> times = replay_contenders(contenders.size(), options.rule, replay_more);
    std::vector<GraphTime> result;
    for (const std::vector<double>& mine : times) result.push_back(graph_time(mine));
    return result;
}

} // namespace crossover
