/// Oneshot: every rank sends its whole input to every other rank and finishes every token itself. One hop.
///
/// A row is pushed `push_ahead` iterations before it is summed. When a thread sends row i it has summed row
/// i − ahead − 1, so its peers had pushed that, so they had emptied row i − 2·ahead − 2: the slots of a CTA are a ring
/// of that many rows at least.

#include "kernels/device/epilogue.cuh"
#include "kernels/launch.hpp"

namespace crossover {
namespace device {

template <DType D, int N, Quant Q, int K, bool OneRow>
__global__ void __launch_bounds__(kMaxThreads, oneshot_ctas_per_multiprocessor(N, K, OneRow))
    oneshot_kernel(const __grid_constant__ Arguments a) {
    CROSSOVER_SHARED(RowSum::Shared, shared);
    CROSSOVER_SHARED(unsigned, generation);
    const Place place(a);
    const int rank = a.peers.rank;
    Epilogue<D, Q, K> epilogue(a, place);
    RowSum row_sum(shared, a, place);
    Control* const control = reinterpret_cast<Control*>(a.peers.base[rank]);
    Patience patience(a.peers, a.timeout_ns);
    RingPosition pushed(a.slots.push_stages, a.slots.push_stage_bytes), consumed = pushed;
    PeriodicFence fence(a.slots, place.cluster);

    Row row(a, place);                                                      // to be summed next
    const Vector* ahead = static_cast<const Vector*>(a.input) + row.vector; // in the one to be loaded next
    keep(ahead);
    Vector x[K]; // of the row to be pushed next
    const auto load = [&] {
#pragma unroll
        for (int k = 0; k < K; ++k)
            if (place.has(k)) x[k] = load_tensor(ahead, k * kWarp);
        ahead += row.stride;
    };
    // This thread's slots: offset from a rank's base, without stage and sender.
    const std::size_t slots = kControlBytes + enter_launch(control, generation) * a.slots.generation_bytes +
                              blockIdx.x * a.slots.cta_bytes + place.local_unit * kUnitBytes +
                              place.lane * kVectorBytes;
    std::byte* const source = held(a.peers.base[rank] + slots);
    std::byte* destination[N - 1]; // every rank begins with another one
#pragma unroll
    for (int hop = 1; hop < N; ++hop) {
        const int peer = (rank + hop) % N;
        destination[hop - 1] = a.peers.base[peer] + slots + without(peer, rank) * a.slots.push_sender_bytes;
        keep(destination[hop - 1]);
    }

    pdl_wait();
    load();
    pdl_trigger();

    const auto push = [&] {
#pragma unroll
        for (int k = 0; k < K; ++k) {
            if (!place.has(k)) continue;
            const Vector v = sendable(x[k]);
#pragma unroll
            for (int hop = 0; hop < N - 1; ++hop) store_slot(destination[hop] + pushed.offset() + k * kUnitBytes, v);
        }
        pushed.advance();
    };

    const auto consume = [&](int iteration) {
        std::byte* const stage = source + consumed.offset();
        const auto slot = [&](int other, int k) { return stage + other * a.slots.push_sender_bytes + k * kUnitBytes; };
        consumed.advance();
        epilogue.begin(row_sum);
        Vector r[K];
        epilogue.template receive<N>(r, row.vector, epilogue.has_residual(), row.vector, slot, iteration, patience);
        epilogue.finish(r, row, row_sum, [&] {
#pragma unroll
            for (int k = 0; k < K; ++k)
                if (place.has(k)) empty_slots<N - 1>([&](int other) { return slot(other, k); });
        });
        row.advance();
    };

    if constexpr (OneRow) { // as in the loop, without what leads to the next row: 3–4 % (4 ranks, up to 256 KiB)
        push();
        __syncwarp();
        consume(0);
    } else {
        for (int step = -a.push_ahead; step < place.iterations; ++step) {
            const int next = step + a.push_ahead;
            epilogue.keep_together(step == -a.push_ahead);
            if (next < place.iterations) {
                fence.before_row();
                push();
            }
            if (next + 1 < place.iterations) load();
            if (step >= 0) consume(step);
        }
    }
}

} // namespace device

void oneshot(const FusedAllReduce& call, const Workspace& workspace, const LaunchParameters& launch,
             cudaStream_t stream) {
    launch_fused(Fused::oneshot, call, workspace, launch, stream,
                 [](auto... constants) { return &device::oneshot_kernel<constants.value...>; });
}

} // namespace crossover
