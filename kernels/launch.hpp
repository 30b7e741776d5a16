#pragma once
/// From a call to a kernel launch: checks, arguments, and the choice of the template instance. No CUDA.

#include "kernels/device/arguments.hpp"
#include "kernels/fused_allreduce.hpp"

#include <type_traits>

namespace crossover {

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// A row's units of device::kUnitBytes, the last one partly filled; of a call that unsupported_call() lets pass.
inline int units_per_row(const FusedAllReduce& call) {
    return static_cast<int>(
        ceil_div(call.hidden_dim * static_cast<std::int64_t>(element_size(call.dtype)), device::kUnitBytes));
}

/// Why no launch supports the call, whatever the workspace, if so.
std::optional<std::string> unsupported_call(const FusedAllReduce& call);

/// How a launch uses the workspace; generation_bytes depends on the workspace alone.
device::SlotLayout slot_layout(Fused algorithm, const FusedAllReduce& call, const Workspace& workspace,
                               const LaunchParameters& launch);

/// The kernel's arguments. @throws std::invalid_argument with unsupported()'s reason.
device::Arguments fused_arguments(Fused algorithm, const FusedAllReduce& call, const Workspace& workspace,
                                  const LaunchParameters& launch);

/// Arguments of a kernel without communication: one CTA (or more) per token.
device::Arguments local_arguments(const FusedAllReduce& call, const LaunchParameters& launch);

/// Threads that a multiprocessor can hold at a time, as far as registers go: of the kernel for one row a cluster, or of
/// that for many.
int threads_per_multiprocessor(Fused algorithm, const FusedAllReduce& call, int world_size, int units_per_warp,
                               bool one_row);

/// Clusters of the launch's size and threads that fit on a GPU beside each other, at least 1, where `threads` threads
/// are on a multiprocessor.
int resident_clusters(const LaunchParameters& launch, int threads, int multiprocessors);

/// Workspace::timeout_ns as kernels take it: the clock that they add it to, nanoseconds since 1970, must not wrap.
std::uint64_t longest_wait_ns(const Workspace& workspace);

/// Bytes of each of a workspace's two generations of slots.
std::size_t generation_bytes(const Workspace& workspace);

/// What the first thread that gave up has recorded, if one has.
std::optional<WaitTimeout> timeout_of(const device::Control& control);

using Kernel = void (*)(device::Arguments);

/// Launches with cluster and PDL attributes (launch.cu; on the CPU: tests/emulation). @throws CudaError
void launch_kernel(Kernel kernel, const device::Arguments& arguments, const LaunchParameters& launch,
                   cudaStream_t stream);

/// Threads that the current GPU holds at a time (launch.cu; on the CPU: tests/emulation). @throws CudaError
int threads_on_gpu();

/// twoshot() of a pattern with a sharded residual.
void twoshot_sharded(const FusedAllReduce& call, const Workspace& workspace, const LaunchParameters& launch,
                     cudaStream_t stream);

template <auto Value>
using Constant = std::integral_constant<decltype(Value), Value>;

/// visit(value) with the one of `Values` that equals `value`, as a compile-time constant.
template <auto... Values, class T, class Visit>
auto with_constant(T value, Visit visit) {
    std::common_type_t<decltype(visit(Constant<Values>{}))...> kernel = nullptr;
    static_cast<void>(((value == Values && (kernel = visit(Constant<Values>{}), true)) || ...));
    return kernel;
}

/// The instance for this dtype, quant mode and units per warp; `instance` maps the constants to a kernel.
template <class Instance>
Kernel choose_kernel(const FusedAllReduce& call, int units_per_warp, Instance instance) {
    const int units = units_per_warp <= 1 ? 1 : units_per_warp <= 2 ? 2 : 4;
    return with_constant<DType::bfloat16, DType::float16, DType::float32>(call.dtype, [&](auto dtype) {
        return with_constant<Quant::none, Quant::fp8, Quant::fp4>(call.quant, [&](auto quant) {
            return with_constant<1, 2, 4>(units, [&](auto k) { return instance(dtype, quant, k); });
        });
    });
}

/// `instance` maps dtype, world size, quant mode, units a warp, and whether no cluster has more than one row, to a
/// kernel. With one row there are no rings, and fewer registers do (of two and four ranks 64); so it has a kernel of
/// its own, for a unit a warp.
template <class Instance>
void launch_fused(Fused algorithm, const FusedAllReduce& call, const Workspace& workspace,
                  const LaunchParameters& launch, cudaStream_t stream, Instance instance) {
    const device::Arguments arguments = fused_arguments(algorithm, call, workspace, launch);
    const bool one_row = arguments.num_tokens <= arguments.clusters;
    const Kernel kernel = choose_kernel(call, arguments.units_per_warp, [&](auto dtype, auto quant, auto units) {
        return with_constant<2, 4, 8>(arguments.peers.world_size, [&](auto world) -> Kernel {
            if constexpr (units.value == 1)
                if (one_row) return instance(dtype, world, quant, units, Constant<true>{});
            return instance(dtype, world, quant, units, Constant<false>{});
        });
    });
    launch_kernel(kernel, arguments, launch, stream);
}

} // namespace crossover
