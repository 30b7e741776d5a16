// What time_interleaved() calls the time of a call, by kernels that take a known one. Needs 2 GPUs.

#define DOCTEST_CONFIG_IMPLEMENT
#include "tests/gpu/on_ranks.hpp"

#include "kernels/device/ptx.cuh"
#include "tuner/measure/timing.hpp"

#include <cmath>

using namespace crossover;
using namespace crossover::testing;

namespace {

__global__ void spin_kernel(std::uint64_t nanoseconds) {
    const std::uint64_t start = device::global_nanoseconds();
    while (device::global_nanoseconds() - start < nanoseconds) {
    }
}

GraphExec spins(int calls, std::uint64_t nanoseconds, cudaStream_t stream) {
    return GraphExec(capture(stream, [&] {
        for (int call = 0; call < calls; ++call) spin_kernel<<<1, 1, 0, stream>>>(nanoseconds);
    }));
}

} // namespace

TEST_CASE("a call takes what its kernels take on the slowest rank and has no share of the start of a graph") {
    on_ranks(2, [](Communicator& world) {
        const Stream stream;
        DeviceBarrier barrier(world);
        const std::uint64_t own = world.rank() == 0 ? 10'000 : 15'000;
        const auto times_of = [&](int calls, int few_calls) {
            std::vector<TimedGraphs> contenders(2);
            contenders[0].calls = spins(calls, 10'000, stream.get());
            contenders[1].calls = spins(calls, own, stream.get());
            if (few_calls > 0) {
                contenders[0].few = spins(few_calls, 10'000, stream.get());
                contenders[1].few = spins(few_calls, own, stream.get());
            }
            TimingOptions options{.calls = calls, .few_calls = few_calls};
            options.rule = {.trials = 12, .precision = 0};
            return time_interleaved(contenders, world, barrier, options, stream.get());
        };
        // Of one kernel after another an H200 makes 0.5 µs.
        const std::vector<GraphTime> times = times_of(20, 4);
        CHECK(times[0].median_us > 10);
        CHECK(times[0].median_us < 11.5);
        CHECK(times[1].median_us > 15);
        CHECK(times[1].median_us < 16.5);
        CHECK(times[0].p10_us <= times[0].median_us);
        CHECK(times[0].median_us <= times[0].p90_us);
        CHECK(times[0].replays == 12);
        // A start is 4 µs: of five calls each would have 0.8.
        CHECK(std::abs(times_of(5, 1)[0].median_us - times[0].median_us) < 0.3);
        CHECK(times_of(5, 0)[0].median_us > times[0].median_us + 0.3);
    });
}
