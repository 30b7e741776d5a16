#include "comm/cuda_check.hpp"
#include "comm/peer_memory.hpp"

#include <nccl_device.h>

namespace crossover::peer_memory {
namespace {

// Only ncclGetLsaPointer of NCCL's device API is used, no ncclDevComm: a window's own fields have kept their places
// through 2.28's patch releases, ncclDevComm's have not.
__global__ void resolve_window_kernel(ncclWindow_t window, int ranks, void** pointers) {
    const int rank = static_cast<int>(threadIdx.x);
    if (rank < ranks) pointers[rank] = ncclGetLsaPointer(window, 0, rank);
}

__device__ std::uint64_t* slot(const Peers& peers, int peer, std::size_t offset) {
    return reinterpret_cast<std::uint64_t*>(peers.base[peer] + offset) + peers.rank;
}

__global__ void write_nonce_kernel(Peers peers, std::size_t offset, std::uint64_t nonce) {
    const int peer = static_cast<int>(threadIdx.x);
    if (peer < peers.world_size) *static_cast<volatile std::uint64_t*>(slot(peers, peer, offset)) = nonce;
    __threadfence_system();
}

__global__ void read_nonces_kernel(Peers peers, std::size_t offset, std::uint64_t* seen) {
    const int peer = static_cast<int>(threadIdx.x);
    if (peer < peers.world_size) seen[peer] = *static_cast<volatile std::uint64_t*>(slot(peers, peer, offset));
}

} // namespace

int lsa_team_size(ncclComm_t comm) { return ncclTeamLsa(comm).nRanks; }

void resolve_window(ncclWindow_t window, int ranks, void** pointers, cudaStream_t stream) {
    resolve_window_kernel<<<1, 32, 0, stream>>>(window, ranks, pointers);
    CROSSOVER_CUDA_CHECK(cudaGetLastError());
}

void write_nonce(const Peers& peers, std::size_t offset, std::uint64_t nonce, cudaStream_t stream) {
    write_nonce_kernel<<<1, 32, 0, stream>>>(peers, offset, nonce);
    CROSSOVER_CUDA_CHECK(cudaGetLastError());
}

void read_nonces(const Peers& peers, std::size_t offset, std::uint64_t* seen, cudaStream_t stream) {
    read_nonces_kernel<<<1, 32, 0, stream>>>(peers, offset, seen);
    CROSSOVER_CUDA_CHECK(cudaGetLastError());
}

} // namespace crossover::peer_memory
