#include "tests/measure/fake_nccl.hpp"

#include "kernels/number_formats.hpp"
#include "tests/measure/streams.hpp"

#include <cuda_runtime_api.h>

#include <cstring>
#include <stdexcept>

namespace crossover::testing {

struct Collective {
    std::string name; // and all that ranks must agree on
    std::shared_ptr<Together> together;
    std::vector<Buffers> ranks;
};

namespace {

FakeNccl* world = nullptr;

std::size_t size_of(ncclDataType_t type) { return type == ncclUint8 ? 1 : type == ncclFloat32 ? 4 : 2; }

/// sums[i] = Σ of all ranks' i-th element, i from `first`.
std::vector<std::byte> reduced(const std::vector<Buffers>& ranks, std::size_t first, std::size_t count,
                               ncclDataType_t type) {
    const NumberFormat format = type == ncclBfloat16 ? kBFloat16 : type == ncclFloat16 ? kFloat16 : kFloat32;
    const std::size_t size = size_of(type);
    std::vector<std::byte> sums(count * size);
    for (std::size_t i = 0; i < count; ++i) {
        double sum = 0;
        for (const Buffers& rank : ranks) {
            std::uint32_t code = 0;
            std::memcpy(&code, static_cast<const std::byte*>(rank.send) + (first + i) * size, size);
            sum = rounded(format, sum + decode(format, code));
        }
        const std::uint32_t code = encode(format, sum);
        std::memcpy(sums.data() + i * size, &code, size);
    }
    return sums;
}

void perform(const std::string& name, std::size_t count, ncclDataType_t type, int root, std::vector<Buffers>& ranks) {
    const std::size_t bytes = count * size_of(type);
    const auto at = [](void* base, std::size_t offset) { return static_cast<std::byte*>(base) + offset; };
    if (name == "ncclBroadcast") {
        const void* const from = ranks[static_cast<std::size_t>(root)].send;
        for (const Buffers& rank : ranks) std::memmove(rank.receive, from, bytes);
    } else if (name == "ncclAllGather") {
        for (std::size_t sender = 0; sender < ranks.size(); ++sender)
            for (const Buffers& rank : ranks) std::memmove(at(rank.receive, sender * bytes), ranks[sender].send, bytes);
    } else if (name == "ncclReduceScatter") {
        std::vector<std::vector<std::byte>> parts;
        for (std::size_t rank = 0; rank < ranks.size(); ++rank)
            parts.push_back(reduced(ranks, rank * count, count, type));
        for (std::size_t rank = 0; rank < ranks.size(); ++rank)
            std::memcpy(ranks[rank].receive, parts[rank].data(), bytes);
    } else {
        const std::vector<std::byte> sums = reduced(ranks, 0, count, type);
        for (std::size_t rank = 0; rank < ranks.size(); ++rank)
            if (name == "ncclAllReduce" || static_cast<int>(rank) == root)
                std::memcpy(ranks[rank].receive, sums.data(), bytes);
    }
}

} // namespace

FakeNccl::FakeNccl(int world_size) : world_size_(world_size), calls_(static_cast<std::size_t>(world_size)) {
    world = this;
}
FakeNccl::~FakeNccl() { world = nullptr; }

ncclResult_t FakeNccl::call(const std::string& name, std::size_t count, ncclDataType_t type, int root, Buffers buffers,
                            ncclComm_t comm, cudaStream_t stream) {
    const auto rank = static_cast<std::size_t>(reinterpret_cast<std::uintptr_t>(comm) - 1);
    const std::size_t index = calls_[rank]++;
    const std::string agreed = name + " of " + std::to_string(count) + " of type " + std::to_string(type) + ", root " +
                               std::to_string(root) + ", group depth " + std::to_string(depth_);
    if (index == collectives_.size()) {
        const auto collective = std::make_shared<Collective>();
        collective->name = agreed;
        collective->ranks.resize(static_cast<std::size_t>(world_size_));
        collective->together = std::make_shared<Together>();
        collective->together->expected = world_size_;
        collective->together->work = [=, ranks = &collective->ranks] { perform(name, count, type, root, *ranks); };
        collectives_.push_back(collective);
    }
    const std::shared_ptr<Collective> collective = collectives_.at(index);
    if (collective->name != agreed) throw std::logic_error(agreed + ", where another rank calls " + collective->name);
    collective->ranks[rank] = buffers;
    enqueue_together(stream, collective->together);
    return ncclSuccess;
}

} // namespace crossover::testing

using crossover::testing::world;

extern "C" {

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
    crossover::testing::enqueue_work(stream, [=] { std::memcpy(to, from, bytes); });
    return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream) {
    crossover::testing::enqueue_work(stream, [=] { std::memset(to, value, bytes); });
    return cudaSuccess;
}
const char* cudaGetErrorString(cudaError_t) { return "no error"; }
const char* cudaGetErrorName(cudaError_t) { return "cudaSuccess"; }
cudaError_t cudaGetLastError() { return cudaSuccess; }

const char* ncclGetErrorString(ncclResult_t) { return "no error"; }
const char* ncclGetLastError(ncclComm_t) { return ""; }
ncclResult_t ncclGroupStart() { return world->begin_group(), ncclSuccess; }
ncclResult_t ncclGroupEnd() { return world->end_group(), ncclSuccess; }
ncclResult_t ncclAllReduce(const void* send, void* receive, std::size_t count, ncclDataType_t type, ncclRedOp_t,
                           ncclComm_t comm, cudaStream_t stream) {
    return world->call("ncclAllReduce", count, type, -1, {send, receive}, comm, stream);
}
ncclResult_t ncclReduce(const void* send, void* receive, std::size_t count, ncclDataType_t type, ncclRedOp_t, int root,
                        ncclComm_t comm, cudaStream_t stream) {
    return world->call("ncclReduce", count, type, root, {send, receive}, comm, stream);
}
ncclResult_t ncclBroadcast(const void* send, void* receive, std::size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream) {
    return world->call("ncclBroadcast", count, type, root, {send, receive}, comm, stream);
}
ncclResult_t ncclAllGather(const void* send, void* receive, std::size_t count, ncclDataType_t type, ncclComm_t comm,
                           cudaStream_t stream) {
    return world->call("ncclAllGather", count, type, -1, {send, receive}, comm, stream);
}
ncclResult_t ncclReduceScatter(const void* send, void* receive, std::size_t count, ncclDataType_t type, ncclRedOp_t,
                               ncclComm_t comm, cudaStream_t stream) {
    return world->call("ncclReduceScatter", count, type, -1, {send, receive}, comm, stream);
}
}
