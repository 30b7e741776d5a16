#pragma once
/// A machine of several GPUs on one CPU, for the kernels that are compiled with kernels/device/ptx.cuh of this folder.
///
///     Machine machine({.seed = 7});
///     Stream first(machine, 0), second(machine, 1);       // of rank 0 and rank 1
///     oneshot(call, workspace, launch, &first); …         // enqueues, as on a GPU
///     machine.run();                                      // until all streams are empty
///
/// Each CUDA thread is a fiber. A scheduler runs one at a time and changes to another wherever a thread meets others or
/// touches slots; every seed is another order. Warps, blocks and ranks have speeds that differ up to a thousandfold.
/// Launches begin as with programmatic dependent launch: once the one before has ended or all its blocks have
/// triggered. Stores to slots and peers land as late as the memory model allows it, word by word and out of order;
/// flags release and acquire, as do a fence with a later store, and a load with a later fence (memory.hpp). All blocks
/// are resident at once: a lack of room on the GPU is not emulated.

#include "kernels/device/arguments.hpp"
#include "kernels/fused_allreduce.hpp"
#include "kernels/launch.hpp"
#include "kernels/moe_launch.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <vector>

namespace crossover::emulation {

struct Options {
    std::uint64_t seed = 1;
    /// Ranks that are this much slower than others; missing ones are not.
    std::vector<double> rank_speed = {};

    // Faults, to see them found.
    std::function<void(device::Arguments&)> alter = {}; // of each launch
    std::function<void(device::MoeArguments&)> alter_moe = {};
    bool without_pdl_wait = false;
    bool without_trigger = false; // launches begin as soon as the one before has begun
    bool without_fences = false;
    bool without_emptying = false; // slots keep what was received
    bool without_release = false;  // flags overtake what they are to follow
    bool without_flags = false;    // every flag seems to be there
};

/// No thread can ever go on, or a thread has done what is undefined on a GPU.
struct EmulationError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

class Scheduler;

class Machine {
  public:
    explicit Machine(Options options = {});
    ~Machine();
    /// Runs what the streams hold. @throws EmulationError
    void run();
    Scheduler& scheduler() { return *scheduler_; }

  private:
    std::unique_ptr<Scheduler> scheduler_;
};

} // namespace crossover::emulation

/// What a cudaStream_t points to.
struct CUstream_st {
    CUstream_st(crossover::emulation::Machine& machine, int rank) : machine(machine), rank(rank) {}
    crossover::emulation::Machine& machine;
    int rank;
    int launched = 0; // launches so far
    int ended = 0;
};

namespace crossover::emulation {
using Stream = ::CUstream_st;
}
