#pragma once
/// Device memory of the same size on every rank, each rank's mapped into all others. Single host, or one NVLink domain.

#include "comm/communicator.hpp"
#include "comm/peers.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace crossover {

/// How peers see the memory. Kernels may do the same through both: plain, vector, volatile and .sys-scope relaxed /
/// acquire / release loads and stores, and system-scope atomics where the link has them (NVLink has). Differences:
/// - `nccl_window`: ncclMemAlloc + ncclCommWindowRegister(NCCL_WIN_COLL_SYMMETRIC). window() is not null, NCCL's own
///   collectives run their symmetric algorithms on it, and it reaches over an NVLink domain of several hosts.
/// - `cuda_ipc`: cudaMalloc + cudaIpcOpenMemHandle. window() is null, one host only, every GPU visible to every rank.
enum class SymmetricKind : std::uint8_t { nccl_window, cuda_ipc };
std::string_view to_string(SymmetricKind kind);

/// Construction and destruction are collective over the communicator, which must outlive the buffer. Make it before any
/// graph capture that uses it; graphs may be replayed for as long as it lives.
class SymmetricBuffer {
  public:
    /// At least `bytes` zeroed bytes on each rank, aligned to 256 bytes, windows to 4096. Peer pointers are proved by
    /// values written and read through each of them. If `preferred` cannot be had on any rank, all ranks fall back to
    /// the other kind.
    /// @throws std::runtime_error naming both reasons if neither works; InputError for more than kMaxWorldSize ranks,
    /// or if ranks ask for different `bytes`.
    SymmetricBuffer(Communicator& communicator, std::size_t bytes,
                    SymmetricKind preferred = SymmetricKind::nccl_window);
    SymmetricBuffer(SymmetricBuffer&& other) noexcept;
    SymmetricBuffer& operator=(SymmetricBuffer&& other) noexcept;
    ~SymmetricBuffer();

    const Peers& peers() const noexcept;
    void* local() const noexcept;
    std::size_t bytes() const noexcept;
    SymmetricKind kind() const noexcept;
    /// For NCCL's device API; null with cuda_ipc.
    ncclWindow_t window() const noexcept;
    /// Why the preferred kind was not used; empty if it was.
    const std::string& fallback_reason() const noexcept;

  private:
    struct Mapping;
    std::unique_ptr<Mapping> mapping_;
};

} // namespace crossover
