/// Twoshot with a sharded residual: token t belongs to rank t mod n, whatever the launch. Every rank pushes its
/// contribution to the owner, which sums it, adds the residual that it alone holds, norms, quantizes, and sends the
/// finished row to all: half of bf16's bytes with fp8, a third with fp4, and no rank norms a row twice. The bits are
/// those of oneshot and twoshot with the same residual on every rank.
///
/// A row passes three stages, push_ahead and consume_behind iterations apart: push (to its owner), serve (by the owner:
/// receive, then norm, which waits for the row's other warps), consume (by all others). A thread does push(s + ahead),
/// serve(s), consume(s − behind) at step s, and waits only for what other threads do at an earlier place in (step; push
/// < receive < norm < consume): a row's push is `ahead` steps before its serve and that `behind` steps before its
/// consume, on every rank. So no order of events can lock up, and it does not matter who owns what, nor that numbers of
/// tokens, ranks and clusters divide each other.
///
/// A cluster's tokens are an odd number of tokens apart (launch_plan.cpp), so each n consecutive ones have n owners.
/// Rings: a slot has one sending thread and one that empties it (of fp4's side words, after the others of its warp that
/// receive it, too).
/// A stage holds n consecutive rows, one of each owner: of S stages a slot for row i held row i − S·n before.
/// Pushed: a thread that pushes row i to rank r has consumed or served row i − ahead − 1 − behind and all before, so r
/// has emptied the slot before it sent that row, if S·n ≥ ahead + behind + n.
/// Gathered: an owner that sends row i has received it from everybody; who pushes row i has consumed row
/// i − ahead − 1 − behind. So S·n ≥ ahead + behind + 1.

#include "kernels/device/payload.cuh"
#include "kernels/launch.hpp"

namespace crossover {
namespace device {

template <DType D, int N, Quant Q, int K, bool OneRow>
__global__ void __launch_bounds__(sharded_threads(N, Q, K, OneRow), twoshot_ctas_per_multiprocessor(N, K, OneRow))
    twoshot_sharded_kernel(const __grid_constant__ Arguments a) {
    CROSSOVER_SHARED(RowSum::Shared, shared);
    CROSSOVER_SHARED(unsigned, generation);
    const Place place(a);
    const int rank = a.peers.rank;
    const Epilogue<D, Q, K> epilogue(a, place);
    const Payload<D, Q, K> payload(a, place);
    using Piece = typename Payload<D, Q, K>::Piece;
    constexpr int kPieces = Payload<D, Q, K>::kPieces;
    RowSum row_sum(shared, a, place);
    Control* const control = reinterpret_cast<Control*>(a.peers.base[rank]);
    Patience patience(a.peers, a.timeout_ns);
    RingPosition pushed(a.slots.push_stages, a.slots.push_stage_bytes), served = pushed;
    RingPosition gathered(a.slots.gather_stages, a.slots.gather_stage_bytes), consumed = gathered;
    PeriodicFence fence(a.slots, place.cluster);

    const Row first(a, place);
    // 32 bits are enough: N divides 2^32.
    const auto owner = [&](int iteration) {
        return static_cast<int>((static_cast<unsigned>(place.cluster) +
                                 static_cast<unsigned>(iteration) * static_cast<unsigned>(a.clusters)) %
                                N);
    };
    Vector x[K]; // of the row to be pushed next, if another rank owns it
    const auto load = [&](int iteration) {
        if (owner(iteration) == rank) return;
        const Vector* const row = static_cast<const Vector*>(a.input) + first.after(iteration).vector;
#pragma unroll
        for (int k = 0; k < K; ++k)
            if (place.has(k)) x[k] = load_tensor(row, k * kWarp);
    };
    // Offsets from a rank's base, without stage.
    const std::size_t slots =
        kControlBytes + enter_launch(control, generation) * a.slots.generation_bytes + blockIdx.x * a.slots.cta_bytes;
    const std::size_t push_slots = slots + place.local_unit * kUnitBytes + place.lane * kVectorBytes;
    const std::size_t gather_slots = slots + a.slots.gather_offset;

    pdl_wait();
    load(0);
    pdl_trigger();

    const auto push = [&](int iteration) {
        const int to = owner(iteration);
        if (to != rank) {
            std::byte* const slot =
                a.peers.base[to] + push_slots + without(to, rank) * a.slots.push_sender_bytes + pushed.offset();
#pragma unroll
            for (int k = 0; k < K; ++k)
                if (place.has(k)) store_slot(slot + k * kUnitBytes, sendable(x[k]));
        }
        if (iteration % N == N - 1) pushed.advance(); // to the next row of each owner
    };

    const auto serve = [&](int iteration) {
        const Row row = first.after(iteration);
        // The residual's rows are those that this rank owns.
        const std::int64_t compact = row.vector - std::int64_t{row.token - row.token / N} * a.vectors_per_row;
        std::byte* const stage = a.peers.base[rank] + push_slots + served.offset();
        const auto slot = [&](int other, int k) { return stage + other * a.slots.push_sender_bytes + k * kUnitBytes; };
        epilogue.begin(row_sum);
        Vector r[K];
        epilogue.template receive<N>(r, row.vector, true, compact, slot, iteration, patience);
        __syncwarp(); // 2–3 % (fp8, 16 and 64 tokens)
        epilogue.give_squares(r, row_sum);
#pragma unroll
        for (int k = 0; k < K; ++k) {
            if (!place.has(k)) continue;
            empty_slots<N - 1>([&](int other) { return slot(other, k); });
            store_tensor(a.residual_out, compact + k * kWarp, r[k]);
        }
        if (!row_sum.takes_part()) return;
        const float rstd = epilogue.rstd(row_sum);
#pragma unroll
        for (int k = 0; k < K; ++k) {
            if (k >= place.units) continue;
            const Quantized<D, Q> q = epilogue.quantized(epilogue.normed(r[k], rstd, k));
            const auto pieces = payload.pieces(q);
            if (place.has(k)) {
#pragma unroll
                for (int hop = 1; hop < N; ++hop) { // every rank begins with another one
                    std::byte* const stage = a.peers.base[(rank + hop) % N] + gather_slots +
                                             (N - 1 - hop) * a.slots.gather_owner_bytes + gathered.offset();
#pragma unroll
                    for (int piece = 0; piece < kPieces; ++piece)
                        if (payload.leads(piece)) store_slot(stage + payload.offset(k, piece), pieces.at[piece]);
                }
            }
            epilogue.write(q, row, k);
        }
    };

    const auto consume = [&](int iteration) {
        if (place.units == 0) return;
        const Row row = first.after(iteration);
        // Owners in the order of their ranks after this one; of two ranks, only one owner is another.
        const int place_of_owner = N == 2 ? 0 : (owner(iteration) - rank + N - 1) % N;
        std::byte* const stage =
            a.peers.base[rank] + gather_slots + place_of_owner * a.slots.gather_owner_bytes + consumed.offset();
        Piece received[K * kPieces];
        // Slots are of whole units, so a lane beyond the row's end looks at some that stay empty.
        receive<K * kPieces>(
            received, [&](int i) { return stage + payload.offset(min(i / kPieces, place.units - 1), i % kPieces); },
            [&](int i) { return place.has(i / kPieces); }, [&](int) { return owner(iteration); }, iteration, patience);
        // All have seen what one of them empties; and the warp goes on as one: 2–7 % (none, 4–64 MiB, 2 ranks).
        __syncwarp();
#pragma unroll
        for (int k = 0; k < K; ++k) {
            if (!place.has(k)) continue;
#pragma unroll
            for (int piece = 0; piece < kPieces; ++piece)
                if (payload.leads(piece)) store_slot(stage + payload.offset(k, piece), empty<Piece>());
            epilogue.write(payload.quantized(received + k * kPieces), row, k);
        }
    };

    if constexpr (OneRow) {
        push(0);
        __syncwarp();
        owner(0) == rank ? serve(0) : consume(0);
    } else {
        for (int step = -a.push_ahead; step < place.iterations + a.consume_behind; ++step) {
            const int next = step + a.push_ahead, last = step - a.consume_behind;
            if (step < place.iterations) fence.before_row(); // also after the last push: rows are still gathered
            if (next < place.iterations) push(next);
            if (next + 1 < place.iterations) load(next + 1);
            if (step >= 0 && step < place.iterations) {
                if (owner(step) == rank) serve(step);
                if (step % N == N - 1) {
                    served.advance();
                    gathered.advance();
                }
            }
            if (last >= 0) {
                const bool received = owner(last) != rank;
                if (received) consume(last);
                // Of two ranks, a stage has one row to consume; not to count rows was 1–2 % faster (fp8, fp4; 2 and 4
                // MiB).
                if (N == 2 ? received : last % N == N - 1) consumed.advance();
            }
        }
    }
}

} // namespace device

void twoshot_sharded(const FusedAllReduce& call, const Workspace& workspace, const LaunchParameters& launch,
                     cudaStream_t stream) {
    launch_fused(Fused::twoshot, call, workspace, launch, stream,
                 [](auto... constants) { return &device::twoshot_sharded_kernel<constants.value...>; });
}

} // namespace crossover
