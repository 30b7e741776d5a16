/// Dispatch: every rank quantizes its own rows and stores them straight into every rank's output, at its offset. Of
/// more rows than others have it stores each into one peer's output only, who relays it: passes it on from there to all
/// others.
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
/// Without relays the rank with the most rows decides how long it takes: its link carries them n − 1 times. With them
/// that of rank s carries its relayed rows once, and 1/(n − 1) of those of each other rank n − 2 times; moe_plan.cpp
/// has the arithmetic. A CTA's steps are relayed by the other ranks in turns, always by the namesake, who deals them to
/// its threads as the source does. They come first, in pieces: the source releases a count to each relay that has a
/// step in the piece; the relay acquires it, reads the rows from its own output, and stores them to the n − 2 others.
/// `done` follows all that a CTA has stored, relayed rows included, so who has heard it of every peer still has all
/// rows.
///
/// Relays do not lock up either: a CTA's round p has it send its piece p, wait for counts of others' pieces p − 1, meet
/// its threads, release its own count of piece p and relay what it has waited for. Counts that round p waits for were
/// released in round p − 1, whose waits are for round p − 2, and so on; round 0 waits for nobody. Only then comes what
/// `done` follows. (A time-out's iteration is 1 + p. Who gives up leaves the rounds with its whole CTA, and then says
/// nothing any more.)
///
/// Which rows a thread takes, and how they go to the peers: device/dispatch_rows.cuh.

#include "kernels/device/dispatch_rows.cuh"
#include "kernels/device/flags.cuh"
#include "kernels/moe_launch.hpp"

namespace crossover {
namespace device {

/// What is relayed of the steps of this CTA, and of its namesakes.
class RelayedSteps {
  public:
    __device__ explicit RelayedSteps(const MoeArguments& a) : a_(a), turns_(a.peers.world_size - 1) {}

    /// Whether this step of the source's is relayed; those before it are, too.
    __device__ bool has(int source, unsigned step) const {
        return blockIdx.x + step * gridDim.x < a_.dispatch_relay.units[source];
    }
    /// By whom.
    __device__ int relay_of(int source, unsigned step) const {
        return rank_after(a_.peers, source, 1 + static_cast<int>((blockIdx.x + step) % turns_));
    }
    /// The first step from this one on whose turn is the relay's; then every turns()-th is.
    __device__ unsigned next(int source, int relay, unsigned step) const {
        const unsigned turn = (relay > source ? relay - source : relay - source + turns_ + 1) - 1;
        const unsigned now = (blockIdx.x + step) % turns_;
        return step + turn - now + (turn < now ? turns_ : 0);
    }
    /// Whether the relay has any of the steps [begin, end).
    __device__ bool any(int source, int relay, unsigned begin, unsigned end) const {
        const unsigned step = next(source, relay, begin);
        return step < end && has(source, step);
    }
    __device__ unsigned turns() const { return turns_; }

  private:
    const MoeArguments& a_;
    unsigned turns_;
};

template <DType D, Quant Q, class Rows, bool Relays>
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
    const Rows rows(a, rank, shared);
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
    bool sends = missing == 0;
    const auto send = [&](unsigned step, auto to) {
        const bool more = rows.has(step + 1);
        if (more) rows.load(step + 1, x);
        rows.store(step, batch, to);
        if (more) batch.quantize(x, factor);
    };
    unsigned step = 0;
    if constexpr (Relays) {
        const RelayedSteps relayed(a);
        const std::size_t counts =
            kControlBytes + current * a.generation_bytes + a.dispatch_counts(blockIdx.x, gridDim.x);
        const auto count_of = [&](int source) { return counts + source * kVectorBytes; };
        for (unsigned piece = 0; sends && piece <= a.dispatch_relay.pieces; ++piece) {
            const unsigned begin = piece * a.dispatch_relay.piece_steps, end = begin + a.dispatch_relay.piece_steps;
            const unsigned before = begin - a.dispatch_relay.piece_steps; // where others' piece − 1 begins
            for (; step < end && relayed.has(rank, step); ++step)
                send(step, Ranks{1u << rank | 1u << relayed.relay_of(rank, step)});
            bool heard = true;
            if (talks && piece > 0 && relayed.any(thread, rank, before, begin)) {
                heard = await_flag(local + count_of(thread), piece, thread, 1 + static_cast<int>(piece), patience) != 0;
                if (!relayed.any(thread, rank, begin, ~0u)) store_flag(local + count_of(thread), kEmpty);
            }
            sends = __syncthreads_and(heard);
            if (!sends) break;
            if (talks && relayed.any(rank, thread, begin, end))
                release_flag(a.peers.base[thread] + count_of(rank), piece + 1);
            for (int hop = 1; piece > 0 && hop < world; ++hop) {
                const int source = rank_after(a.peers, rank, hop);
                const Rows theirs(a, source, shared);
                for (unsigned at = relayed.next(source, rank, before); at < begin && relayed.has(source, at);
                     at += relayed.turns())
                    theirs.relay(at, Ranks{~(1u << rank | 1u << source)});
            }
        }
    }
    for (; sends && rows.has(step); ++step) send(step, Everybody{});
    __syncthreads();
    if (!talks) return;
    // Without this CTA's rows a peer must not end as if it had them: it gives up, and names this rank.
    if (sends) release_flag(a.peers.base[thread] + flag_of(rank) + kDone, 1);
    await_flag(local + flag_of(thread) + kDone, 1, thread, 1, patience);
    store_flag(local + flag_of(thread), kEmpty);
    store_flag(local + flag_of(thread) + kDone, kEmpty);
}

/// The instance for rows of D.
template <DType D, bool Relays>
MoeKernel dispatch_of(Quant quant, bool in_tiles) {
    // Rows that are not quantized travel as they are: one instance serves every dtype.
    constexpr DType kAny = DType::bfloat16;
    if (quant == Quant::none) return &dispatch_kernel<kAny, Quant::none, RowsInTurns<kAny, Quant::none>, Relays>;
    if (quant == Quant::fp8) return &dispatch_kernel<D, Quant::fp8, RowsInTurns<D, Quant::fp8>, Relays>;
    if (in_tiles) return &dispatch_kernel<D, Quant::fp4, RowsInTiles<D>, Relays>;
    return &dispatch_kernel<D, Quant::fp4, RowsInTurns<D, Quant::fp4>, Relays>;
}

} // namespace device

void moe_dispatch(const MoeDispatch& call, const Workspace& workspace, const MoeLaunch& launch, cudaStream_t stream) {
    const device::MoeArguments arguments = moe_arguments(call, workspace, launch);
    if (sum_of(call.tokens) == 0) return;
    const MoeKernel kernel =
        with_constant<DType::bfloat16, DType::float16, DType::float32>(call.dtype, [&](auto dtype) {
            return with_constant<false, true>(arguments.dispatch_relay.pieces > 0, [&](auto relays) {
                return device::dispatch_of<dtype.value, relays.value>(call.quant, deals_in_tiles(call));
            });
        });
    launch_kernel(kernel, arguments, launch, stream);
}

} // namespace crossover
