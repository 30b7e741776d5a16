// What the kernels call: the functions of kernels/device/ptx.cuh, and CUDA's own that make threads meet.

#include "tests/emulation/kernels/device/ptx.cuh"
#include "tests/emulation/scheduler.hpp"

#include <bit>
#include <memory>
#include <string>
#include <utility>

using namespace crossover::emulation;

namespace {

constexpr unsigned kEmptyWord = 0xFFFFFFFFu;

Scheduler& scheduler() { return Scheduler::now_running(); }
Block& block() { return *scheduler().current().block; }

bool has_empty_word(const uint4& v) {
    return v.x == kEmptyWord || v.y == kEmptyWord || v.z == kEmptyWord || v.w == kEmptyWord;
}

/// An mbarrier for one arrival, in its 8 bytes.
struct Barrier {
    std::int32_t expected_bytes; // below zero where bytes come before they are expected
    std::uint16_t arrived;
    std::uint16_t phase;
};

/// Changes the barrier of `owner`, and ends its phase when all has come.
template <class Change>
void update(Block& owner, std::uint64_t* at, Change change) {
    auto barrier = std::bit_cast<Barrier>(*at);
    change(barrier);
    if (barrier.arrived > 1) throw EmulationError("two threads arrived at an mbarrier for one");
    if (barrier.arrived == 1 && barrier.expected_bytes == 0) {
        barrier.arrived = 0;
        ++barrier.phase;
        scheduler().wake(owner.at_mbarriers);
    }
    *at = std::bit_cast<std::uint64_t>(barrier);
}

/// Where `address`, in the running thread's shared memory, lies in another block's.
template <class T>
T* in_block(T* address, Block& other) {
    const std::ptrdiff_t offset = reinterpret_cast<std::byte*>(address) - block().shared.data();
    if (offset < 0 || static_cast<std::size_t>(offset) + sizeof(T) > Block::kSharedBytes)
        throw EmulationError("an address that is not in shared memory");
    return reinterpret_cast<T*>(other.shared.data() + offset);
}

Sender& sender() { return *scheduler().current().sender; }

/// Released with a store: what the lanes of the running warp have fenced.
Release fenced() { return {.fenced = scheduler().current().warp->fenced}; }

/// What the lane `source`, modulo the warp, gives.
unsigned exchanged(unsigned mask, unsigned value, int source, const char* what) {
    if (mask != ~0u) throw EmulationError(std::string(what) + " with a part of the warp is not emulated");
    Thread& thread = scheduler().current();
    Warp& warp = *thread.warp;
    auto& values = warp.shuffled[warp.meeting.phase % 2]; // a thread may be one exchange ahead, not two
    values[static_cast<std::size_t>(thread.index % crossover::device::kWarp)] = value;
    scheduler().meet(warp.meeting, what);
    return values[static_cast<std::size_t>(source) % crossover::device::kWarp];
}

} // namespace

void __syncthreads() { scheduler().meet(block().meeting, "__syncthreads"); }

/// What a lane has loaded before, the others acquire by their next fences, too.
void __syncwarp() {
    Warp& warp = *scheduler().current().warp;
    Fences& seen = warp.seen[warp.meeting.phase % 2]; // as in exchanged()
    if (warp.meeting.arrived == 0) seen.clear();
    seen.add(sender().seen);
    scheduler().meet(warp.meeting, "__syncwarp");
    sender().seen.add(seen);
}

unsigned __shfl_sync(unsigned mask, unsigned value, int source) {
    return exchanged(mask, value, source, "__shfl_sync");
}

unsigned __shfl_xor_sync(unsigned mask, unsigned value, int lane_mask) {
    return exchanged(mask, value, scheduler().current().index ^ lane_mask, "__shfl_xor_sync");
}

float __shfl_xor_sync(unsigned mask, float value, int lane_mask) {
    return std::bit_cast<float>(__shfl_xor_sync(mask, std::bit_cast<unsigned>(value), lane_mask));
}

unsigned atomicCAS(unsigned* address, unsigned compare, unsigned value) {
    scheduler().preempt();
    const unsigned old = *address;
    if (old == compare) *address = value;
    return old;
}

void* crossover::emulation::shared_variable(int id, std::size_t bytes) {
    Block& owner = block();
    std::size_t offset = 0;
    for (const Block::Variable& variable : owner.variables) {
        if (variable.id == id) return owner.shared.data() + variable.offset;
        offset = variable.end;
    }
    const std::size_t end = (offset + bytes + 15) / 16 * 16;
    if (end > Block::kSharedBytes) throw EmulationError("shared memory is full; raise kSharedBytes in scheduler.hpp");
    owner.variables.push_back({id, offset, end});
    return owner.shared.data() + offset;
}

namespace crossover::device {

Vector load_slot(const std::byte* slot) {
    scheduler().preempt();
    const Release release = scheduler().memory.release_of(slot);
    if (release.fenced) sender().seen.add(release.fenced);
    return scheduler().memory.load(sender(), slot);
}

void store_slot(std::byte* slot, const Vector& v) {
    scheduler().preempt();
    const bool emptying = v.x == kEmptyWord && v.y == kEmptyWord && v.z == kEmptyWord && v.w == kEmptyWord;
    if (emptying && scheduler().options.without_emptying) return;
    scheduler().memory.store(scheduler().current().sender, slot, v, fenced());
}

void store_flag(std::byte* slot, unsigned value) {
    if (value == kEmptyWord && scheduler().options.without_emptying) return;
    store_to_peer(slot, &value, sizeof value);
}

/// With what the whole block has stored: what threads store that have not met this one yet, they store later.
void release_flag(std::byte* slot, unsigned value) {
    scheduler().preempt();
    Flagged flagged;
    if (!scheduler().options.without_release)
        for (const auto& thread : block().threads) flagged.emplace_back(thread->sender, thread->sender->issued);
    scheduler().memory.store(scheduler().current().sender, slot, &value, sizeof value,
                             {.flagged = std::make_shared<Flagged>(std::move(flagged))});
}

unsigned acquire_flag(const std::byte* slot) {
    const unsigned value = load_slot(slot).x;
    if (const auto flagged = scheduler().memory.release_of(slot).flagged) scheduler().memory.land_all(*flagged);
    return scheduler().options.without_flags ? kEmptyWord - 1 : value; // more than any that is waited for
}

void store_to_peer(void* address, const void* value, unsigned bytes) {
    scheduler().preempt();
    scheduler().memory.store(scheduler().current().sender, static_cast<std::byte*>(address), value, bytes);
}

void between_looks(const std::byte* slot) {
    if (has_empty_word(scheduler().memory.load(sender(), slot))) scheduler().wait_for_landing(slot);
}

unsigned load_relaxed_gpu(const unsigned* address) {
    scheduler().preempt();
    return *address;
}

unsigned fetch_add_gpu(unsigned* address, unsigned value) {
    scheduler().preempt();
    return std::exchange(*address, *address + value);
}

void fence_system() {
    scheduler().preempt();
    if (scheduler().options.without_fences) return;
    sender().acquired.add(std::exchange(sender().seen, {}));
    Warp& warp = *scheduler().current().warp;
    Fenced fenced = warp.fenced ? *warp.fenced : Fenced{.warp = sender().warp};
    ++fenced.version;
    fenced.before[sender().lane] = sender().issued;
    warp.fenced = std::make_shared<Fenced>(fenced);
}

std::uint64_t global_nanoseconds() { return scheduler().nanoseconds; }

void pdl_wait() { scheduler().wait_for_launch_before(); }
void pdl_trigger() { scheduler().trigger(); }

void cluster_sync() {
    Block& own = block();
    const int cluster = own.cluster_begin / own.grid->cluster_size;
    scheduler().meet(own.grid->cluster_meetings[static_cast<std::size_t>(cluster)], "barrier.cluster");
}

void mbarrier_init(std::uint64_t* barrier) { *barrier = std::bit_cast<std::uint64_t>(Barrier{}); }

void mbarrier_expect(std::uint64_t* barrier, int bytes) {
    scheduler().preempt();
    update(block(), barrier, [&](Barrier& b) {
        b.expected_bytes += bytes;
        ++b.arrived;
    });
}

bool mbarrier_passed(std::uint64_t* barrier, int parity) {
    scheduler().preempt();
    if (std::bit_cast<Barrier>(*barrier).phase % 2 != parity) return true;
    scheduler().wait(block().at_mbarriers, "an mbarrier");
    return false;
}

void store_to_cta(float* slot, std::uint64_t* barrier, int cta, float value) {
    scheduler().preempt();
    Block& own = block();
    if (cta >= own.grid->cluster_size) throw EmulationError("a store to a CTA that the cluster has not");
    const std::shared_ptr<Block> other =
        own.grid->blocks.at(static_cast<std::size_t>(own.cluster_begin) + static_cast<std::size_t>(cta));
    float* const remote_slot = in_block(slot, *other);
    std::uint64_t* const remote_barrier = in_block(barrier, *other);
    scheduler().memory.store_async([=] {
        if (other->ended) throw EmulationError("a store to the shared memory of a CTA that has ended");
        *remote_slot = value;
        update(*other, remote_barrier, [](Barrier& b) { b.expected_bytes -= static_cast<int>(sizeof(float)); });
    });
}

} // namespace crossover::device
