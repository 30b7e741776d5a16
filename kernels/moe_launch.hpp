#pragma once
/// From a call of moe.hpp to a kernel launch. No CUDA.

#include "kernels/device/moe_arguments.hpp"
#include "kernels/launch.hpp"
#include "kernels/moe.hpp"

namespace crossover {

/// The kernels' arguments. @throws std::invalid_argument with unsupported()'s reason.
device::MoeArguments moe_arguments(const MoeDispatch& call, const Workspace& workspace, const MoeLaunch& launch);
device::MoeArguments moe_arguments(const MoeCombine& call, const Workspace& workspace, const MoeLaunch& launch);

/// Whether the rows are dealt in tiles of swizzled scales, not in turns (device/dispatch_rows.cuh).
bool deals_in_tiles(const MoeDispatch& call);

using MoeKernel = void (*)(device::MoeArguments);

/// As that of launch.hpp.
void launch_kernel(MoeKernel kernel, const device::MoeArguments& arguments, const MoeLaunch& launch,
                   cudaStream_t stream);

} // namespace crossover
