#pragma once
/// Host code in the streams of an emulated machine: what stands for copies and for NCCL where candidates are tested
/// without GPUs.

#include "tests/emulation/machine.hpp"

#include <functional>
#include <memory>

namespace crossover::testing {

/// Runs `work` when the stream comes to it.
void enqueue_work(cudaStream_t stream, std::function<void()> work);

/// What all ranks' streams come to together, as to a collective: the last one does the work.
struct Together {
    int expected = 0;
    unsigned arrived = 0;
    std::function<void()> work;
};
void enqueue_together(cudaStream_t stream, std::shared_ptr<Together> together);

} // namespace crossover::testing
