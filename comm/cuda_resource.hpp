#pragma once
/// Owners of CUDA objects: move-only, freed on unwind, too. All act on the device that was current at construction.

#include "comm/cuda_check.hpp"

#include <cstddef>
#include <span>
#include <utility>

namespace crossover {

/// A handle that `Destroy` frees.
template <class Handle, auto Destroy>
class CudaHandle {
  public:
    CudaHandle() = default;
    explicit CudaHandle(Handle handle) noexcept : handle_(handle) {}
    CudaHandle(CudaHandle&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    CudaHandle& operator=(CudaHandle&& other) noexcept {
        std::swap(handle_, other.handle_);
        return *this;
    }
    ~CudaHandle() {
        if (handle_) CROSSOVER_CUDA_WARN(Destroy(handle_));
    }
    Handle get() const noexcept { return handle_; }
    explicit operator bool() const noexcept { return handle_ != nullptr; }

  protected:
    Handle handle_ = nullptr;
};

/// A non-blocking stream: it does not wait for the legacy default stream.
class Stream : public CudaHandle<cudaStream_t, cudaStreamDestroy> {
  public:
    Stream() { CROSSOVER_CUDA_CHECK(cudaStreamCreateWithFlags(&handle_, cudaStreamNonBlocking)); }
    void synchronize() const { CROSSOVER_CUDA_CHECK(cudaStreamSynchronize(handle_)); }
};

/// A timing event.
class Event : public CudaHandle<cudaEvent_t, cudaEventDestroy> {
  public:
    Event() { CROSSOVER_CUDA_CHECK(cudaEventCreate(&handle_)); }
    void record(cudaStream_t stream) const { CROSSOVER_CUDA_CHECK(cudaEventRecord(handle_, stream)); }
    void synchronize() const { CROSSOVER_CUDA_CHECK(cudaEventSynchronize(handle_)); }
};

/// Microseconds between two recorded events; waits for neither. @throws CudaError if one is not complete.
inline double elapsed_us(const Event& begin, const Event& end) {
    float milliseconds = 0;
    CROSSOVER_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, begin.get(), end.get()));
    return 1e3 * milliseconds;
}

/// `size()` values of T allocated and freed by the two functions; uninitialised.
template <class T, auto Allocate, auto Free>
class CudaBuffer {
  public:
    CudaBuffer() = default;
    explicit CudaBuffer(std::size_t size) : size_(size) {
        if (size > 0) CROSSOVER_CUDA_CHECK(Allocate(reinterpret_cast<void**>(&data_), size * sizeof(T)));
    }
    CudaBuffer(CudaBuffer&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    CudaBuffer& operator=(CudaBuffer&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        return *this;
    }
    ~CudaBuffer() {
        if (data_) CROSSOVER_CUDA_WARN(Free(data_));
    }
    T* data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }
    std::size_t bytes() const noexcept { return size_ * sizeof(T); }

  private:
    T* data_ = nullptr;
    std::size_t size_ = 0;
};

namespace detail {
// Overloads of the CUDA headers cannot be template arguments; these can.
inline cudaError_t allocate_device(void** data, std::size_t bytes) { return cudaMalloc(data, bytes); }
inline cudaError_t allocate_pinned(void** data, std::size_t bytes) { return cudaMallocHost(data, bytes); }
inline cudaError_t free_pinned(void* data) { return cudaFreeHost(data); }
inline cudaError_t free_device(void* data) { return cudaFree(data); }
} // namespace detail

template <class T>
using DeviceBuffer = CudaBuffer<T, detail::allocate_device, detail::free_device>;
/// Page-locked host memory.
template <class T>
using PinnedBuffer = CudaBuffer<T, detail::allocate_pinned, detail::free_pinned>;

/// Makes a device current, and the former one again at the end of the scope.
class DeviceGuard {
  public:
    explicit DeviceGuard(int device) {
        CROSSOVER_CUDA_CHECK(cudaGetDevice(&former_));
        CROSSOVER_CUDA_CHECK(cudaSetDevice(device));
    }
    DeviceGuard(const DeviceGuard&) = delete;
    DeviceGuard& operator=(const DeviceGuard&) = delete;
    ~DeviceGuard() { CROSSOVER_CUDA_WARN(cudaSetDevice(former_)); }

  private:
    int former_ = 0;
};

using Graph = CudaHandle<cudaGraph_t, cudaGraphDestroy>;

/// An instantiated graph.
class GraphExec : public CudaHandle<cudaGraphExec_t, cudaGraphExecDestroy> {
  public:
    GraphExec() = default;
    explicit GraphExec(const Graph& graph) { CROSSOVER_CUDA_CHECK(cudaGraphInstantiate(&handle_, graph.get(), 0)); }
    /// Uploads it ahead of the first launch, so that this costs no more than the others.
    void upload(cudaStream_t stream) const { CROSSOVER_CUDA_CHECK(cudaGraphUpload(handle_, stream)); }
    void launch(cudaStream_t stream) const { CROSSOVER_CUDA_CHECK(cudaGraphLaunch(handle_, stream)); }
};

/// What `enqueue()` puts into `stream`, as a graph. If it throws, the capture is ended and the exception goes on.
/// Thread-local capture mode: NCCL's own threads may allocate meanwhile.
template <class Enqueue>
Graph capture(cudaStream_t stream, Enqueue&& enqueue) {
    CROSSOVER_CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    cudaGraph_t graph = nullptr;
    try {
        std::forward<Enqueue>(enqueue)();
    } catch (...) {
        cudaStreamEndCapture(stream, &graph); // an invalidated capture reports its own error here; ours is the cause
        const Graph discarded(graph);
        cudaGetLastError();
        throw;
    }
    CROSSOVER_CUDA_CHECK(cudaStreamEndCapture(stream, &graph));
    return Graph(graph);
}

} // namespace crossover
