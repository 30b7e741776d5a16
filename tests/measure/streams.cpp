#include "tests/measure/streams.hpp"

#include "tests/emulation/kernels/device/ptx.cuh"

#include <deque>

namespace crossover::testing {
namespace {

void work_kernel(device::Arguments a) {
    device::pdl_wait();
    if (threadIdx.x == 0) (*static_cast<const std::function<void()>*>(a.input))();
}

void together_kernel(device::Arguments a) {
    device::pdl_wait();
    if (threadIdx.x != 0) return;
    auto& together = **static_cast<const std::shared_ptr<Together>*>(a.input);
    if (++together.arrived == static_cast<unsigned>(together.expected)) together.work();
    while (device::load_relaxed_gpu(&together.arrived) < static_cast<unsigned>(together.expected)) {
    }
}

void enqueue(Kernel kernel, const void* argument, cudaStream_t stream) {
    device::Arguments arguments{};
    arguments.input = argument;
    arguments.clusters = 1;
    launch_kernel(kernel, arguments, {.cluster_size = 1, .clusters = 1, .threads = device::kWarp}, stream);
}

/// Kept for the process: a launch has no end at which its arguments could be freed.
template <class T>
const T* kept(T value) {
    static std::deque<T> all;
    return &all.emplace_back(std::move(value));
}

} // namespace

void enqueue_work(cudaStream_t stream, std::function<void()> work) {
    enqueue(&work_kernel, kept(std::move(work)), stream);
}

void enqueue_together(cudaStream_t stream, std::shared_ptr<Together> together) {
    enqueue(&together_kernel, kept(std::move(together)), stream);
}

} // namespace crossover::testing
