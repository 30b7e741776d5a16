#pragma once
/// An NCCL communicator whose waits end: a peer that is gone is an error after `timeout`, not a hang.

#include "comm/cuda_resource.hpp"
#include "comm/launch.hpp"
#include "comm/nccl_check.hpp"

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace crossover {

/// The loaded libnccl is not the one that this was built for. NCCL's device structures change between patch releases;
/// with 2.28.9's headers and 2.28.3's library kernels access illegal addresses. @throws InputError
void check_nccl_version();

/// "2.28.9"
std::string nccl_version();

/// The CUDA device of this rank: its local rank, or 0 where the launcher shows each rank just its own GPU.
/// @throws InputError if there are fewer GPUs than local ranks.
int device_for(const RankEnvironment& self);

/// A wait for other ranks ran into its time limit. The communicator has been aborted: end the process.
class TimeoutError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

class Communicator {
  public:
    /// Connects all ranks at address:port by NCCL's own bootstrap and makes device_for(self) current. Sets
    /// NCCL_COMM_ID in this process; call it once a process. @throws InputError (NCCL version), NcclError, CudaError,
    /// TimeoutError.
    static Communicator connect(const RankEnvironment& self,
                                std::chrono::milliseconds timeout = std::chrono::milliseconds(60'000));

    /// A communicator of the same ranks as the caller's own, on the current device, which stays the caller's and which
    /// no time-out here aborts. Collective. @throws as connect().
    static Communicator duplicate(ncclComm_t comm,
                                  std::chrono::milliseconds timeout = std::chrono::milliseconds(60'000));

    /// Ranks of equal color form a new communicator, ordered by key, then rank. Collective over this communicator; a
    /// negative color takes part in none and gets nothing.
    std::optional<Communicator> split(int color, int key);

    int rank() const noexcept { return rank_; }
    int size() const noexcept { return size_; }
    int device() const noexcept { return device_; }
    /// A blocking communicator; null after a TimeoutError.
    ncclComm_t nccl() const noexcept { return comm_.get(); }
    /// The stream of the host-level collectives below; free for other use between them. NCCL connects a transport at
    /// the first collective that uses it and blocks the calling thread meanwhile: that wait only supervise_ranks()
    /// bounds.
    cudaStream_t stream() const noexcept { return stream_.get(); }
    std::chrono::milliseconds timeout() const noexcept { return timeout_; }

    /// Waits until `stream` is idle while watching for NCCL's asynchronous errors. After `timeout` aborts the
    /// communicator and @throws TimeoutError naming `what`.
    void wait(cudaStream_t stream, const char* what);

    // Host-level collectives: small data, staged through pinned and device memory, blocking, bounded by `timeout`.

    /// Element-wise maximum over all ranks, in place; bit-identical on all ranks.
    void max_all_reduce(std::span<double> values);
    /// All ranks' bytes in rank order, size() × mine.size(). All ranks give the same number of bytes.
    std::vector<std::byte> all_gather_bytes(std::span<const std::byte> mine);
    /// Rank `root`'s bytes on every rank; all give the same size.
    void broadcast_bytes(std::span<std::byte> bytes, int root);
    /// Returns when all ranks have entered.
    void barrier();
    /// Whether `mine` is true on any rank; how ranks agree to fall back.
    bool any(bool mine);

  private:
    struct Destroy {
        void operator()(ncclComm_t comm) const noexcept;
    };
    using CommHandle = std::unique_ptr<ncclComm, Destroy>;
    Communicator(CommHandle comm, int device, std::chrono::milliseconds timeout);
    static CommHandle split_off(ncclComm_t whole, int color, int key, int device, std::chrono::milliseconds timeout);
    void reserve_staging(std::size_t bytes);
    void abort() noexcept; // afterwards nccl() is null

    CommHandle comm_;
    int rank_ = 0;
    int size_ = 0;
    int device_ = 0;
    std::chrono::milliseconds timeout_;
    Stream stream_;
    PinnedBuffer<std::byte> pinned_;
    DeviceBuffer<std::byte> staging_;
};

/// Runs a call that blocks until all ranks make it, on a thread of its own, for at most `timeout`.
/// @throws TimeoutError naming `what` (the thread is then left behind: end the process), or what the call throws.
void run_bounded(const char* what, std::chrono::milliseconds timeout, int device, std::function<void()> call);

} // namespace crossover
