/// Twoshot: every unit (512 bytes) of a row has an owner, which sums it and sends the sum to every rank; each rank then
/// norms the gathered row. Two hops, 2·(n−1)/n of the message on the link, and every rank has the same work at any
/// number of tokens.
///
/// A row passes three stages, push_ahead and consume_behind iterations apart: push (send others' units to their
/// owners), serve (sum the units owned here, send them to all), consume (norm). Every wait is for something strictly
/// earlier in (iteration; push < serve < consume), so no order of events can lock up. The owner of a unit is the same
/// for all tokens of a cluster, so a slot has one sending and one receiving thread for the whole launch. Rings: a
/// thread that sends row i has consumed row i − ahead − 1 − behind, so that row's owner had served it, and emptied what
/// was pushed for the row before (it sends first); an owner that sends gathered row i has served it, so everybody had
/// pushed row i and consumed row i − ahead − 1 − behind. Either ring needs ahead + behind + 2 rows at least.
///
/// Large messages are bound by the link, which plain 16-byte stores fill as well as TMA bulk copies: 361 GB/s into one
/// peer (2 H200s, 132 CTAs; 32 of them 351), 351 to 357 into three. Rotating the destinations by warp gained nothing.

#include "kernels/device/epilogue.cuh"
#include "kernels/launch.hpp"

namespace crossover {
namespace device {

template <DType D, int N, Quant Q, int K, bool OneRow>
__global__ void __launch_bounds__(kMaxThreads, twoshot_ctas_per_multiprocessor(N, K, OneRow))
    twoshot_kernel(const __grid_constant__ Arguments a) {
    CROSSOVER_SHARED(RowSum::Shared, shared);
    CROSSOVER_SHARED(unsigned, generation);
    const Place place(a);
    const int rank = a.peers.rank;
    Epilogue<D, Q, K> epilogue(a, place);
    RowSum row_sum(shared, a, place);
    Control* const control = reinterpret_cast<Control*>(a.peers.base[rank]);
    Patience patience(a.peers, a.timeout_ns);
    RingPosition pushed(a.slots.push_stages, a.slots.push_stage_bytes), served = pushed;
    RingPosition gathered(a.slots.gather_stages, a.slots.gather_stage_bytes), consumed = gathered;
    PeriodicFence fence(a.slots, place.cluster);
    const auto owner = [&](int k) { return (place.first_unit + k + place.cluster) % N; };
    unsigned owned = 0, others_own = 0; // a bit for each k
#pragma unroll
    for (int k = 0; k < K; ++k)
        if (k < place.units) (owner(k) == rank ? owned : others_own) |= 1u << k;
    owned = held(owned);
    others_own = held(others_own);
    const auto has = [](unsigned set, int k) { return (set >> k & 1) != 0; };

    Row row(a, place), row_served = row;                                    // to be normed, and to be summed next
    const Vector* ahead = static_cast<const Vector*>(a.input) + row.vector; // in the one to be loaded next
    keep(ahead);
    Vector x[K]; // of the row to be pushed next, where others own it
    const auto load = [&] {
#pragma unroll
        for (int k = 0; k < K; ++k)
            if (has(others_own, k) && place.has(k)) x[k] = load_tensor(ahead, k * kWarp);
        ahead += row.stride;
    };
    // Offsets from a rank's base, without stage. N consecutive units have N owners: at each they share one pushed slot.
    const std::size_t slots = kControlBytes + enter_launch(control, generation) * a.slots.generation_bytes +
                              blockIdx.x * a.slots.cta_bytes + place.lane * kVectorBytes;
    const auto push_slot = [&](int sender, int k) {
        return slots + sender * a.slots.push_sender_bytes + (place.local_unit + k) / N * kUnitBytes;
    };
    const std::size_t gather_slots = slots + a.slots.gather_offset + place.local_unit * kUnitBytes;
    std::byte* owners_slot[K];
    std::byte* own_slot[K]; // without the sender
#pragma unroll
    for (int k = 0; k < K; ++k) {
        owners_slot[k] = a.peers.base[owner(k)] + push_slot(without(owner(k), rank), k);
        keep(owners_slot[k]);
        own_slot[k] = held(a.peers.base[rank] + push_slot(0, k));
    }
    std::byte* gather_at[N]; // every rank begins with another one, and ends with itself
#pragma unroll
    for (int hop = 0; hop < N; ++hop) {
        gather_at[hop] = a.peers.base[(rank + hop + 1) % N] + gather_slots;
        keep(gather_at[hop]);
    }

    pdl_wait();
    load();
    pdl_trigger();

    const auto push = [&] {
#pragma unroll
        for (int k = 0; k < K; ++k)
            if (has(others_own, k) && place.has(k)) store_slot(owners_slot[k] + pushed.offset(), sendable(x[k]));
        pushed.advance();
    };

    const auto serve = [&](int iteration) {
#pragma unroll
        for (int k = 0; k < K; ++k) {
            if (!has(owned, k)) continue; // the same in all lanes
            Vector r{};
            std::byte* const stage = own_slot[k] + served.offset();
            const auto slot = [&](int other) { return stage + other * a.slots.push_sender_bytes; };
            if (place.has(k)) {
                Vector residual{};
                if (epilogue.has_residual()) residual = load_tensor(a.residual_in, row_served.vector + k * kWarp);
                const Vector* const own = static_cast<const Vector*>(a.input) + row_served.vector + k * kWarp;
                const auto sum = receive_sum<D, N>(own, slot, rank, iteration, patience);
                r = reduced<D>(sum, epilogue.has_residual(), residual);
            }
            __syncwarp();
            if (!place.has(k)) continue;
#pragma unroll
            for (int hop = 0; hop < N; ++hop) store_slot(gather_at[hop] + gathered.offset() + k * kUnitBytes, r);
            empty_slots<N - 1>(slot);
        }
        served.advance();
        gathered.advance();
        row_served.advance();
    };

    const auto consume = [&](int iteration) {
        // Slots are whole units, so a lane beyond the row's end looks at one that stays empty.
        std::byte* const stage = gather_at[N - 1] + consumed.offset();
        const auto slot = [&](int k) { return stage + min(k, place.units - 1) * kUnitBytes; };
        consumed.advance();
        epilogue.begin(row_sum);
        Vector r[K];
        if (place.units > 0)
            receive<K>(
                r, slot, [&](int k) { return place.has(k); }, owner, iteration, patience);
#pragma unroll
        for (int k = 0; k < K; ++k)
            if (!place.has(k)) r[k] = Vector{};
        epilogue.finish(r, row, row_sum, [&] {
#pragma unroll
            for (int k = 0; k < K; ++k)
                if (place.has(k)) store_slot(slot(k), empty());
        });
        row.advance();
    };

    if constexpr (OneRow) { // as in the loop; without __syncwarp() here warps fall apart: 1–4 % (4 ranks)
        push();
        __syncwarp();
        serve(0);
        __syncwarp();
        consume(0);
    } else {
        for (int step = -a.push_ahead; step < place.iterations + a.consume_behind; ++step) {
            const int next = step + a.push_ahead;
            epilogue.keep_together(step == -a.push_ahead);
            if (step < place.iterations) fence.before_row(); // also after the last push: rows are still gathered
            if (next < place.iterations) push();
            if (next + 1 < place.iterations) load();
            if (step >= 0 && step < place.iterations) serve(step);
            if (step >= a.consume_behind) consume(step - a.consume_behind);
        }
    }
}

} // namespace device

void twoshot(const FusedAllReduce& call, const Workspace& workspace, const LaunchParameters& launch,
             cudaStream_t stream) {
    if (is_sharded(call.pattern)) return twoshot_sharded(call, workspace, launch, stream);
    launch_fused(Fused::twoshot, call, workspace, launch, stream,
                 [](auto... constants) { return &device::twoshot_kernel<constants.value...>; });
}

} // namespace crossover
