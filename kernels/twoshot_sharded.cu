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
/// Rings: a slot has one sending and one receiving thread for each row.
/// Pushed, a stage for each row that this rank owns, every n-th: a thread that pushes row i to rank r has consumed or
/// served row i − ahead − 1 − behind and all before. With S stages the slot held row i − S·n, which r has emptied
/// before it sent that row, if S·n ≥ ahead + behind + n.
/// Gathered, a stage for each row: an owner that sends row i has received it from everybody; who pushes row i has
/// consumed row i − ahead − 1 − behind. So ahead + behind + 1 stages at least.

#include "kernels/device/payload.cuh"
#include "kernels/launch.hpp"

namespace crossover {
namespace device {

template <DType D, int N, Quant Q, int K>
__global__ void __launch_bounds__(kMaxThreads) twoshot_sharded_kernel(const __grid_constant__ Arguments a) {
    CROSSOVER_SHARED(RowSum::Shared, shared);
    CROSSOVER_SHARED(unsigned, generation);
    const Place place(a);
    const int rank = a.peers.rank;
    const Epilogue<D, Q, K> epilogue(a, place);
    const Payload<D, Q, K> payload(a, place);
    RowSum row_sum(shared, a, place);
    std::byte* const local = a.peers.base[rank];
    Control* const control = reinterpret_cast<Control*>(local);
    Patience patience(a.peers, a.timeout_ns);
    RingPosition pushed(a.slots.push_stages, a.slots.push_stage_bytes), served = pushed;
    RingPosition gathered(a.slots.gather_stages, a.slots.gather_stage_bytes), consumed = gathered;
    PeriodicFence fence(a.slots.fence_rows);
    const auto owner = [&](int iteration) { return static_cast<int>(place.token(a, iteration) % N); };

    Vector x[K]; // of the row to be pushed next, if another rank owns it
    const auto load = [&](int iteration) {
        if (owner(iteration) == rank) return;
#pragma unroll
        for (int k = 0; k < K; ++k)
            if (place.has(k)) x[k] = load_tensor(a.input, place.vector(a, place.token(a, iteration), k));
    };
    // Offsets from a rank's base, without stage.
    const std::size_t slots =
        kControlBytes + enter_launch(control, generation) * a.slots.generation_bytes + blockIdx.x * a.slots.cta_bytes;
    const std::size_t push_slots = slots + place.local_unit * kUnitBytes + place.lane * kVectorBytes;
    // A lane beyond the payload looks at its last slot, and leaves it as it is.
    const std::size_t gather_slots = slots + a.slots.gather_offset + place.local_unit * payload.kBytes +
                                     min(place.lane, payload.kVectors - 1) * kVectorBytes;

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
        const std::int64_t token = place.token(a, iteration);
        epilogue.begin(row_sum);
        Vector r[K];
#pragma unroll
        for (int k = 0; k < K; ++k) {
            r[k] = Vector{};
            if (!place.has(k)) continue;
            const Vector* const own = static_cast<const Vector*>(a.input) + place.vector(a, token, k);
            const Vector residual = load_tensor(a.residual_in, place.vector(a, token / N, k));
            std::byte* const stage = local + push_slots + served.offset() + k * kUnitBytes;
            const auto slot = [&](int other) { return stage + other * a.slots.push_sender_bytes; };
            r[k] = reduced<D>(receive_sum<D, N>(own, slot, rank, iteration, patience), true, residual);
            empty_slots<N - 1>(slot);
        }
        epilogue.give_squares(r, row_sum);
#pragma unroll
        for (int k = 0; k < K; ++k)
            if (place.has(k)) store_tensor(a.residual_out, place.vector(a, token / N, k), r[k]);
        if (!row_sum.takes_part()) return;
        const float rstd = epilogue.rstd(row_sum);
#pragma unroll
        for (int k = 0; k < K; ++k) {
            if (k >= place.units) continue;
            const Vector v = payload.of(epilogue, epilogue.normed(r[k], rstd, k), k);
            if (payload.has(k)) {
#pragma unroll
                for (int hop = 1; hop < N; ++hop) // every rank begins with another one
                    store_slot(a.peers.base[(rank + hop) % N] + gather_slots + gathered.offset() + k * payload.kBytes,
                               v);
            }
            payload.write(v, token, k);
        }
    };

    const auto consume = [&](int iteration) {
        if (place.units > 0) {
            std::byte* const stage = local + gather_slots + consumed.offset();
            Vector v[K];
            const auto slot = [&](int k) { return stage + min(k, place.units - 1) * payload.kBytes; };
            const auto mine = [&](int k) { return payload.has(k); };
            receive<K>(
                v, slot, mine, [&](int) { return owner(iteration); }, iteration, patience);
#pragma unroll
            for (int k = 0; k < K; ++k)
                if (mine(k)) store_slot(slot(k), empty_vector());
            __syncwarp(); // a lane that the payload leaves out must not push as if it had waited
#pragma unroll
            for (int k = 0; k < K; ++k)
                if (k < place.units) payload.write(v[k], place.token(a, iteration), k);
        }
    };

    for (int step = -a.push_ahead; step < place.iterations + a.consume_behind; ++step) {
        const int next = step + a.push_ahead, last = step - a.consume_behind;
        if (step < place.iterations) fence.before_row(); // also after the last push: rows are still gathered
        if (next < place.iterations) push(next);
        if (next + 1 < place.iterations) load(next + 1);
        if (step >= 0 && step < place.iterations) {
            if (owner(step) == rank) serve(step);
            if (step % N == N - 1) served.advance();
            gathered.advance();
        }
        if (last >= 0) {
            if (owner(last) != rank) consume(last);
            consumed.advance();
        }
    }
}

} // namespace device

void twoshot_sharded(const FusedAllReduce& call, const Workspace& workspace, const LaunchParameters& launch,
                     cudaStream_t stream) {
    launch_fused(Fused::twoshot, call, workspace, launch, stream, [](auto dtype, auto world, auto quant, auto units) {
        return &device::twoshot_sharded_kernel<dtype.value, world.value, quant.value, units.value>;
    });
}

} // namespace crossover
