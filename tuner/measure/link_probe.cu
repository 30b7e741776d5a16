#include "kernels/device/vector.cuh"
#include "tuner/measure/link_probe.hpp"
#include "tuner/measure/timing.hpp"

#include <array>
#include <stdexcept>

namespace crossover {
namespace {

constexpr int kRoundTrips = 1000;
constexpr double kPauseUs = 20; // as in timing.cu: the host is ahead of the GPU

/// Ranks 2k and 2k + 1 send a counter to and fro. `elapsed_ns` (device memory): for all round trips, 0 after a
/// time-out.
__global__ void ping_pong_kernel(const __grid_constant__ Peers peers, std::size_t offset, std::uint64_t timeout_ns,
                                 std::uint64_t* elapsed_ns) {
    const int peer = peers.rank ^ 1;
    auto* const theirs = reinterpret_cast<unsigned*>(peers.base[peer] + offset);
    const auto* const mine = reinterpret_cast<const unsigned*>(peers.base[peers.rank] + offset);
    const bool begins = peers.rank % 2 == 0;
    const std::uint64_t start = device::global_nanoseconds();
    bool answered = true;
    for (unsigned round = 0; round < kRoundTrips && answered; ++round) {
        if (begins) asm volatile("st.relaxed.sys.global.u32 [%0], %1;" ::"l"(theirs), "r"(round) : "memory");
        unsigned seen;
        unsigned looks = 0;
        do {
            asm volatile("ld.relaxed.sys.global.u32 %0, [%1];" : "=r"(seen) : "l"(mine) : "memory");
            answered = ++looks % 64 != 0 || device::global_nanoseconds() - start < timeout_ns;
        } while (seen != round && answered);
        if (!begins) asm volatile("st.relaxed.sys.global.u32 [%0], %1;" ::"l"(theirs), "r"(round) : "memory");
    }
    *elapsed_ns = answered ? device::global_nanoseconds() - start : 0;
}

/// Each rank stores `bytes_each` to every other rank, into a part of its own.
__global__ void send_kernel(const __grid_constant__ Peers peers, std::size_t offset, std::size_t bytes_each) {
    using namespace device;
    const std::size_t stride = std::size_t{gridDim.x} * blockDim.x * kVectorBytes;
    const std::size_t part = static_cast<std::size_t>(peers.rank) * bytes_each;
    for (std::size_t at = (blockIdx.x * std::size_t{blockDim.x} + threadIdx.x) * kVectorBytes; at < bytes_each;
         at += stride)
        for (int hop = 1; hop < peers.world_size; ++hop)
            store_slot(peers.base[(peers.rank + hop) % peers.world_size] + offset + part + at, empty());
}

} // namespace

LinkSpeed probe_link(Communicator& comm, const Peers& peers, std::size_t offset, std::size_t bytes,
                     DeviceBarrier& barrier, std::uint64_t timeout_ns, cudaStream_t stream) {
    const std::size_t bytes_each =
        bytes / static_cast<std::size_t>(peers.world_size) / device::kVectorBytes * device::kVectorBytes;
    CROSSOVER_CUDA_CHECK(cudaMemsetAsync(peers.base[peers.rank] + offset, 0xFF, bytes, stream)); // no round is this
    comm.wait(stream, "link probe");
    comm.barrier();

    const DeviceBuffer<std::uint64_t> elapsed_ns(1);
    barrier.enqueue(stream, kPauseUs, timeout_ns);
    ping_pong_kernel<<<1, 1, 0, stream>>>(peers, offset, timeout_ns, elapsed_ns.data());
    CROSSOVER_CUDA_CHECK(cudaGetLastError());
    std::uint64_t ns = 0;
    CROSSOVER_CUDA_CHECK(cudaMemcpyAsync(&ns, elapsed_ns.data(), sizeof ns, cudaMemcpyDeviceToHost, stream));
    comm.wait(stream, "link latency");
    if (comm.any(ns == 0)) throw std::runtime_error("a rank did not answer its neighbour while the link was probed");

    constexpr int kBlocks = 256, kThreads = 512, kSends = 20, kWarmup = 3;
    const Event begin, end;
    barrier.enqueue(stream, kPauseUs, timeout_ns);
    for (int send = 0; send < kWarmup + kSends; ++send) {
        if (send == kWarmup) begin.record(stream);
        send_kernel<<<kBlocks, kThreads, 0, stream>>>(peers, offset, bytes_each);
        CROSSOVER_CUDA_CHECK(cudaGetLastError());
    }
    end.record(stream);
    comm.wait(stream, "link bandwidth");

    const double sent = static_cast<double>(kSends) * (peers.world_size - 1) * static_cast<double>(bytes_each);
    std::array<double, 2> slowest{static_cast<double>(ns) / 1e3 / (2.0 * kRoundTrips), elapsed_us(begin, end) / sent};
    comm.max_all_reduce(slowest);
    return {.hop_us = slowest[0], .bytes_per_us = 1 / slowest[1]};
}

} // namespace crossover
