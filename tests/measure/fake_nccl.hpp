#pragma once
/// The functions of the CUDA runtime and of NCCL that candidates call, in the streams of an emulated machine. They do
/// what the manual says, on the host; sums are those of rank order, each step rounded to the type.

#include "tests/emulation/machine.hpp"

#include <nccl.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace crossover::testing {

/// One rank's buffers of a collective.
struct Buffers {
    const void* send = nullptr;
    void* receive = nullptr;
};
struct Collective;

/// The ranks that call NCCL; one world at a time. A communicator is the number of its rank, from 1.
class FakeNccl {
  public:
    explicit FakeNccl(int world_size);
    ~FakeNccl();
    ncclComm_t comm_of(int rank) const { return reinterpret_cast<ncclComm_t>(static_cast<std::uintptr_t>(rank) + 1); }

    /// The rank's next collective. @throws std::logic_error if another rank has another one there
    ncclResult_t call(const std::string& name, std::size_t count, ncclDataType_t type, int root, Buffers buffers,
                      ncclComm_t comm, cudaStream_t stream);
    /// Calls outside of groups are groups of one.
    void begin_group() { ++depth_; }
    void end_group() { --depth_; }

  private:
    int world_size_;
    int depth_ = 0;
    std::vector<std::size_t> calls_; // of each rank so far
    std::vector<std::shared_ptr<Collective>> collectives_;
};

} // namespace crossover::testing
