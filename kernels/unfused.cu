/// The unfused side: what runs after a plain all-reduce. One kernel for residual add, norm and quantization, and the
/// same in separate kernels. All are bound by memory.

#include "kernels/device/epilogue.cuh"
#include "kernels/launch.hpp"

#include <algorithm>

namespace crossover {
namespace device {

/// A token per cluster at a time; `input` is the reduced tensor.
template <DType D, Quant Q, int K>
__global__ void __launch_bounds__(kMaxThreads) fused_norm_kernel(const __grid_constant__ Arguments a) {
    CROSSOVER_SHARED(RowSum::Shared, shared);
    const Place place(a);
    Epilogue<D, Q, K> epilogue(a, place);
    RowSum row_sum(shared, a, place);
    pdl_wait();
    pdl_trigger();

    Row row(a, place), next = row;
    Vector x[K], residual[K];
    const auto load = [&] {
#pragma unroll
        for (int k = 0; k < K; ++k) {
            if (!place.has(k)) continue;
            x[k] = load_tensor(a.input, next.vector + k * kWarp);
            if (a.has_residual) residual[k] = load_tensor(a.residual_in, next.vector + k * kWarp);
        }
        next.advance();
    };
    load();
    for (int iteration = 0; iteration < place.iterations; ++iteration, row.advance()) {
        epilogue.begin(row_sum);
        Vector r[K];
#pragma unroll
        for (int k = 0; k < K; ++k)
            r[k] = place.has(k) ? reduced<D>(unpack<D>(x[k]), a.has_residual, residual[k]) : Vector{};
        if (iteration + 1 < place.iterations) load(); // the next row is on its way during this one's norm
        epilogue.finish(r, row, row_sum, [] {});
    }
}

template <DType D>
__global__ void __launch_bounds__(kMaxThreads) add_residual_kernel(const __grid_constant__ Arguments a) {
    pdl_wait();
    pdl_trigger();
    const std::int64_t vectors = std::int64_t{a.num_tokens} * a.vectors_per_row;
    const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
    for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < vectors; i += stride)
        store_tensor(a.residual_out, i,
                     reduced<D>(unpack<D>(load_tensor(a.input, i)), true, load_tensor(a.residual_in, i)));
}

/// Quantizes rows that are normed already: the epilogue's quantization with a norm of one.
template <DType D, Quant Q, int K>
__global__ void __launch_bounds__(kMaxThreads) quantize_kernel(const __grid_constant__ Arguments a) {
    const Place place(a);
    const Epilogue<D, Q, K> epilogue(a, place);
    pdl_wait();
    pdl_trigger();
    Row row(a, place);
    for (int iteration = 0; iteration < place.iterations; ++iteration, row.advance()) {
#pragma unroll
        for (int k = 0; k < K; ++k) {
            if (k >= place.units) continue;
            const Vector v = place.has(k) ? load_tensor(a.input, row.vector + k * kWarp) : Vector{};
            epilogue.write_quantized(unpack<D>(v), row, k);
        }
    }
}

} // namespace device

namespace {

/// A row per CTA, of more than 32 KiB per cluster; as many as the GPU holds.
LaunchParameters local_launch(const FusedAllReduce& call, bool pdl) {
    const int row_units = units_per_row(call);
    LaunchParameters launch;
    launch.pdl = pdl;
    int per_warp = 1;
    while (per_warp < device::kMaxUnitsPerWarp && row_units > per_warp * device::kMaxThreads / device::kWarp)
        per_warp *= 2;
    while (ceil_div(row_units, launch.cluster_size) > device::kMaxUnitsPerWarp * device::kMaxThreads / device::kWarp)
        launch.cluster_size *= 2;
    const std::int64_t per_cta = ceil_div(row_units, launch.cluster_size);
    launch.threads = static_cast<int>(ceil_div(per_cta, per_warp)) * device::kWarp;
    launch.clusters = std::max(1, threads_on_gpu() / launch.threads / launch.cluster_size);
    return launch;
}

} // namespace

namespace unfused {

void fused_norm(const FusedAllReduce& call, bool pdl, cudaStream_t stream) {
    const LaunchParameters launch = local_launch(call, pdl);
    const device::Arguments arguments = local_arguments(call, launch);
    launch_kernel(choose_kernel(call, arguments.units_per_warp,
                                [](auto dtype, auto quant, auto units) -> Kernel {
                                    return &device::fused_norm_kernel<dtype.value, quant.value, units.value>;
                                }),
                  arguments, launch, stream);
}

void add_residual(const FusedAllReduce& call, bool pdl, cudaStream_t stream) {
    const LaunchParameters launch = local_launch(call, pdl);
    const device::Arguments arguments = local_arguments(call, launch);
    launch_kernel(with_constant<DType::bfloat16, DType::float16, DType::float32>(
                      call.dtype, [](auto dtype) -> Kernel { return &device::add_residual_kernel<dtype.value>; }),
                  arguments, launch, stream);
}

void rmsnorm(const FusedAllReduce& call, const void* source, void* normed, bool pdl, cudaStream_t stream) {
    FusedAllReduce norm = call;
    norm.pattern = Pattern::allreduce_rmsnorm;
    norm.quant = Quant::none;
    norm.input = source;
    norm.output = normed;
    fused_norm(norm, pdl, stream);
}

void quantize(const FusedAllReduce& call, const void* normed, bool pdl, cudaStream_t stream) {
    FusedAllReduce quantize = call;
    quantize.pattern = Pattern::allreduce_rmsnorm; // what may be quantized: the norm is done
    quantize.gamma = normed;                       // loaded, not used
    quantize.input = normed;
    const LaunchParameters launch = local_launch(quantize, pdl);
    const device::Arguments arguments = local_arguments(quantize, launch);
    launch_kernel(choose_kernel(quantize, arguments.units_per_warp,
                                [](auto dtype, auto quant, auto units) -> Kernel {
                                    return &device::quantize_kernel<dtype.value, quant.value, units.value>;
                                }),
                  arguments, launch, stream);
}

} // namespace unfused
} // namespace crossover
