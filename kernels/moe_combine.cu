/// Combine: every rank sends each row of its partial results to a rank that adds them in rank order: to the row's
/// owner, or, where the launch relays, to another one, which sends the sum on.
///
/// Data travels as in oneshot: a vector is stored into a slot that one thread sends to and one receives from, and its
/// arrival is the flag. What a rank sums is one sequence of units of 32 vectors, dealt to the warps of the grid in
/// turns; the warp of one number on every rank is one channel, which knows no others. In step s a channel pushes the
/// s-th unit of each other rank's sequence, and sums the one of its own that it pushed `kCombineBehind` steps before.
///
/// Without relays a rank sums its own rows, and the link of one that has most of them carries n − 1 times as many
/// bytes. With relays what ranks have beyond others is summed by their n − 1 peers (combine_shares.cpp), and each row
/// comes once: the owner takes the sums from slots of their own, `kTakenBehind` steps behind their push. The sequences
/// are then equally long: a shorter one leaves turns out, so that nobody's link has more to carry early than late. What
/// is said of a unit below holds for a turn without one, too, but that nothing is sent.
///
/// Slots are a ring of `stages` units a sender. Unlike in an all-reduce nothing that a sender waits for tells it how
/// far the receiver is: a rank without rows of its own waits for nobody. So the receiver says so: after it has emptied
/// the i-th unit of a sender it releases the count i + 1, its credit, to that sender, which acquires a credit of
/// i − stages + 1 or more before it sends unit i into the slots of unit i − stages. A release costs a trip over the
/// link, so there is one for each c = (stages − behind) / 2 units. What the sender never asks for is not sent: units
/// that fit into the ring travel without credits, and the last credit is one that every sender waits for and then
/// clears. A release orders the emptying before the sender's next data, so `stages` needs no margin of time.
///
/// Nobody can lock up. Order all that a channel does by (step; push < sum < take), of the loop below. A push of unit s
/// waits for the sum of unit s − stages + c − 1 at most, which its receiver does in step s − stages + c − 1 + behind,
/// after that step's pushes: earlier, as stages > behind + c − 1 where stages > behind, which unsupported() sees to. A
/// sum in step j + behind waits for pushes of step j, earlier, and sends on after the take of unit j − stages + c − 1
/// at most, in step j − stages + c + behind: earlier, as stages > c. A take in a step waits for sums of the step
/// before. Every channel goes through its steps in order, so every wait is for something strictly earlier, on whatever
/// rank. No channel waits for another, so CTAs need not even be resident together.
///
/// A rank that owns no rows would end before others have begun, and be a launch ahead of them, then two. So CTA 0 tells
/// its namesakes at once that it has begun, and ends when it has heard the same from all: no launch ends on any rank
/// before all have begun it, as the generations of slots (device/protocol.cuh) ask for.

#include "kernels/device/flags.cuh"
#include "kernels/device/place.cuh"
#include "kernels/device/rank_sum.cuh"
#include "kernels/moe_launch.hpp"

namespace crossover {
namespace device {

/// One direction of a channel's traffic with the peer of this lane's number: `total` units, the first in step `first`.
struct Traffic {
    int first = 0, total = 0;
};

template <DType D, int N, bool Relays>
__global__ void __launch_bounds__(kMaxThreads) combine_kernel(const __grid_constant__ MoeArguments a) {
    CROSSOVER_SHARED(unsigned, generation);
    const int rank = a.peers.rank;
    const auto thread = static_cast<int>(threadIdx.x), lane = thread % kWarp;
    const unsigned warps = blockDim.x / kWarp, channels = gridDim.x * warps;
    const unsigned channel = blockIdx.x * warps + threadIdx.x / kWarp;
    const auto vectors_of = [&](int owner) { return a.first[owner + 1] - a.first[owner]; };
    /// How many of the first `units` of a sequence are this channel's.
    const auto of_channel = [&](unsigned units) {
        return static_cast<int>((units + channels - 1 - channel) / channels);
    };
    const auto steps_of = [&](int summer) {
        return of_channel(Relays ? a.shares.begin[summer][N + 1] : (vectors_of(summer) + kWarp - 1) / kWarp);
    };
    /// This lane's vector of the unit that a rank sums in a step, among its owner's.
    struct Summand {
        int owner;
        unsigned vector;
        bool exists;
    };
    const auto summand = [&](int summer, int step) -> Summand {
        const unsigned turn = step * channels + channel;
        if constexpr (!Relays) return {summer, turn * kWarp + lane, turn * kWarp + lane < vectors_of(summer)};
        const auto& begin = a.shares.begin[summer];
        int place = 0;
#pragma unroll
        for (int i = 1; i <= N; ++i) place += turn >= begin[i];
        const int owner = (summer + place) % N;
        const unsigned pace = a.shares.pace[summer][place], turns = turn - begin[place];
        const auto units_in = [&](unsigned count) { return static_cast<unsigned>(std::uint64_t{count} * pace >> 32); };
        const unsigned units = pace == 0 ? turns : units_in(turns);
        const bool left_out = pace != 0 && units_in(turns + 1) == units;
        const unsigned vector = (a.shares.unit[summer][place] + units) * kWarp + lane;
        return {owner, vector, turn < begin[N + 1] && !left_out && vector < vectors_of(owner)};
    };
    std::byte* const local = a.peers.base[rank];
    Patience patience(a.peers, a.timeout_ns);

    const unsigned current = enter_launch(reinterpret_cast<Control*>(local), generation);

    pdl_wait();
    pdl_trigger();
    Vector x[N - 1]; // to be pushed next; every rank begins with another one
    const auto load = [&](int step) {
#pragma unroll
        for (int hop = 1; hop < N; ++hop) {
            const Summand mine = summand((rank + hop) % N, step);
            if (mine.exists) x[hop - 1] = load_tensor(a.input, a.first[mine.owner] + mine.vector);
        }
    };
    load(0);

    // Offsets from a rank's base.
    constexpr std::size_t kStageBytes = (N - 1) * kUnitBytes;
    const std::size_t flags = kControlBytes + current * a.generation_bytes;
    const std::size_t credits = flags + a.credits(channel), sum_credits = flags + a.credits(channels + channel);
    const std::size_t slots =
        flags + a.credits((Relays ? 2 : 1) * channels) + channel * std::size_t{a.channel_bytes} + lane * kVectorBytes;
    const std::size_t sum_slots = slots + (Relays && !a.shares.one_ring ? a.stages * kStageBytes : 0);
    RingPosition pushed(a.stages, kStageBytes), summed = pushed, taken = pushed;
    const bool talks = lane < N && lane != rank; // to the peer of its number
    const Traffic units_sent{.total = talks ? steps_of(lane) : 0}, units_summed{.total = steps_of(rank)};
    Traffic sums_sent, sums_taken;
    if (Relays && talks) {
        const auto between = [&](int summer, int place) {
            const int first = of_channel(a.shares.begin[summer][place]);
            return Traffic{first, of_channel(a.shares.begin[summer][place + 1]) - first};
        };
        sums_sent = between(rank, (lane - rank + N) % N);
        sums_taken = between(lane, (rank - lane + N) % N);
    }
    int steps = 0;
#pragma unroll
    for (int summer = 0; summer < N; ++summer) steps = max(steps, steps_of(summer));
    const int credit_units = max(1, (a.stages - kCombineBehind) / 2); // from one credit to the next
    unsigned credit = 0, sum_credit = 0;                              // of this lane's peer, as last seen
    const bool greets = blockIdx.x == 0 && thread < N && talks;
    if (greets) store_flag(a.peers.base[lane] + flags + rank * kVectorBytes, 1);

    /// Before a unit goes to this lane's peer: waits until there is room for it.
    const auto await_room = [&](const Traffic& to, int step, std::size_t at, unsigned& seen) {
        const int index = step - to.first;
        if (index < a.stages || index >= to.total) return;
        std::byte* const slot = local + at + lane * kVectorBytes;
        const unsigned needed = index - a.stages + 1;
        if (seen < needed) seen = await_flag(slot, needed, lane, step, patience);
        if (index + 1 == to.total) store_flag(slot, kEmpty); // there will be no more
    };
    /// After a unit from this lane's peer has been emptied: tells it, where it will ask.
    const auto give_room = [&](const Traffic& from, int step, std::size_t at) {
        const int count = step - from.first + 1, asked = from.total - a.stages; // the last credit that is
        if (count > asked || (count < asked && count % credit_units != 0)) return;
        if (talks) release_flag(a.peers.base[lane] + at + rank * kVectorBytes, count);
    };

    const auto push = [&](int step) {
        if (step >= a.stages) {
            await_room(units_sent, step, credits, credit);
            __syncwarp();
        }
#pragma unroll
        for (int hop = 1; hop < N; ++hop) {
            const int summer = (rank + hop) % N;
            if (summand(summer, step).exists)
                store_slot(a.peers.base[summer] + slots + pushed.offset() + without(summer, rank) * kUnitBytes,
                           sendable(x[hop - 1]));
        }
        pushed.advance();
    };

    const auto sum = [&](int step) {
        const Summand mine = summand(rank, step);
        const std::size_t stage = summed.offset();
        summed.advance();
        Vector result;
        if (mine.exists) {
            const auto slot = [&](int other) { return local + slots + stage + other * kUnitBytes; };
            const Vector* const own = static_cast<const Vector*>(a.input) + a.first[mine.owner] + mine.vector;
            const auto all = receive_sum<D, N>(own, slot, rank, step, patience);
            empty_slots<N - 1>(slot);
            result = pack<D>(all);
            if (!Relays || mine.owner == rank) store_tensor(a.output[rank], mine.vector, result);
        }
        __syncwarp(); // no lane gets ahead of the others by a unit, as those of the other kernels do not
        give_room(units_summed, step, credits);
        if (!Relays || mine.owner == rank) return;
        if (lane == mine.owner) await_room(sums_sent, step, sum_credits, sum_credit);
        __syncwarp();
        if (mine.exists)
            store_slot(a.peers.base[mine.owner] + sum_slots + stage + without(mine.owner, rank) * kUnitBytes, result);
    };

    const auto take = [&](int step) {
        const std::size_t stage = taken.offset();
        taken.advance();
        bool any = false, wanted[N - 1];
        unsigned vector[N - 1];
#pragma unroll
        for (int hop = 1; hop < N; ++hop) {
            const Summand mine = summand((rank + hop) % N, step);
            any |= mine.owner == rank; // the same in all lanes
            wanted[hop - 1] = mine.owner == rank && mine.exists;
            vector[hop - 1] = mine.vector;
        }
        if (!any) return;
        const auto slot = [&](int i) {
            return local + sum_slots + stage + without(rank, (rank + i + 1) % N) * kUnitBytes;
        };
        Vector result[N - 1];
        receive<N - 1>(
            result, slot, [&](int i) { return wanted[i]; }, [&](int i) { return (rank + i + 1) % N; }, step, patience);
#pragma unroll
        for (int i = 0; i < N - 1; ++i) {
            if (!wanted[i]) continue;
            store_slot(slot(i), empty());
            store_tensor(a.output[rank], vector[i], result[i]);
        }
        __syncwarp();
        if (step >= sums_taken.first) give_room(sums_taken, step, sum_credits);
    };

    const int end = Relays ? steps + kTakenBehind : max(steps, units_summed.total + kCombineBehind);
    for (int step = 0; step < end; ++step) {
        if (step < steps) push(step);
        if (step + 1 < steps) load(step + 1);
        if (step >= kCombineBehind && step - kCombineBehind < units_summed.total) sum(step - kCombineBehind);
        if (Relays && step >= kTakenBehind) take(step - kTakenBehind);
    }
    if (!greets) return;
    std::byte* const begun = local + flags + lane * kVectorBytes;
    await_flag(begun, 1, lane, steps, patience);
    store_flag(begun, kEmpty);
}

} // namespace device

void moe_combine(const MoeCombine& call, const Workspace& workspace, const MoeLaunch& launch, cudaStream_t stream) {
    const device::MoeArguments arguments = moe_arguments(call, workspace, launch);
    if (sum_of(call.tokens) == 0) return;
    const MoeKernel kernel =
        with_constant<DType::bfloat16, DType::float16, DType::float32>(call.dtype, [&](auto dtype) {
            return with_constant<2, 4, 8>(workspace.peers.world_size, [&](auto world) -> MoeKernel {
                if constexpr (world.value > 2)
                    if (arguments.shares.relays) return &device::combine_kernel<dtype.value, world.value, true>;
                return &device::combine_kernel<dtype.value, world.value, false>;
            });
        });
    launch_kernel(kernel, arguments, launch, stream);
}

} // namespace crossover
