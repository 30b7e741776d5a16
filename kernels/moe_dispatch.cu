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
/// Which rows a thread takes, and how they go to the peers: device/dispatch_rows.cuh.

#include "kernels/device/dispatch_rows.cuh"
#include "kernels/device/flags.cuh"
#include "kernels/moe_launch.hpp"

namespace crossover {
namespace device {

template <DType D, Quant Q, class Rows>
__global__ void __launch_bounds__(kMaxThreads) dispatch_kernel(const __grid_constant__ MoeArguments a) {
    constexpr int kDone = kFlagsBytes;
    CROSSOVER_SHARED(unsigned, generation);
    CROSSOVER_SHARED(unsigned, missing);
    CROSSOVER_SHARED(typename Rows::Shared, shared);
    const int rank = a.peers.rank, world = a.peers.world_size;
    const auto thread = static_cast<int>(threadIdx.x);
    const bool talks = thread < world && thread != rank; // to the peer of its number
    const float factor = quant_factor<Q>(a.quant_scale);
    std::byte* const local = a.peers.base[rank];
    Patience patience(a.peers, a.timeout_ns);
    const Rows rows(a, shared);
    Vector x[kBatch];
    Batch<D, Q> batch;

    if (thread == 0) missing = 0;
    const unsigned current = enter_launch(reinterpret_cast<Control*>(local), generation);

    pdl_wait();
    pdl_trigger();
    const std::size_t flags = kControlBytes + current * a.generation_bytes + blockIdx.x * 2 * kFlagsBytes;
    const auto flag_of = [&](int sender) { return flags + sender * kVectorBytes; };
    if (talks) store_flag(a.peers.base[thread] + flag_of(rank), 1); // earlier launches have ended: nothing to release
    if (rows.has(0)) {
        rows.load(0, x);
        batch.quantize(x, factor);
    }
    if (talks && !await_flag(local + flag_of(thread), 1, thread, 0, patience)) missing = 1;
    __syncthreads();

    // A peer that did not come in time may still use its output.
    const bool sends = missing == 0;
    for (unsigned step = 0; sends && rows.has(step); ++step) {
        const bool more = rows.has(step + 1);
        if (more) rows.load(step + 1, x);
        rows.store(step, batch);
        if (more) batch.quantize(x, factor);
    }
    __syncthreads();
    if (!talks) return;
    // Without this CTA's rows a peer must not end as if it had them: it gives up, and names this rank.
    if (sends) release_flag(a.peers.base[thread] + flag_of(rank) + kDone, 1);
    await_flag(local + flag_of(thread) + kDone, 1, thread, 1, patience);
    store_flag(local + flag_of(thread), kEmpty);
    store_flag(local + flag_of(thread) + kDone, kEmpty);
}

/// The instance for rows of D.
template <DType D>
MoeKernel dispatch_of(Quant quant, bool in_tiles) {
    if (quant == Quant::fp8) return &dispatch_kernel<D, Quant::fp8, RowsInTurns<D, Quant::fp8>>;
    if (in_tiles) return &dispatch_kernel<D, Quant::fp4, RowsInTiles<D>>;
    return &dispatch_kernel<D, Quant::fp4, RowsInTurns<D, Quant::fp4>>;
}

} // namespace device

void moe_dispatch(const MoeDispatch& call, const Workspace& workspace, const MoeLaunch& launch, cudaStream_t stream) {
    const device::MoeArguments arguments = moe_arguments(call, workspace, launch);
    if (sum_of(call.tokens) == 0) return;
    // Rows that are not quantized travel as they are: one instance serves every dtype.
    constexpr DType kAny = DType::bfloat16;
    MoeKernel kernel = &device::dispatch_kernel<kAny, Quant::none, device::RowsInTurns<kAny, Quant::none>>;
    if (call.quant != Quant::none)
        kernel = with_constant<DType::bfloat16, DType::float16, DType::float32>(
            call.dtype, [&](auto dtype) { return device::dispatch_of<dtype.value>(call.quant, deals_in_tiles(call)); });
    launch_kernel(kernel, arguments, launch, stream);
}

} // namespace crossover
