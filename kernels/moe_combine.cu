/// Combine: every rank sends each row of its partial results to the row's owner, which adds them in rank order.
///
/// Data travels as in oneshot: a vector is stored into a slot that one thread sends to and one receives from, and its
/// arrival is the flag. The rows of an owner are one sequence of units of 32 vectors, dealt to the warps of the grid in
/// turns; the warp of one number on every rank is one channel, which knows no others. In step s a channel pushes the
/// s-th unit of each other owner, and sums the one of its own rows that it pushed `kCombineBehind` steps before.
///
/// Slots are a ring of `stages` units a sender. Unlike in an all-reduce nothing that a sender waits for tells it how
/// far the owner is: a rank without rows of its own waits for nobody. So the owner says so: after it has summed and
/// emptied unit j it releases the count j + 1, its credit, to each sender, which acquires a credit of s − stages + 1 or
/// more before it pushes unit s into the slots of unit s − stages. A release costs a trip over the link, so there is
/// one for each c = (stages − behind) / 2 units. What the sender never asks for is not sent: rows that fit into the
/// ring travel without credits, and the last credit is one that every sender waits for and then clears. A release
/// orders the emptying before the sender's next data, so `stages` needs no margin of time.
///
/// Nobody can lock up. Order all that a channel does by (step; push < sum). A push in step s waits for the sum of unit
/// s − stages + c − 1 at most, which its owner does in step s − stages + c − 1 + behind, after that step's pushes:
/// earlier, as stages > behind + c − 1 where stages > behind, which unsupported() sees to. A sum in step j + behind
/// waits for pushes of step j: earlier. Every channel goes through its steps in order, so every wait is for something
/// strictly earlier, on whatever rank. No channel waits for another, so CTAs need not even be resident together.
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

template <DType D, int N>
__global__ void __launch_bounds__(kMaxThreads) combine_kernel(const __grid_constant__ MoeArguments a) {
    CROSSOVER_SHARED(unsigned, generation);
    const int rank = a.peers.rank;
    const auto thread = static_cast<int>(threadIdx.x), lane = thread % kWarp;
    const unsigned warps = blockDim.x / kWarp, channels = gridDim.x * warps;
    const unsigned channel = blockIdx.x * warps + threadIdx.x / kWarp;
    const auto vectors_of = [&](int owner) { return a.first[owner + 1] - a.first[owner]; };
    /// Of this channel.
    const auto units_of = [&](int owner) {
        const unsigned units = (vectors_of(owner) + kWarp - 1) / kWarp;
        return static_cast<int>((units + channels - 1 - channel) / channels);
    };
    /// This lane's vector in the channel's unit of this step, among an owner's.
    const auto vector = [&](int step) { return (step * channels + channel) * kWarp + lane; };
    std::byte* const local = a.peers.base[rank];
    Patience patience(a.peers, a.timeout_ns);

    const unsigned current = enter_launch(reinterpret_cast<Control*>(local), generation);

    pdl_wait();
    pdl_trigger();
    Vector x[N - 1]; // to be pushed next; every rank begins with another owner
    const auto load = [&](int step) {
#pragma unroll
        for (int hop = 1; hop < N; ++hop) {
            const int owner = (rank + hop) % N;
            if (vector(step) < vectors_of(owner)) x[hop - 1] = load_tensor(a.input, a.first[owner] + vector(step));
        }
    };
    load(0);

    // Offsets from a rank's base.
    const std::size_t flags = kControlBytes + current * a.generation_bytes;
    const std::size_t credits = flags + a.credits(channel);
    constexpr std::size_t kStageBytes = (N - 1) * kUnitBytes;
    const std::size_t slots = flags + a.units(channels) + channel * a.stages * kStageBytes + lane * kVectorBytes;
    RingPosition pushed(a.stages, kStageBytes), summed = pushed;
    const bool talks = lane < N && lane != rank; // to the peer of its number
    const int units_of_peer = talks ? units_of(lane) : 0;
    const int own_units = units_of(rank);
    int steps = 0;
#pragma unroll
    for (int owner = 0; owner < N; ++owner) steps = max(steps, units_of(owner));
    const int credit_units = max(1, (a.stages - kCombineBehind) / 2); // from one credit to the next
    unsigned credit = 0;                                              // of this lane's peer, as last seen
    const bool greets = blockIdx.x == 0 && thread < N && talks;
    if (greets) store_flag(a.peers.base[lane] + flags + rank * kVectorBytes, 1);

    const auto push = [&](int step) {
        if (step >= a.stages) {
            if (step < units_of_peer) {
                std::byte* const slot = local + credits + lane * kVectorBytes;
                const unsigned needed = step - a.stages + 1;
                if (credit < needed) credit = await_flag(slot, needed, lane, step, patience);
                if (step + 1 == units_of_peer) store_flag(slot, kEmpty); // there will be no more
            }
            __syncwarp();
        }
#pragma unroll
        for (int hop = 1; hop < N; ++hop) {
            const int owner = (rank + hop) % N;
            if (vector(step) < vectors_of(owner))
                store_slot(a.peers.base[owner] + slots + pushed.offset() + without(owner, rank) * kUnitBytes,
                           sendable(x[hop - 1]));
        }
        pushed.advance();
    };

    const auto sum = [&](int step) {
        const bool has = vector(step) < vectors_of(rank);
        std::byte* const stage = local + slots + summed.offset();
        summed.advance();
        if (has) {
            const auto slot = [&](int other) { return stage + other * kUnitBytes; };
            const Vector* const own = static_cast<const Vector*>(a.input) + a.first[rank] + vector(step);
            const auto all = receive_sum<D, N>(own, slot, rank, step, patience);
            empty_slots<N - 1>(slot);
            store_tensor(a.output[rank], vector(step), pack<D>(all));
        }
        __syncwarp(); // no lane gets ahead of the others by a unit, as those of the other kernels do not
        const int asked = own_units - a.stages; // the last credit that is
        if (step + 1 > asked || (step + 1 < asked && (step + 1) % credit_units != 0)) return;
        if (talks) release_flag(a.peers.base[lane] + credits + rank * kVectorBytes, step + 1);
    };

    for (int step = 0; step < max(steps, own_units + kCombineBehind); ++step) {
        if (step < steps) push(step);
        if (step + 1 < steps) load(step + 1);
        if (step >= kCombineBehind && step - kCombineBehind < own_units) sum(step - kCombineBehind);
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
                return &device::combine_kernel<dtype.value, world.value>;
            });
        });
    launch_kernel(kernel, arguments, launch, stream);
}

} // namespace crossover
