// An engine's kernel for Crossover: a plain two-stage all-reduce that pulls. Each rank copies its input to where the
// others can read it, sums its own part of all inputs, and fetches the parts that the others have summed.
//
//     crossover tune --candidate libpull_twoshot.so
//
// It needs nothing of Crossover but the header. Memory of the ranks is mapped by cudaIpc, whose handles go through
// Crossover's all_gather; every wait on the device ends.
#include "kernels/crossover_candidate.h"

#include <cuda/atomic>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

constexpr int kMaxRanks = 8;
constexpr int kBlocks = 32; // of every launch: a block waits for the one of its number on the other ranks
constexpr int kThreads = 512;
constexpr int kVector = 16; // bytes that a thread moves at once
constexpr std::uint64_t kControlBytes = 8192;

/// At the start of each rank's memory.
struct Control {
    unsigned arrived[2][kBlocks][kMaxRanks]; // epoch in which that rank came to the first, second barrier
    unsigned epoch[kBlocks];                 // of the last call; in memory, as graphs replay the same arguments
    unsigned timed_out;
};
static_assert(sizeof(Control) <= kControlBytes);

/// What the kernel knows of the ranks: each one's control, copy of its input, and the part that it has summed.
struct Ranks {
    int rank, world_size;
    std::uint64_t timeout_ns;
    Control* control[kMaxRanks];
    uint4* input[kMaxRanks];
    uint4* sum[kMaxRanks];
};

__device__ std::uint64_t nanoseconds() {
    std::uint64_t now;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
    return now;
}

/// Returns when this block's twins on all ranks have come here and their writes can be read, or after the time-out.
__device__ void barrier(const Ranks& ranks, int which, unsigned epoch) {
    using Flag = cuda::atomic_ref<unsigned, cuda::thread_scope_system>;
    __syncthreads();
    const int peer = static_cast<int>(threadIdx.x);
    if (peer < ranks.world_size) {
        Flag(ranks.control[peer]->arrived[which][blockIdx.x][ranks.rank]).store(epoch, cuda::std::memory_order_release);
        const Flag mine(ranks.control[ranks.rank]->arrived[which][blockIdx.x][peer]);
        const std::uint64_t start = nanoseconds();
        while (static_cast<int>(mine.load(cuda::std::memory_order_acquire) - epoch) < 0)
            if (nanoseconds() - start > ranks.timeout_ns) {
                ranks.control[ranks.rank]->timed_out = 1;
                break;
            }
    }
    __syncthreads();
}

__device__ float to_float(float x) { return x; }
__device__ float to_float(__half x) { return __half2float(x); }
__device__ float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ void from_float(float x, float& to) { to = x; }
__device__ void from_float(float x, __half& to) { to = __float2half_rn(x); }
__device__ void from_float(float x, __nv_bfloat16& to) { to = __float2bfloat16_rn(x); }

template <class T>
union Vector {
    uint4 bits;
    T elements[kVector / sizeof(T)];
    __device__ Vector() : bits() {}
};

template <class T>
__global__ void __launch_bounds__(kThreads)
    all_reduce(const __grid_constant__ Ranks ranks, const uint4* input, uint4* output, std::int64_t vectors) {
    const int rank = ranks.rank, world_size = ranks.world_size;
    const std::int64_t part = (vectors + world_size - 1) / world_size; // rank r sums vectors r × part …
    const unsigned epoch = ranks.control[rank]->epoch[blockIdx.x] + 1;
    // The same thread of the same block on every rank has vector i of a part, so that blocks wait for their twins only.
    const auto for_part = [&](int of_rank, auto&& body) {
        for (std::int64_t i = blockIdx.x * kThreads + threadIdx.x; i < part; i += kBlocks * kThreads)
            if (of_rank * part + i < vectors) body(of_rank * part + i, i);
    };

    for (int r = 0; r < world_size; ++r)
        for_part(r, [&](std::int64_t at, std::int64_t) { ranks.input[rank][at] = input[at]; });
    barrier(ranks, 0, epoch);
    for_part(rank, [&](std::int64_t at, std::int64_t in_part) {
        float sum[kVector / sizeof(T)] = {};
        for (int r = 0; r < world_size; ++r) { // in rank order: the same sum wherever it is made
            Vector<T> theirs;
            theirs.bits = ranks.input[r][at];
#pragma unroll
            for (int e = 0; e < kVector / static_cast<int>(sizeof(T)); ++e) sum[e] += to_float(theirs.elements[e]);
#ifdef WRONG_NUMBERS
            if (r == 0) sum[0] += 1; // a variant for the tests
#endif
        }
        Vector<T> rounded;
#pragma unroll
        for (int e = 0; e < kVector / static_cast<int>(sizeof(T)); ++e) from_float(sum[e], rounded.elements[e]);
        ranks.sum[rank][in_part] = rounded.bits;
    });
    barrier(ranks, 1, epoch);
    for (int step = 0; step < world_size; ++step) { // not all from the same rank at once
        const int r = (rank + step) % world_size;
        for_part(r, [&](std::int64_t at, std::int64_t in_part) { output[at] = ranks.sum[r][in_part]; });
    }
    // The next call may overwrite all of this: the inputs, because every rank has come to the second barrier of this
    // one; the sums, because it does so after its own first barrier, to which ranks come when their last call is over.
    // Epochs stay equal on all ranks even after a time-out.
    if (threadIdx.x == 0) ranks.control[rank]->epoch[blockIdx.x] = epoch;
}

// ---- the host's side ----

thread_local char error_text[200] = "";

int fail(const char* what, cudaError_t code) {
    std::snprintf(error_text, sizeof error_text, "%s: %s", what, cudaGetErrorString(code));
    return 1;
}

struct State {
    crossover_candidate_group group;
    void* memory[kMaxRanks] = {}; // own, and mapped
    Ranks ranks{};
};

std::uint64_t rounded_up(std::uint64_t bytes) { return (bytes + 255) / 256 * 256; }
std::uint64_t part_bytes(int world_size, std::uint64_t bytes) {
    return rounded_up(bytes / static_cast<std::uint64_t>(world_size) + kVector);
}

std::uint64_t workspace_bytes(std::int32_t world_size, std::uint64_t max_message_bytes) {
    return kControlBytes + rounded_up(max_message_bytes) + part_bytes(world_size, max_message_bytes);
}

const char* unsupported(const crossover_candidate_group* group, const crossover_candidate_call* call) {
    if (call->pattern != CROSSOVER_CANDIDATE_ALLREDUCE) return "it is an all-reduce alone";
    if (call->dtype < CROSSOVER_CANDIDATE_BFLOAT16 || call->dtype > CROSSOVER_CANDIDATE_FLOAT32) return "unknown dtype";
    if (call->quant != CROSSOVER_CANDIDATE_QUANT_NONE) return "it does not quantize";
    if (group->world_size > kMaxRanks) return "more than 8 ranks";
    const std::int64_t element = call->dtype == CROSSOVER_CANDIDATE_FLOAT32 ? 4 : 2;
    if (call->num_tokens * call->hidden_dim * element % kVector != 0) return "not a multiple of 16 bytes";
    return nullptr;
}

void release(State* state) {
    const crossover_candidate_group& group = state->group;
    for (int r = 0; r < group.world_size; ++r)
        if (r != group.rank && state->memory[r]) cudaIpcCloseMemHandle(state->memory[r]);
    // Memory that another process has open must not be freed: this exchange is a barrier.
    char none = 0, all[kMaxRanks];
    group.all_gather(group.context, &none, 1, all);
    cudaFree(state->memory[group.rank]);
    delete state;
}

std::int32_t create(const crossover_candidate_group* group, void** out) {
    auto* const state = new State{.group = *group};
    const std::uint64_t bytes = workspace_bytes(group->world_size, group->max_message_bytes);
    struct Offer {
        cudaIpcMemHandle_t handle;
        cudaError_t code;
    } mine{}, all[kMaxRanks];
    // All ranks come to the exchange, whatever happened before: else the others would wait.
    mine.code = cudaSetDevice(group->device); // it is current, but this library may have a CUDA runtime of its own
    if (mine.code == cudaSuccess) mine.code = cudaMalloc(&state->memory[group->rank], bytes);
    if (mine.code == cudaSuccess) mine.code = cudaMemset(state->memory[group->rank], 0, bytes);
    if (mine.code == cudaSuccess) mine.code = cudaIpcGetMemHandle(&mine.handle, state->memory[group->rank]);
    if (mine.code == cudaSuccess) mine.code = cudaDeviceSynchronize();
    cudaError_t code = cudaSuccess;
    if (group->all_gather(group->context, &mine, sizeof mine, all) != 0) return fail("exchange", cudaErrorUnknown);
    for (int r = 0; r < group->world_size && code == cudaSuccess; ++r) {
        code = all[r].code;
        if (code == cudaSuccess && r != group->rank)
            code = cudaIpcOpenMemHandle(&state->memory[r], all[r].handle, cudaIpcMemLazyEnablePeerAccess);
    }
    if (code != cudaSuccess) {
        cudaGetLastError(); // or the next call of anybody would find it
        release(state);
        return fail("sharing memory", code);
    }
    state->ranks.rank = group->rank;
    state->ranks.world_size = group->world_size;
    state->ranks.timeout_ns = group->timeout_ns;
    for (int r = 0; r < group->world_size; ++r) {
        char* const base = static_cast<char*>(state->memory[r]);
        state->ranks.control[r] = reinterpret_cast<Control*>(base);
        state->ranks.input[r] = reinterpret_cast<uint4*>(base + kControlBytes);
        state->ranks.sum[r] = reinterpret_cast<uint4*>(base + kControlBytes + rounded_up(group->max_message_bytes));
    }
    *out = state;
    return 0;
}

template <class T>
int launch(const State& state, const crossover_candidate_call& call, cudaStream_t stream) {
    const std::int64_t vectors = call.num_tokens * call.hidden_dim * static_cast<std::int64_t>(sizeof(T)) / kVector;
    all_reduce<T><<<kBlocks, kThreads, 0, stream>>>(state.ranks, static_cast<const uint4*>(call.input),
                                                    static_cast<uint4*>(call.output), vectors);
    const cudaError_t code = cudaGetLastError();
    return code == cudaSuccess ? 0 : fail("launch", code);
}

std::int32_t enqueue(void* state, const crossover_candidate_call* call, crossover_candidate_stream stream) {
#ifdef CRASH_AT_TOKENS
    if (call->num_tokens == CRASH_AT_TOKENS) std::abort(); // a variant for the tests
#endif
    const State& mine = *static_cast<const State*>(state);
    if (call->dtype == CROSSOVER_CANDIDATE_BFLOAT16) return launch<__nv_bfloat16>(mine, *call, stream);
    if (call->dtype == CROSSOVER_CANDIDATE_FLOAT16) return launch<__half>(mine, *call, stream);
    return launch<float>(mine, *call, stream);
}

std::int32_t check(void* state, crossover_candidate_stream stream) {
    const State& mine = *static_cast<const State*>(state);
    unsigned* const flag = &mine.ranks.control[mine.group.rank]->timed_out;
    unsigned timed_out = 0;
    cudaError_t code = cudaMemcpyAsync(&timed_out, flag, sizeof timed_out, cudaMemcpyDeviceToHost, stream);
    if (code == cudaSuccess) code = cudaMemsetAsync(flag, 0, sizeof timed_out, stream);
    if (code == cudaSuccess) code = cudaStreamSynchronize(stream);
    if (code != cudaSuccess) return fail("reading the time-out", code);
    if (timed_out == 0) return 0;
    std::snprintf(error_text, sizeof error_text, "rank %d waited for another in vain", mine.group.rank);
    return 1;
}

void destroy(void* state) { release(static_cast<State*>(state)); }
const char* last_error() { return error_text; }

#ifndef NAME
#define NAME "pull_twoshot"
#endif

const crossover_candidate pull_twoshot = {.struct_size = sizeof(crossover_candidate),
                                          .major = CROSSOVER_CANDIDATE_MAJOR,
                                          .minor = CROSSOVER_CANDIDATE_MINOR,
                                          .name = NAME,
                                          .version = "1.0",
                                          .role = CROSSOVER_CANDIDATE_TWOSHOT,
                                          .workspace_bytes = workspace_bytes,
                                          .unsupported = unsupported,
                                          .create = create,
                                          .enqueue = enqueue,
                                          .check = check,
                                          .destroy = destroy,
                                          .last_error = last_error};

} // namespace

extern "C" const crossover_candidate* crossover_candidate_get(std::uint32_t index) {
#ifdef CRASH_IN_RANKS
    if (std::getenv("LOCAL_RANK")) std::abort(); // a variant for the tests
#endif
    return index == 0 ? &pull_twoshot : nullptr;
}
