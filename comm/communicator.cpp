#include "comm/communicator.hpp"

#include "tuner/error.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <future>
#include <thread>

#include <dlfcn.h>

namespace crossover {
namespace {

using Clock = std::chrono::steady_clock;

std::string version_text(int code) { // NCCL_VERSION of 2.9 and later
    return std::to_string(code / 10000) + "." + std::to_string(code / 100 % 100) + "." + std::to_string(code % 100);
}

int loaded_version() {
    int version = 0;
    CROSSOVER_NCCL_CHECK(ncclGetVersion(&version));
    return version;
}

TimeoutError timed_out(const char* what, std::chrono::milliseconds timeout) {
    return TimeoutError(std::string(what) + ": other ranks did not follow within " + std::to_string(timeout.count()) +
                        " ms");
}

} // namespace

void check_nccl_version() {
    const int loaded = loaded_version();
    if (loaded == NCCL_VERSION_CODE) return;
    Dl_info library{};
    const bool found = dladdr(reinterpret_cast<void*>(&ncclGetVersion), &library) != 0 && library.dli_fname;
    throw InputError("environment",
                     "built for NCCL " + version_text(NCCL_VERSION_CODE) + " but libnccl " + version_text(loaded) +
                         " is loaded" + (found ? " (" + std::string(library.dli_fname) + ")" : ""),
                     "put the matching library first in LD_LIBRARY_PATH, or build against this one");
}

std::string nccl_version() { return version_text(loaded_version()); }

int device_for(const RankEnvironment& self) {
    int count = 0;
    CROSSOVER_CUDA_CHECK(cudaGetDeviceCount(&count));
    if (self.local_rank < count) return self.local_rank;
    if (count == 1) return 0; // the launcher bound each rank to its GPU; if it did not, NCCL reports the duplicate
    throw InputError("environment",
                     "local rank " + std::to_string(self.local_rank) + " has no GPU: this process sees " +
                         std::to_string(count),
                     "start at most one rank a GPU, and see CUDA_VISIBLE_DEVICES");
}

void run_bounded(const char* what, std::chrono::milliseconds timeout, int device, std::function<void()> call) {
    std::promise<void> promise;
    std::future<void> done = promise.get_future();
    std::thread worker([promise = std::move(promise), device, call = std::move(call)]() mutable {
        try {
            CROSSOVER_CUDA_CHECK(cudaSetDevice(device)); // the current device is a thread's
            call();
            promise.set_value();
        } catch (...) {
            promise.set_exception(std::current_exception());
        }
    });
    if (done.wait_for(timeout) == std::future_status::timeout) {
        worker.detach();
        throw timed_out(what, timeout);
    }
    worker.join();
    done.get();
}

void Communicator::Destroy::operator()(ncclComm_t comm) const noexcept {
    // ncclCommDestroy may wait for peers, and while an exception is on its way they may not come.
    if (std::uncaught_exceptions() > 0)
        CROSSOVER_NCCL_WARN(ncclCommAbort(comm));
    else
        CROSSOVER_NCCL_WARN(ncclCommDestroy(comm));
}

Communicator::Communicator(CommHandle comm, int device, std::chrono::milliseconds timeout)
    : comm_(std::move(comm)), device_(device), timeout_(timeout) {
    CROSSOVER_NCCL_CHECK(ncclCommUserRank(comm_.get(), &rank_));
    CROSSOVER_NCCL_CHECK(ncclCommCount(comm_.get(), &size_));
}

Communicator Communicator::connect(const RankEnvironment& self, std::chrono::milliseconds timeout) {
    check_nccl_version();
    const int device = device_for(self);
    CROSSOVER_CUDA_CHECK(cudaSetDevice(device));
    CROSSOVER_CUDA_CHECK(cudaFree(nullptr)); // makes the context, so that its errors come from here

    // With NCCL_COMM_ID set, ncclGetUniqueId gives the same id to every rank that calls it, and rank 0 listens at that
    // address when it initialises its communicator; the others try again for up to a minute. NCCL uses the interface
    // that is in the address's subnet.
    const bool ipv6 = self.address.find(':') != std::string::npos && self.address.front() != '[';
    const std::string place = (ipv6 ? "[" + self.address + "]" : self.address) + ":" + std::to_string(self.port);
    setenv("NCCL_COMM_ID", place.c_str(), 1);
    // supervise_ranks() has set this already. Here again for processes that were started otherwise: multicast objects
    // are a resource of the whole NVLink domain, which Crossover does not touch unless told to.
    setenv("NCCL_NVLS_ENABLE", "0", 0);

    const auto comm = std::make_shared<ncclComm_t>(nullptr);
    // A blocking communicator, as engines use: a non-blocking one enqueues each collective from a thread of its own.
    run_bounded(("connecting " + std::to_string(self.world_size) + " ranks at " + place).c_str(), timeout, device,
                [comm, rank = self.rank, size = self.world_size] {
                    ncclUniqueId id;
                    CROSSOVER_NCCL_CHECK(ncclGetUniqueId(&id));
                    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
                    config.blocking = 1;
                    CROSSOVER_NCCL_CHECK(ncclCommInitRankConfig(comm.get(), size, id, rank, &config));
                });
    return Communicator(CommHandle(*comm), device, timeout);
}

Communicator::CommHandle Communicator::split_off(ncclComm_t whole, int color, int key, int device,
                                                 std::chrono::milliseconds timeout) {
    const auto part = std::make_shared<ncclComm_t>(nullptr);
    run_bounded("ncclCommSplit", timeout, device, [part, whole, color, key] {
        const int nccl_color = color < 0 ? NCCL_SPLIT_NOCOLOR : color;
        CROSSOVER_NCCL_CHECK(ncclCommSplit(whole, nccl_color, key, part.get(), nullptr));
    });
    return CommHandle(*part);
}

Communicator Communicator::duplicate(ncclComm_t comm, std::chrono::milliseconds timeout) {
    check_nccl_version();
    int device = 0, rank = 0;
    CROSSOVER_CUDA_CHECK(cudaGetDevice(&device));
    CROSSOVER_NCCL_CHECK(ncclCommUserRank(comm, &rank));
    return Communicator(split_off(comm, 0, rank, device, timeout), device, timeout);
}

std::optional<Communicator> Communicator::split(int color, int key) {
    CommHandle part = split_off(nccl(), color, key, device_, timeout_);
    if (!part) return std::nullopt;
    return Communicator(std::move(part), device_, timeout_);
}

void Communicator::abort() noexcept {
    ncclComm_t comm = comm_.release();
    if (!comm) return;
    try {
        run_bounded("ncclCommAbort", std::chrono::seconds(10), device_,
                    [comm] { CROSSOVER_NCCL_CHECK(ncclCommAbort(comm)); });
    } catch (const std::exception& error) {
        std::fprintf(stderr, "crossover: warning: %s\n", error.what());
    }
}

void Communicator::wait(cudaStream_t stream, const char* what) {
    const Clock::time_point start = Clock::now();
    for (int polls = 0;; ++polls) {
        const cudaError_t state = cudaStreamQuery(stream);
        if (state == cudaSuccess) return;
        if (state != cudaErrorNotReady) throw CudaError(state, what, __FILE__, __LINE__);
        ncclResult_t asynchronous = ncclSuccess;
        CROSSOVER_NCCL_CHECK(ncclCommGetAsyncError(nccl(), &asynchronous));
        if (asynchronous != ncclSuccess && asynchronous != ncclInProgress) {
            abort();
            throw NcclError(asynchronous, what, __FILE__, __LINE__);
        }
        if (Clock::now() - start >= timeout_) {
            abort();
            throw timed_out(what, timeout_);
        }
        // Short waits end while polling; long ones should leave the core to NCCL's proxy threads.
        if (polls < 2000)
            std::this_thread::yield();
        else
            std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
}

void Communicator::reserve_staging(std::size_t bytes) {
    if (staging_.bytes() >= bytes) return;
    bytes = std::max(bytes, 2 * staging_.bytes());
    pinned_ = PinnedBuffer<std::byte>(bytes);
    staging_ = DeviceBuffer<std::byte>(bytes);
}

void Communicator::max_all_reduce(std::span<double> values) {
    if (values.empty()) return;
    reserve_staging(values.size_bytes());
    std::memcpy(pinned_.data(), values.data(), values.size_bytes());
    CROSSOVER_CUDA_CHECK(
        cudaMemcpyAsync(staging_.data(), pinned_.data(), values.size_bytes(), cudaMemcpyHostToDevice, stream()));
    CROSSOVER_NCCL_CHECK(
        ncclAllReduce(staging_.data(), staging_.data(), values.size(), ncclFloat64, ncclMax, nccl(), stream()));
    CROSSOVER_CUDA_CHECK(
        cudaMemcpyAsync(pinned_.data(), staging_.data(), values.size_bytes(), cudaMemcpyDeviceToHost, stream()));
    wait(stream(), "max_all_reduce");
    std::memcpy(values.data(), pinned_.data(), values.size_bytes());
}

std::vector<std::byte> Communicator::all_gather_bytes(std::span<const std::byte> mine) {
    std::vector<std::byte> all(mine.size() * static_cast<std::size_t>(size_));
    if (mine.empty()) return all;
    reserve_staging(all.size());
    std::byte* const place = staging_.data() + mine.size() * static_cast<std::size_t>(rank_);
    std::memcpy(pinned_.data(), mine.data(), mine.size());
    CROSSOVER_CUDA_CHECK(cudaMemcpyAsync(place, pinned_.data(), mine.size(), cudaMemcpyHostToDevice, stream()));
    CROSSOVER_NCCL_CHECK(ncclAllGather(place, staging_.data(), mine.size(), ncclUint8, nccl(), stream()));
    CROSSOVER_CUDA_CHECK(
        cudaMemcpyAsync(pinned_.data(), staging_.data(), all.size(), cudaMemcpyDeviceToHost, stream()));
    wait(stream(), "all_gather_bytes");
    std::memcpy(all.data(), pinned_.data(), all.size());
    return all;
}

void Communicator::broadcast_bytes(std::span<std::byte> bytes, int root) {
    if (bytes.empty()) return;
    reserve_staging(bytes.size());
    std::memcpy(pinned_.data(), bytes.data(), bytes.size());
    CROSSOVER_CUDA_CHECK(
        cudaMemcpyAsync(staging_.data(), pinned_.data(), bytes.size(), cudaMemcpyHostToDevice, stream()));
    CROSSOVER_NCCL_CHECK(
        ncclBroadcast(staging_.data(), staging_.data(), bytes.size(), ncclUint8, root, nccl(), stream()));
    CROSSOVER_CUDA_CHECK(
        cudaMemcpyAsync(pinned_.data(), staging_.data(), bytes.size(), cudaMemcpyDeviceToHost, stream()));
    wait(stream(), "broadcast_bytes");
    std::memcpy(bytes.data(), pinned_.data(), bytes.size());
}

void Communicator::barrier() { any(false); }

bool Communicator::any(bool mine) {
    std::array<double, 1> flag{mine ? 1.0 : 0.0};
    max_all_reduce(flag);
    return flag[0] != 0;
}

} // namespace crossover
