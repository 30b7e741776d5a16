#pragma once
/// The device side of SymmetricBuffer.

#include "comm/peers.hpp"

#include <nccl.h>

#include <cstddef>
#include <cstdint>

namespace crossover::peer_memory {

/// Ranks of the communicator whose windows this rank can address, itself included. Valid after a window was registered.
int lsa_team_size(ncclComm_t comm);

/// pointers[r] (device memory) = where rank r's window begins in this process. `window` must be a device structure.
void resolve_window(ncclWindow_t window, int ranks, void** pointers, cudaStream_t stream);

/// Stores `nonce` into 8 bytes of every rank's buffer, own included: at offset + 8 × own rank.
void write_nonce(const Peers& peers, std::size_t offset, std::uint64_t nonce, cudaStream_t stream);

/// seen[r] (device memory) = what rank r's buffer holds at offset + 8 × own rank.
void read_nonces(const Peers& peers, std::size_t offset, std::uint64_t* seen, cudaStream_t stream);

} // namespace crossover::peer_memory
