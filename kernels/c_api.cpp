// The C API in terms of the C++ one: copies structs, turns exceptions into statuses.

#include "kernels/c_api.hpp"
#include "kernels/device/arguments.hpp"

#include <algorithm>
#include <array>
#include <memory>

using namespace crossover;
using namespace crossover::c_api;

namespace {

static_assert(static_cast<int>(Pattern::allreduce_residual_rmsnorm_sharded) ==
                  CROSSOVER_ALLREDUCE_RESIDUAL_RMSNORM_SHARDED &&
              kAllReducePatterns.size() == 4);
static_assert(static_cast<int>(Fused::twoshot) == CROSSOVER_TWOSHOT);

FusedAllReduce call_of(const crossover_call& call) {
    return {.pattern = converted<Pattern, kAllReducePatterns.size()>(call.pattern, "pattern"),
            .dtype = dtype_of(call.dtype),
            .quant = quant_of(call.quant),
            .scale_layout = scale_layout_of(call.scale_layout),
            .num_tokens = call.num_tokens,
            .hidden_dim = call.hidden_dim,
            .input = call.input,
            .residual_in = call.residual_in,
            .residual_out = call.residual_out,
            .gamma = call.gamma,
            .output = call.output,
            .output_scales = call.output_scales,
            .quant_scale = call.quant_scale,
            .eps = call.eps};
}

LaunchParameters launch_of(const crossover_launch& launch) {
    return {.cluster_size = launch.cluster_size,
            .clusters = launch.clusters,
            .threads = launch.threads,
            .push_ahead = launch.push_ahead,
            .consume_behind = launch.consume_behind,
            .pdl = launch.pdl != 0};
}

LaunchParameters default_launch_of(const crossover_workspace& workspace, Fused algorithm, const FusedAllReduce& call) {
    return default_launch(algorithm, call, workspace.workspace, workspace.multiprocessors,
                          workspace.compute_capability_major);
}

/// Clears this rank's part; between barriers where there is a communicator.
void reset(crossover_workspace& workspace) {
    if (workspace.communicator) {
        Communicator& comm = *workspace.communicator;
        comm.barrier();
        reset_workspace(workspace.workspace, comm.stream());
        comm.wait(comm.stream(), "workspace reset");
        comm.barrier();
    } else {
        const Stream stream;
        reset_workspace(workspace.workspace, stream.get());
        stream.synchronize();
    }
}

void read_device(crossover_workspace& workspace) {
    int device = 0;
    CROSSOVER_CUDA_CHECK(cudaGetDevice(&device));
    CROSSOVER_CUDA_CHECK(cudaDeviceGetAttribute(&workspace.multiprocessors, cudaDevAttrMultiProcessorCount, device));
    CROSSOVER_CUDA_CHECK(
        cudaDeviceGetAttribute(&workspace.compute_capability_major, cudaDevAttrComputeCapabilityMajor, device));
    if (!workspace.communicator) return;
    // Default launches must be the same on all ranks: those of the smallest GPU, or share of one (MPS).
    std::array<double, 2> smallest{-1.0 * workspace.multiprocessors, -1.0 * workspace.compute_capability_major};
    workspace.communicator->max_all_reduce(smallest);
    workspace.multiprocessors = static_cast<int>(-smallest[0]);
    workspace.compute_capability_major = static_cast<int>(-smallest[1]);
}

void require_world_size(int world_size) {
    if (world_size != 2 && world_size != 4 && world_size != 8)
        throw std::invalid_argument("world size " + std::to_string(world_size) + " is not 2, 4 or 8");
}

} // namespace

const char* crossover_last_error(void) { return last_error.c_str(); }

size_t crossover_workspace_bytes(int world_size, uint64_t max_message_bytes) {
    return workspace_bytes(world_size, max_message_bytes);
}

crossover_status crossover_workspace_create(ncclComm_t comm, size_t bytes, crossover_workspace** workspace) {
    return guarded([&] {
        require(comm, "comm");
        require(workspace, "workspace");
        auto made = std::make_unique<crossover_workspace>();
        made->communicator = Communicator::duplicate(comm);
        require_world_size(made->communicator->size());
        read_device(*made);
        made->buffer.emplace(*made->communicator, std::max(bytes, crossover_workspace_bytes(2, 0)));
        made->workspace.peers = made->buffer->peers();
        made->workspace.bytes = made->buffer->bytes();
        reset(*made);
        *workspace = made.release();
        return CROSSOVER_OK;
    });
}

crossover_status crossover_workspace_from_pointers(int rank, int world_size, void* const* base, size_t bytes,
                                                   crossover_workspace** workspace) {
    return guarded([&] {
        require_world_size(world_size);
        require(base, "base");
        require(workspace, "workspace");
        if (rank < 0 || rank >= world_size)
            throw std::invalid_argument("rank " + std::to_string(rank) + " is not below world_size");
        if (bytes < crossover_workspace_bytes(2, 0))
            throw std::invalid_argument("a workspace has " + std::to_string(crossover_workspace_bytes(2, 0)) +
                                        " bytes at least, not " + std::to_string(bytes));
        auto made = std::make_unique<crossover_workspace>();
        made->workspace.peers.rank = rank;
        made->workspace.peers.world_size = world_size;
        for (int peer = 0; peer < world_size; ++peer) {
            require(base[peer], "a rank's memory");
            if (reinterpret_cast<std::uintptr_t>(base[peer]) % device::kVectorBytes != 0)
                throw std::invalid_argument("a rank's memory is not aligned to 16 bytes");
            made->workspace.peers.base[peer] = static_cast<std::byte*>(base[peer]);
        }
        made->workspace.bytes = bytes;
        read_device(*made);
        reset(*made);
        *workspace = made.release();
        return CROSSOVER_OK;
    });
}

crossover_status crossover_workspace_set_timeout(crossover_workspace* workspace, uint64_t timeout_ns) {
    return guarded([&] {
        require(workspace, "workspace");
        if (timeout_ns == 0) throw std::invalid_argument("timeout_ns is 0");
        workspace->workspace.timeout_ns = timeout_ns;
        return CROSSOVER_OK;
    });
}

crossover_status crossover_workspace_reset(crossover_workspace* workspace, cudaStream_t stream) {
    return guarded([&] {
        require(workspace, "workspace");
        CROSSOVER_CUDA_CHECK(cudaStreamSynchronize(stream));
        reset(*workspace);
        return CROSSOVER_OK;
    });
}

void crossover_workspace_destroy(crossover_workspace* workspace) { delete workspace; }

crossover_status crossover_default_launch(const crossover_workspace* workspace, crossover_algorithm algorithm,
                                          const crossover_call* call, crossover_launch* launch) {
    return guarded([&] {
        require(workspace, "workspace");
        require(call, "call");
        require(launch, "launch");
        const auto fused = converted<Fused, 2>(algorithm, "algorithm");
        const FusedAllReduce request = call_of(*call);
        const LaunchParameters chosen = default_launch_of(*workspace, fused, request);
        if (const auto reason = unsupported(fused, request, workspace->workspace, chosen))
            return failure(CROSSOVER_UNSUPPORTED, *reason);
        *launch = {.cluster_size = chosen.cluster_size,
                   .clusters = chosen.clusters,
                   .threads = chosen.threads,
                   .push_ahead = chosen.push_ahead,
                   .consume_behind = chosen.consume_behind,
                   .pdl = chosen.pdl ? 1 : 0};
        return CROSSOVER_OK;
    });
}

crossover_status crossover_fused_allreduce(const crossover_workspace* workspace, crossover_algorithm algorithm,
                                           const crossover_call* call, const crossover_launch* launch,
                                           cudaStream_t stream) {
    return guarded([&] {
        require(workspace, "workspace");
        require(call, "call");
        const auto fused = converted<Fused, 2>(algorithm, "algorithm");
        const FusedAllReduce request = call_of(*call);
        const LaunchParameters parameters = launch ? launch_of(*launch) : default_launch_of(*workspace, fused, request);
        if (const auto reason = unsupported(fused, request, workspace->workspace, parameters))
            return failure(CROSSOVER_UNSUPPORTED, *reason);
        (fused == Fused::oneshot ? oneshot : twoshot)(request, workspace->workspace, parameters, stream);
        return CROSSOVER_OK;
    });
}

crossover_status crossover_check(const crossover_workspace* workspace, cudaStream_t stream) {
    return guarded([&] {
        require(workspace, "workspace");
        const auto timeout = read_timeout(workspace->workspace, stream);
        if (!timeout) return CROSSOVER_OK;
        return failure(CROSSOVER_TIMEOUT, to_string(*timeout));
    });
}
