/// Dispatch: every rank quantizes its own rows and stores them straight into every rank's output, at its offset.
///
/// A peer's output may still be read by what ran before this launch in the peer's stream. So each CTA begins by telling
/// its namesakes that it has passed the PDL wait, which is when all earlier launches of its stream have ended, and
/// stores nothing into a peer's output before it has heard the same from there. Its first rows are loaded and quantized
/// meanwhile. When a CTA has stored all of its rows it releases a second flag to each namesake; a CTA ends when it has
/// acquired that of every peer. The flags go over the system's scope and each follows a barrier of the CTA, so when the
/// launch has ended all rows are there, and visible to whatever comes after it in the stream.
///
/// Nobody can lock up: a rank says `begun` without waiting for anybody; `done` waits for others' `begun` only; the end
/// waits for others' `done`. (A time-out's iteration tells which: 0 or 1.) A launch ends on no rank before all have
/// begun it, as the generations of slots (device/protocol.cuh) ask for.
///
/// The rows of a rank are one sequence of vectors, dealt to the threads of the grid in turns: balanced at any number of
/// rows. Swizzled scales go to a peer in pieces of 4 bytes, a fourth of what linear ones have in one place.

#include "kernels/device/flags.cuh"
#include "kernels/device/quantize.cuh"
#include "kernels/moe_launch.hpp"

namespace crossover {
namespace device {

template <DType D, Quant Q>
__global__ void __launch_bounds__(kMaxThreads) dispatch_kernel(const __grid_constant__ MoeArguments a) {
    constexpr int kBatch = 4; // vectors a thread has in flight
    constexpr unsigned kDone = kFlagsBytes;
    CROSSOVER_SHARED(unsigned, generation);
    CROSSOVER_SHARED(unsigned, missing);
    const int rank = a.peers.rank, world = a.peers.world_size;
    const auto thread = static_cast<int>(threadIdx.x);
    const bool talks = thread < world && thread != rank; // to the peer of its number
    const unsigned first = a.first[rank], end = a.first[rank + 1];
    const unsigned stride = gridDim.x * blockDim.x, begin = first + blockIdx.x * blockDim.x + threadIdx.x;
    const float factor = quant_factor<Q>(a.quant_scale);
    std::byte* const local = a.peers.base[rank];
    Patience patience(a.peers, a.timeout_ns);

    // Vectors `from`, from + stride, … of all ranks' rows, and what is sent of them.
    struct {
        Codes<D, Q> codes[kBatch];
        unsigned char block_scale[kBatch];
    } sent;
    Vector x[kBatch];
    const auto load = [&](unsigned from) {
#pragma unroll
        for (unsigned k = 0; k < kBatch; ++k)
            x[k] = from + k * stride < end ? load_tensor(a.input, from + k * stride - first) : Vector{};
    };
    const auto quantize = [&] {
#pragma unroll
        for (int k = 0; k < kBatch; ++k) {
            if constexpr (Q == Quant::none) {
                sent.codes[k] = x[k];
            } else {
                const Quantized<D, Q> q = quantized<D, Q>(unpack<D>(x[k]), factor);
                sent.codes[k] = q.codes;
                sent.block_scale[k] = q.block_scale;
            }
        }
    };
    const auto store = [&](unsigned from) {
        std::int64_t scale_at[kBatch];
        if constexpr (Q == Quant::fp4) {
            const auto blocks = static_cast<int>(a.vectors_per_row) / kLanesPerBlock<D>;
#pragma unroll
            for (unsigned k = 0; k < kBatch; ++k) {
                const unsigned vector = from + k * stride, row = vector / a.vectors_per_row;
                const auto block = static_cast<int>(vector - row * a.vectors_per_row) / kLanesPerBlock<D>;
                scale_at[k] = scale_offset(row, block, blocks, a.swizzled_scales);
            }
        }
        for (int hop = 1; hop <= world; ++hop) { // every rank begins with another one, and ends with itself
            const int to = rank + hop < world ? rank + hop : rank + hop - world;
            auto* const codes = static_cast<Codes<D, Q>*>(a.output[to]);
            auto* const scales = static_cast<unsigned char*>(a.output_scales[to]);
#pragma unroll
            for (unsigned k = 0; k < kBatch; ++k) {
                const unsigned vector = from + k * stride;
                if (vector >= end) continue;
                const bool has_scale = Q == Quant::fp4 && vector % kLanesPerBlock<D> == 0;
                if (to == rank) {
                    codes[vector] = sent.codes[k];
                    if (has_scale) scales[scale_at[k]] = sent.block_scale[k];
                } else {
                    store_to_peer(codes + vector, sent.codes[k]);
                    if (has_scale) store_to_peer(scales + scale_at[k], sent.block_scale[k]);
                }
            }
        }
    };

    if (thread == 0) missing = 0;
    const unsigned current = enter_launch(reinterpret_cast<Control*>(local), generation);

    pdl_wait();
    pdl_trigger();
    const std::size_t flags = kControlBytes + current * a.generation_bytes + blockIdx.x * 2 * kFlagsBytes;
    const auto flag_of = [&](int sender) { return flags + sender * kVectorBytes; };
    if (talks) store_flag(a.peers.base[thread] + flag_of(rank), 1); // earlier launches have ended: nothing to release
    load(begin);
    quantize();
    if (talks && !await_flag(local + flag_of(thread), 1, thread, 0, patience)) missing = 1;
    __syncthreads();

    // A peer that did not come in time may still use its output.
    const unsigned last = missing ? first : end;
    for (unsigned from = begin; from - threadIdx.x < last; from += kBatch * stride) {
        const unsigned next = from + kBatch * stride;
        if (next - threadIdx.x < last) load(next);
        store(from);
        if (next - threadIdx.x < last) quantize();
    }
    __syncthreads();
    if (!talks) return;
    // Without this CTA's rows a peer must not end as if it had them: it gives up, and names this rank.
    if (!missing) release_flag(a.peers.base[thread] + flag_of(rank) + kDone, 1);
    await_flag(local + flag_of(thread) + kDone, 1, thread, 1, patience);
    store_flag(local + flag_of(thread), kEmpty);
    store_flag(local + flag_of(thread) + kDone, kEmpty);
}

} // namespace device

void moe_dispatch(const MoeDispatch& call, const Workspace& workspace, const MoeLaunch& launch, cudaStream_t stream) {
    const device::MoeArguments arguments = moe_arguments(call, workspace, launch);
    if (sum_of(call.tokens) == 0) return;
    const MoeKernel kernel =
        with_constant<Quant::none, Quant::fp8, Quant::fp4>(call.quant, [&](auto quant) -> MoeKernel {
            // Rows that are not quantized travel as they are: one instance serves every dtype.
            if constexpr (quant.value == Quant::none) return &device::dispatch_kernel<DType::bfloat16, quant.value>;
            return with_constant<DType::bfloat16, DType::float16, DType::float32>(
                call.dtype,
                [&](auto dtype) -> MoeKernel { return &device::dispatch_kernel<dtype.value, quant.value>; });
        });
    launch_kernel(kernel, arguments, launch, stream);
}

} // namespace crossover
