/// Gathered fp4 scales from the linear layout, in which ranks' rows lie one after the other, to the swizzled one.

#include "kernels/device/quantize.cuh"
#include "kernels/moe_launch.hpp"

#include <algorithm>
#include <stdexcept>

namespace crossover {
namespace device {

/// A scale a thread; rows of first[1] scales and vectors_per_row blocks each.
__global__ void __launch_bounds__(kMaxThreads) swizzle_kernel(const __grid_constant__ MoeArguments a) {
    pdl_wait();
    pdl_trigger();
    const auto* const linear = static_cast<const unsigned char*>(a.input);
    auto* const swizzled = static_cast<unsigned char*>(a.output_scales[0]);
    const auto blocks = static_cast<int>(a.vectors_per_row);
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < a.first[1]; i += gridDim.x * blockDim.x) {
        const unsigned row = i / a.vectors_per_row;
        swizzled[scale_offset(row, static_cast<int>(i - row * a.vectors_per_row), blocks, true)] = linear[i];
    }
}

} // namespace device

namespace unfused {

void swizzle_scales(const void* linear, void* swizzled, std::int64_t rows, std::int64_t blocks_per_row, bool pdl,
                    cudaStream_t stream) {
    if (rows <= 0) return;
    if (rows * blocks_per_row > 1 << 30) throw std::invalid_argument("swizzle_scales: more than 2^30 scales");
    device::MoeArguments a{};
    a.input = linear;
    a.output_scales[0] = swizzled;
    a.first[1] = static_cast<unsigned>(rows * blocks_per_row);
    a.vectors_per_row = static_cast<unsigned>(blocks_per_row);
    const std::int64_t ctas = (rows * blocks_per_row + 255) / 256;
    launch_kernel(&device::swizzle_kernel, a,
                  MoeLaunch{.ctas = static_cast<int>(std::min<std::int64_t>(ctas, 1024)), .threads = 256, .pdl = pdl},
                  stream);
}

} // namespace unfused
} // namespace crossover
