#pragma once
/// Times of graphs on all ranks of a group, interleaved.

#include "comm/communicator.hpp"
#include "comm/symmetric_buffer.hpp"
#include "tuner/measure/record.hpp"
#include "tuner/plan/stopping_rule.hpp"

#include <cstdint>
#include <functional>
#include <vector>

namespace crossover {

/// Lets the ranks of a group begin together: a device-side barrier in the stream.
class DeviceBarrier {
  public:
    /// Collective.
    explicit DeviceBarrier(Communicator& comm);
    /// All ranks' streams pass this point within about a microsecond, and then wait `pause_us` more, in which the host
    /// can put what follows into the stream. Gives up after `timeout_ns`.
    void enqueue(cudaStream_t stream, double pause_us, std::uint64_t timeout_ns);

  private:
    SymmetricBuffer flags_;
    unsigned epoch_ = 0;
};

/// A contender's calls, `TimingOptions::calls` and `few_calls` of them. A call takes what the longer graph takes
/// longer: what a replay costs by itself is in both. That is 4 µs before the first kernel runs and 2 µs in which ranks
/// wait for the last to begin, a tenth of 20 calls of the shortest messages, and no call inside of an engine's graph
/// has it.
struct TimedGraphs {
    GraphExec calls;
    GraphExec few; // none if there are none of them
};

struct TimingOptions {
    int warmup = 3;
    ReplayRule rule; // of the replays that are timed
    int calls = 20;
    int few_calls = 4;
    std::uint64_t timeout_ns = 2'000'000'000;
    std::function<void(cudaStream_t)> before_replay; // enqueued untimed, e.g. to make the caches cold
};

/// Replays the contenders' graphs in turns (A B C, C B A, …) so that drift hits all alike; collective over `comm`.
/// Those whose times are precise stop before the others, on all ranks alike: the rule sees the slowest rank's times.
std::vector<GraphTime> time_interleaved(const std::vector<TimedGraphs>& contenders, Communicator& comm,
                                        DeviceBarrier& barrier, const TimingOptions& options, cudaStream_t stream);

} // namespace crossover
