// What the kernels call: the functions of kernels/device/ptx.cuh, and CUDA's own that make threads meet.

#include "tests/emulation/kernels/device/ptx.cuh"
#include "tests/emulation/scheduler.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

using namespace crossover::emulation;

namespace {

constexpr unsigned kEmptyWord = 0xFFFFFFFFu;

Scheduler& scheduler() { return Scheduler::now_running(); }
Block& block() { return *scheduler().current().block; }

bool is_empty(unsigned word) { return word == kEmptyWord; }

/// An mbarrier for one arrival, in its 8 bytes.
struct Barrier {
    std::int32_t expected_bytes; // below zero where bytes come before they are expected
    std::uint16_t arrived;
    std::uint16_t phase;
};

/// Changes the barrier at `at`, in shared memory of `owner`, and ends its phase when all has come.
template <class Change>
void update(Block& owner, std::byte* at, Change change) {
    Barrier barrier;
    std::memcpy(&barrier, at, sizeof barrier);
    change(barrier);
    if (barrier.arrived > 1) throw EmulationError("two threads arrived at an mbarrier for one");
    if (barrier.arrived == 1 && barrier.expected_bytes == 0) {
        barrier.arrived = 0;
        ++barrier.phase;
        scheduler().wake(owner.at_mbarriers);
    }
    std::memcpy(at, &barrier, sizeof barrier);
}

/// Whether `bytes` of a block's shared memory lie at `address`.
bool in_block(const Block& owner, const std::byte* address, std::size_t bytes) {
    const auto at = reinterpret_cast<std::uintptr_t>(address);
    const auto begin = reinterpret_cast<std::uintptr_t>(owner.shared.data());
    return at >= begin && at + bytes <= begin + Block::kSharedBytes;
}
std::byte* checked(std::byte* address, std::size_t bytes) {
    if (!in_block(block(), address, bytes)) throw EmulationError("an address that is not in the block's shared memory");
    return address;
}

Sender& sender() { return *scheduler().current().sender; }

/// Released with a store: what the lanes of the running warp have fenced.
Release fenced() { return {.fenced = scheduler().current().warp->fenced}; }

/// What each lane gives.
const auto& exchanged(unsigned mask, unsigned value, const char* what) {
    if (mask != ~0u) throw EmulationError(std::string(what) + " with a part of the warp is not emulated");
    Thread& thread = scheduler().current();
    Warp& warp = *thread.warp;
    auto& values = warp.shuffled[warp.meeting.phase % 2]; // a thread may be one exchange ahead, not two
    values[static_cast<std::size_t>(thread.index % crossover::device::kWarp)] = value;
    scheduler().meet(warp.meeting, what);
    return values;
}

} // namespace

void __syncthreads() { scheduler().meet(block().meeting, "__syncthreads"); }

int __syncthreads_and(int predicate) {
    Meeting& meeting = block().meeting;
    bool& all = block().all_hold[meeting.phase % 2]; // as in exchanged()
    all = (meeting.arrived == 0 || all) && predicate != 0;
    __syncthreads();
    return all;
}

/// What a lane has loaded before, the others acquire by their next fences, too.
void __syncwarp() {
    Warp& warp = *scheduler().current().warp;
    Fences& seen = warp.seen[warp.meeting.phase % 2]; // as in exchanged()
    if (warp.meeting.arrived == 0) seen.clear();
    seen.add(sender().seen);
    scheduler().meet(warp.meeting, "__syncwarp");
    sender().seen.add(seen);
}

unsigned __ballot_sync(unsigned mask, int predicate) {
    unsigned lanes = 0, bit = 1;
    for (const unsigned holds : exchanged(mask, predicate != 0, "__ballot_sync")) {
        lanes |= holds * bit;
        bit *= 2;
    }
    return lanes;
}

unsigned __shfl_xor_sync(unsigned mask, unsigned value, int lane_mask) {
    const auto source = static_cast<unsigned>(scheduler().current().index ^ lane_mask) % crossover::device::kWarp;
    return exchanged(mask, value, "__shfl_xor_sync")[source];
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

Vector load_slot_bytes(const std::byte* slot, unsigned bytes) {
    scheduler().preempt();
    const Release release = scheduler().memory.release_of(slot);
    if (release.fenced) sender().seen.add(release.fenced);
    return scheduler().memory.load(sender(), slot, bytes);
}

void store_slot(std::byte* slot, const unsigned* words, unsigned count) {
    scheduler().preempt();
    const bool emptying = std::all_of(words, words + count, is_empty);
    if (emptying && scheduler().options.without_emptying) return;
    scheduler().memory.store(scheduler().current().sender, slot, words, 4 * count, fenced());
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
    const auto value = load_slot<unsigned>(slot);
    if (const auto flagged = scheduler().memory.release_of(slot).flagged) scheduler().memory.land_all(*flagged);
    return scheduler().options.without_flags ? kEmptyWord - 1 : value; // more than any that is waited for
}

void store_to_peer(void* address, const void* value, unsigned bytes) {
    scheduler().preempt();
    scheduler().memory.store(scheduler().current().sender, static_cast<std::byte*>(address), value, bytes);
}

void between_looks_at(const std::byte* slot, unsigned words) {
    const auto seen = std::bit_cast<std::array<unsigned, 4>>(scheduler().memory.load(sender(), slot, 4 * words));
    if (std::any_of(seen.begin(), seen.begin() + words, is_empty)) scheduler().wait_for_landing(slot);
}

void between_looks(const std::byte* flag, unsigned seen) {
    if (scheduler().memory.load(sender(), flag, sizeof seen).x == seen) scheduler().wait_for_landing(flag);
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

float4 load_shared(SharedAddress address) {
    scheduler().preempt();
    float4 value{};
    std::memcpy(&value, checked(address, sizeof value), sizeof value);
    return value;
}
void store_shared(SharedAddress address, float value) {
    scheduler().preempt();
    std::memcpy(checked(address, sizeof value), &value, sizeof value);
}

void mbarrier_init(SharedAddress barrier) {
    const Barrier fresh{};
    std::memcpy(checked(barrier, sizeof fresh), &fresh, sizeof fresh);
}

void mbarrier_expect(SharedAddress barrier, int bytes) {
    scheduler().preempt();
    update(block(), checked(barrier, sizeof(Barrier)), [&](Barrier& b) {
        b.expected_bytes += bytes;
        ++b.arrived;
    });
}

bool mbarrier_passed(SharedAddress barrier, unsigned parity) {
    scheduler().preempt();
    Barrier now;
    std::memcpy(&now, checked(barrier, sizeof now), sizeof now);
    if (now.phase % 2u != parity) return true;
    scheduler().wait(block().at_mbarriers, "an mbarrier");
    return false;
}

SharedAddress address_in_cta(SharedAddress address, int cta) {
    Block& own = block();
    if (cta >= own.grid->cluster_size) throw EmulationError("an address in a CTA that the cluster has not");
    const auto& other =
        own.grid->blocks.at(static_cast<std::size_t>(own.cluster_begin) + static_cast<std::size_t>(cta));
    return other->shared.data() + (checked(address, 1) - own.shared.data());
}

void store_to_cta(SharedAddress slot, SharedAddress barrier, float value) {
    scheduler().preempt();
    Block& own = block();
    for (int cta = 0; cta < own.grid->cluster_size; ++cta) {
        const std::shared_ptr<Block> other =
            own.grid->blocks.at(static_cast<std::size_t>(own.cluster_begin) + static_cast<std::size_t>(cta));
        if (!in_block(*other, slot, sizeof value) || !in_block(*other, barrier, sizeof(Barrier))) continue;
        scheduler().memory.store_async([=] {
            if (other->ended) throw EmulationError("a store to the shared memory of a CTA that has ended");
            std::memcpy(slot, &value, sizeof value);
            update(*other, barrier, [](Barrier& b) { b.expected_bytes -= static_cast<int>(sizeof(float)); });
        });
        return;
    }
    throw EmulationError("a slot and a barrier that no CTA of the cluster has both of");
}

} // namespace crossover::device
