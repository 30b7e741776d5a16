#include "comm/symmetric_buffer.hpp"

#include "comm/peer_memory.hpp"
#include "comm/topology.hpp"
#include "tuner/error.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <exception>
#include <random>

namespace crossover {
namespace {

constexpr std::size_t kGranule = NCCL_WIN_REQUIRED_ALIGNMENT; // of windows; 4096

/// The problem that all ranks act on: this rank's, or that another has one; empty if none has.
std::string agree(Communicator& communicator, std::string problem) {
    if (communicator.any(!problem.empty()) && problem.empty()) problem = "not possible on another rank";
    return problem;
}

std::string problem_of(const char* call, cudaError_t code) {
    if (code == cudaSuccess) return {};
    cudaGetLastError();
    return std::string(call) + ": " + cudaGetErrorString(code);
}

std::string problem_of(const char* call, ncclResult_t code) {
    return code == ncclSuccess ? std::string() : std::string(call) + ": " + ncclGetErrorString(code);
}

template <class T>
std::vector<T> all_gather(Communicator& communicator, const T& mine) {
    const std::vector<std::byte> bytes = communicator.all_gather_bytes(std::as_bytes(std::span(&mine, 1)));
    std::vector<T> all(bytes.size() / sizeof(T));
    std::memcpy(all.data(), bytes.data(), bytes.size());
    return all;
}

} // namespace

/// A buffer in the making, or made. map_*() and verify() are collective and return the problem, the same kind of answer
/// (some or none) on all ranks.
struct SymmetricBuffer::Mapping {
    Communicator& communicator;
    SymmetricKind kind;
    std::size_t bytes;
    void* local = nullptr;
    ncclWindow_t window = nullptr;
    Peers peers;
    std::string fallback_reason;

    Mapping(Communicator& communicator, std::size_t bytes, SymmetricKind kind)
        : communicator(communicator), kind(kind), bytes(bytes) {
        peers.rank = communicator.rank();
        peers.world_size = communicator.size();
    }
    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;
    ~Mapping() { kind == SymmetricKind::nccl_window ? release_window() : release_ipc(); }

    std::string map() { return kind == SymmetricKind::nccl_window ? map_window() : map_ipc(); }
    std::string map_window();
    std::string map_ipc();
    std::string verify();
    void release_window() noexcept;
    void release_ipc() noexcept;
};

std::string SymmetricBuffer::Mapping::map_window() {
    // Registration waits for all ranks, so all must come to it, or none.
    std::string problem = agree(communicator, problem_of("ncclMemAlloc", ncclMemAlloc(&local, bytes)));
    if (!problem.empty()) return problem;

    struct Registration {
        ncclResult_t code = ncclSuccess;
        ncclWindow_t window = nullptr; // NCCL leaves it alone where it does nothing
    };
    const auto registration = std::make_shared<Registration>();
    run_bounded("ncclCommWindowRegister", communicator.timeout(), communicator.device(),
                [registration, comm = communicator.nccl(), local = local, bytes = bytes] {
                    registration->code =
                        ncclCommWindowRegister(comm, local, bytes, &registration->window, NCCL_WIN_COLL_SYMMETRIC);
                });
    window = registration->window;

    // Success means little: without support for symmetric memory NCCL returns it together with a null window, or with a
    // handle in host memory, which a kernel must not follow.
    problem = problem_of("ncclCommWindowRegister", registration->code);
    if (problem.empty() && !window) problem = "ncclCommWindowRegister gave no window";
    if (problem.empty()) {
        cudaPointerAttributes attributes{};
        problem = problem_of("cudaPointerGetAttributes", cudaPointerGetAttributes(&attributes, window));
        if (problem.empty() && attributes.type != cudaMemoryTypeDevice)
            problem = "ncclCommWindowRegister gave no device window: symmetric memory is not supported here";
    }
    if (const auto by = windows_turned_off_by(read_environment()); by && !problem.empty())
        problem = *by + " turns them off; unset it";
    if (problem.empty())
        if (const int team = peer_memory::lsa_team_size(communicator.nccl()); team != peers.world_size)
            problem = "only " + std::to_string(team) + " of " + std::to_string(peers.world_size) +
                      " ranks can address each other's memory";
    problem = agree(communicator, std::move(problem));
    if (!problem.empty()) return problem;

    const DeviceBuffer<void*> pointers(kMaxWorldSize);
    std::array<void*, kMaxWorldSize> resolved{};
    peer_memory::resolve_window(window, peers.world_size, pointers.data(), communicator.stream());
    CROSSOVER_CUDA_CHECK(cudaMemcpyAsync(resolved.data(), pointers.data(), pointers.bytes(), cudaMemcpyDeviceToHost,
                                         communicator.stream()));
    communicator.wait(communicator.stream(), "resolving peer pointers");
    for (int rank = 0; rank < peers.world_size; ++rank) peers.base[rank] = static_cast<std::byte*>(resolved[rank]);
    // The window maps the local memory a second time. Kernels are to use one address for it: accesses to one memory
    // through two addresses of a process are not ordered within a kernel.
    peers.base[peers.rank] = static_cast<std::byte*>(local);
    return {};
}

void SymmetricBuffer::Mapping::release_window() noexcept {
    // Local operations: the memory itself lives until the last rank has unmapped it.
    if (window && communicator.nccl()) CROSSOVER_NCCL_WARN(ncclCommWindowDeregister(communicator.nccl(), window));
    if (local) CROSSOVER_NCCL_WARN(ncclMemFree(local));
}

std::string SymmetricBuffer::Mapping::map_ipc() {
    if (count_nodes(communicator) > 1) return "cudaIpc: the ranks are on several hosts";
    std::string problem = problem_of("cudaMalloc", cudaMalloc(&local, bytes));
    cudaIpcMemHandle_t mine{};
    if (problem.empty()) problem = problem_of("cudaIpcGetMemHandle", cudaIpcGetMemHandle(&mine, local));
    problem = agree(communicator, std::move(problem));
    if (!problem.empty()) return problem;

    const std::vector<cudaIpcMemHandle_t> handles = all_gather(communicator, mine);
    for (int rank = 0; rank < peers.world_size && problem.empty(); ++rank) {
        void* mapped = local; // a process cannot open its own handle
        if (rank != peers.rank)
            problem = problem_of(
                "cudaIpcOpenMemHandle",
                cudaIpcOpenMemHandle(&mapped, handles[static_cast<std::size_t>(rank)], cudaIpcMemLazyEnablePeerAccess));
        if (problem.empty()) peers.base[rank] = static_cast<std::byte*>(mapped);
    }
    return agree(communicator, std::move(problem));
}

void SymmetricBuffer::Mapping::release_ipc() noexcept {
    for (int rank = 0; rank < peers.world_size; ++rank)
        if (rank != peers.rank && peers.base[rank]) CROSSOVER_CUDA_WARN(cudaIpcCloseMemHandle(peers.base[rank]));
    // CUDA leaves it undefined to free memory that another process has open. While an exception is on its way the other
    // ranks may not come, and this process is about to end.
    try {
        if (std::uncaught_exceptions() == 0 && communicator.nccl()) communicator.barrier();
    } catch (const std::exception& error) {
        std::fprintf(stderr, "crossover: warning: freeing shared memory: %s\n", error.what());
    }
    if (local) CROSSOVER_CUDA_WARN(cudaFree(local));
}

/// Every rank writes a value of its own through every pointer, to the first and the last bytes; then each rank looks
/// for them in its own memory, and reads its own back from the others.
std::string SymmetricBuffer::Mapping::verify() {
    const cudaStream_t stream = communicator.stream();
    CROSSOVER_CUDA_CHECK(cudaMemsetAsync(local, 0, bytes, stream));
    communicator.wait(stream, "clearing symmetric memory");

    std::random_device random;
    const std::uint64_t nonce = (std::uint64_t{random()} << 32 | random()) | 1; // never the 0 that is there
    const std::vector<std::uint64_t> nonces = all_gather(communicator, nonce);  // all have cleared, too
    constexpr std::size_t kSlots = sizeof(std::uint64_t) * kMaxWorldSize;
    const std::array offsets{std::size_t{0}, bytes - kSlots};
    for (const std::size_t offset : offsets) peer_memory::write_nonce(peers, offset, nonce, stream);
    communicator.wait(stream, "writing to peers");
    communicator.barrier();

    const auto world_size = static_cast<std::size_t>(peers.world_size);
    const DeviceBuffer<std::uint64_t> read_back(kMaxWorldSize);
    std::vector<std::uint64_t> written(world_size), seen(world_size);
    std::string problem;
    for (const std::size_t offset : offsets) {
        const auto copy = [&](std::vector<std::uint64_t>& to, const void* from) {
            CROSSOVER_CUDA_CHECK(cudaMemcpyAsync(to.data(), from, world_size * 8, cudaMemcpyDeviceToHost, stream));
        };
        peer_memory::read_nonces(peers, offset, read_back.data(), stream);
        copy(seen, read_back.data());
        copy(written, static_cast<std::byte*>(local) + offset);
        communicator.wait(stream, "reading from peers");
        for (std::size_t rank = 0; rank < world_size; ++rank)
            if (written[rank] != nonces[rank] || seen[rank] != nonce)
                problem = "the pointer to rank " + std::to_string(rank) + "'s memory does not lead there";
    }
    problem = agree(communicator, std::move(problem)); // all have read
    for (const std::size_t offset : offsets)
        CROSSOVER_CUDA_CHECK(cudaMemsetAsync(static_cast<std::byte*>(local) + offset, 0, kSlots, stream));
    communicator.wait(stream, "clearing symmetric memory");
    communicator.barrier();
    return problem;
}

std::string_view to_string(SymmetricKind kind) {
    return kind == SymmetricKind::nccl_window ? "nccl_window" : "cuda_ipc";
}

SymmetricBuffer::SymmetricBuffer(Communicator& communicator, std::size_t bytes, SymmetricKind preferred) {
    if (communicator.size() > kMaxWorldSize)
        throw InputError("environment",
                         "symmetric memory for " + std::to_string(communicator.size()) +
                             " ranks was asked for; at most " + std::to_string(kMaxWorldSize) + " are supported",
                         "use smaller world sizes");
    bytes = (std::max<std::size_t>(bytes, 1) + kGranule - 1) / kGranule * kGranule;
    for (const std::size_t theirs : all_gather(communicator, bytes))
        if (theirs != bytes)
            throw InputError("environment",
                             "symmetric memory of " + std::to_string(bytes) + " bytes was asked for, and of " +
                                 std::to_string(theirs) + " on another rank",
                             "ask for the same on every rank");

    const bool window_first = preferred == SymmetricKind::nccl_window;
    const SymmetricKind other = window_first ? SymmetricKind::cuda_ipc : SymmetricKind::nccl_window;
    std::string reasons;
    for (const SymmetricKind kind : {preferred, other}) {
        mapping_ = std::make_unique<Mapping>(communicator, bytes, kind);
        std::string problem = mapping_->map();
        if (problem.empty()) problem = mapping_->verify();
        if (problem.empty()) {
            mapping_->fallback_reason = reasons;
            return;
        }
        mapping_.reset();
        reasons += (reasons.empty() ? "" : "; ") + std::string(to_string(kind)) + ": " + problem;
    }
    throw std::runtime_error("no memory that all ranks can address: " + reasons);
}

SymmetricBuffer::SymmetricBuffer(SymmetricBuffer&& other) noexcept = default;
SymmetricBuffer& SymmetricBuffer::operator=(SymmetricBuffer&& other) noexcept = default;
SymmetricBuffer::~SymmetricBuffer() = default;

const Peers& SymmetricBuffer::peers() const noexcept { return mapping_->peers; }
void* SymmetricBuffer::local() const noexcept { return mapping_->local; }
std::size_t SymmetricBuffer::bytes() const noexcept { return mapping_->bytes; }
SymmetricKind SymmetricBuffer::kind() const noexcept { return mapping_->kind; }
ncclWindow_t SymmetricBuffer::window() const noexcept { return mapping_->window; }
const std::string& SymmetricBuffer::fallback_reason() const noexcept { return mapping_->fallback_reason; }

} // namespace crossover
