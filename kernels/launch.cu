/// The part of a launch that calls the CUDA runtime.

#include "comm/cuda_check.hpp"
#include "kernels/launch.hpp"
#include "kernels/moe_launch.hpp"

#include <cuda_runtime.h>

#include <array>

namespace crossover {

using device::Control;

void reset_workspace(const Workspace& workspace, cudaStream_t stream) {
    std::byte* const local = workspace.peers.base[workspace.peers.rank];
    CROSSOVER_CUDA_CHECK(cudaMemsetAsync(local, 0, kControlBytes, stream));
    CROSSOVER_CUDA_CHECK(cudaMemsetAsync(local + kControlBytes, 0xFF, workspace.bytes - kControlBytes, stream));
}

std::optional<WaitTimeout> read_timeout(const Workspace& workspace, cudaStream_t stream) {
    // A rank that comes too late finds all that it waits for, from ranks that had given up and sent what means nothing.
    const Peers& peers = workspace.peers;
    std::array<Control, kMaxWorldSize> controls; // from this rank's on
    for (int hop = 0; hop < peers.world_size; ++hop)
        CROSSOVER_CUDA_CHECK(cudaMemcpyAsync(&controls[static_cast<std::size_t>(hop)],
                                             peers.base[(peers.rank + hop) % peers.world_size], sizeof(Control),
                                             cudaMemcpyDeviceToHost, stream));
    CROSSOVER_CUDA_CHECK(cudaStreamSynchronize(stream));
    for (int hop = 0; hop < peers.world_size; ++hop)
        if (const auto timeout = timeout_of(controls[static_cast<std::size_t>(hop)])) return timeout;
    return std::nullopt;
}

namespace {

/// `ctas` in all.
template <class Arguments>
void launch_with(void (*kernel)(Arguments), const Arguments& arguments, int ctas, const LaunchParameters& launch,
                 cudaStream_t stream) {
    if (launch.cluster_size > 8) // more than 8 is not portable: it must be asked for
        CROSSOVER_CUDA_CHECK(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                                  cudaFuncAttributeNonPortableClusterSizeAllowed, 1));
    cudaLaunchAttribute attributes[2];
    unsigned count = 0;
    if (launch.cluster_size > 1) {
        attributes[count].id = cudaLaunchAttributeClusterDimension;
        attributes[count++].val.clusterDim = {static_cast<unsigned>(launch.cluster_size), 1, 1};
    }
    if (launch.pdl) {
        attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
        attributes[count++].val.programmaticStreamSerializationAllowed = 1;
    }
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(ctas));
    config.blockDim = dim3(static_cast<unsigned>(launch.threads));
    config.stream = stream;
    config.attrs = attributes;
    config.numAttrs = count;
    CROSSOVER_CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, arguments));
}

} // namespace

int threads_on_gpu() {
    int device = 0, multiprocessors = 0, threads = 0;
    CROSSOVER_CUDA_CHECK(cudaGetDevice(&device));
    CROSSOVER_CUDA_CHECK(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device));
    CROSSOVER_CUDA_CHECK(cudaDeviceGetAttribute(&threads, cudaDevAttrMaxThreadsPerMultiProcessor, device));
    return multiprocessors * threads;
}

void launch_kernel(Kernel kernel, const device::Arguments& arguments, const LaunchParameters& launch,
                   cudaStream_t stream) {
    launch_with(kernel, arguments, arguments.clusters * launch.cluster_size, launch, stream);
}

void launch_kernel(MoeKernel kernel, const device::MoeArguments& arguments, const MoeLaunch& launch,
                   cudaStream_t stream) {
    launch_with(kernel, arguments, launch.ctas, {.threads = launch.threads, .pdl = launch.pdl}, stream);
}

} // namespace crossover
