#pragma once
/// CUDA calls that fail throw, with the call's text and place.

#include <cuda_runtime_api.h>

#include <cstdio>
#include <stdexcept>
#include <string>

namespace crossover {

/// A CUDA call failed. what(): "cudaMalloc(&p, n): out of memory (cudaErrorMemoryAllocation) at file.cpp:12"
class CudaError : public std::runtime_error {
  public:
    CudaError(cudaError_t code, const char* call, const char* file, int line)
        : std::runtime_error(std::string(call) + ": " + cudaGetErrorString(code) + " (" + cudaGetErrorName(code) +
                             ") at " + file + ":" + std::to_string(line)),
          code_(code) {}
    cudaError_t code() const noexcept { return code_; }

  private:
    cudaError_t code_;
};

namespace detail {
inline void check(cudaError_t code, const char* call, const char* file, int line) {
    if (code == cudaSuccess) return;
    cudaGetLastError(); // or the next, innocent launch check would report it again
    throw CudaError(code, call, file, line);
}
inline void warn(cudaError_t code, const char* call, const char* file, int line) noexcept {
    if (code == cudaSuccess || code == cudaErrorCudartUnloading) return;
    std::fprintf(stderr, "crossover: warning: %s: %s (%s) at %s:%d\n", call, cudaGetErrorString(code),
                 cudaGetErrorName(code), file, line);
}
} // namespace detail

} // namespace crossover

/// @throws CudaError
#define CROSSOVER_CUDA_CHECK(call) ::crossover::detail::check((call), #call, __FILE__, __LINE__)
/// For destructors: a failure is a line on stderr.
#define CROSSOVER_CUDA_WARN(call) ::crossover::detail::warn((call), #call, __FILE__, __LINE__)
