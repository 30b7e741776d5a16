// The emulated machine itself: what it must find in a kernel, and that it is as weakly ordered as it says.

#include "tests/emulation/kernels/device/ptx.cuh"
#include "tests/emulation/machine.hpp"
#include "tests/emulation/memory.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <set>
#include <string>

using namespace crossover;
using namespace crossover::emulation;
using device::Arguments;
using device::Vector;

namespace {

alignas(16) std::byte slot[kControlBytes]; // also rank 0's workspace

/// Runs kernels, one after the other on rank 0, and gives the machine's complaint.
std::string complaint(std::initializer_list<Kernel> kernels, const LaunchParameters& launch, Options options = {}) {
    Machine machine(std::move(options));
    Stream stream(machine, 0);
    Arguments arguments{};
    arguments.cluster_size = launch.cluster_size;
    arguments.clusters = launch.clusters;
    arguments.peers.base[0] = slot;
    for (const Kernel kernel : kernels) launch_kernel(kernel, arguments, launch, &stream);
    try {
        machine.run();
    } catch (const EmulationError& error) {
        return error.what();
    }
    return "";
}

bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

std::set<unsigned> seen; // which words of the slot held data when it was looked at

constexpr LaunchParameters kOneWarp{.cluster_size = 1, .clusters = 1, .threads = 32};
constexpr LaunchParameters kCluster{.cluster_size = 2, .clusters = 1, .threads = 32};

} // namespace

TEST_CASE("threads that wait for ever are named") {
    const auto diverged = [](Arguments) {
        if (threadIdx.x != 3) __syncthreads();
    };
    CHECK(complaint({diverged}, kOneWarp) ==
          "no thread can go on: 31 wait for __syncthreads (rank 0, launch 0, block 0, thread 0)");
    const auto lane_missing = [](Arguments) {
        if (threadIdx.x < 16) __shfl_xor_sync(~0u, 1.0f, 1);
    };
    CHECK(contains(complaint({lane_missing}, kOneWarp), "16 wait for __shfl_xor_sync"));
    const auto bytes_missing = [](Arguments) {
        CROSSOVER_SHARED(std::uint64_t, barrier);
        if (threadIdx.x == 0) {
            const device::SharedAddress at = device::shared_address(&barrier);
            device::mbarrier_init(at);
            device::mbarrier_expect(at, 4);
            while (!device::mbarrier_passed(at, 0)) {
            }
        }
    };
    CHECK(contains(complaint({bytes_missing}, kOneWarp), "1 wait for an mbarrier"));
}

TEST_CASE("a store to the shared memory of a CTA that has ended is found") {
    const auto kernel = [](Arguments) {
        CROSSOVER_SHARED(float, value);
        CROSSOVER_SHARED(std::uint64_t, barrier);
        const auto there = [](void* shared) { return device::address_in_cta(device::shared_address(shared), 1); };
        if (threadIdx.x == 0) device::mbarrier_init(device::shared_address(&barrier));
        device::cluster_sync();
        if (blockIdx.x == 0 && threadIdx.x == 0) device::store_to_cta(there(&value), there(&barrier), 1.0f);
    };
    int found = 0;
    for (std::uint64_t seed = 1; seed <= 20; ++seed)
        found += contains(complaint({kernel}, kCluster, {.seed = seed}), "CTA that has ended");
    CHECK(found > 0);
}

TEST_CASE("a vector that is not waited for may be seen in part") {
    const auto kernel = [](Arguments) {
        if (threadIdx.x == 0) device::store_slot(slot, {1, 1, 1, 1});
        if (threadIdx.x != 1) return;
        for (int look = 0; look < 50; ++look) {
            const Vector v = device::load_slot(slot);
            seen.insert(v.x + 2 * v.y + 4 * v.z + 8 * v.w);
        }
    };
    for (std::uint64_t seed = 1; seed <= 200; ++seed) {
        std::memset(slot, 0, sizeof slot);
        CHECK(complaint({kernel}, kOneWarp, {.seed = seed}) == "");
    }
    CHECK(seen.contains(0));
    CHECK(seen.contains(15));
    CHECK(seen.size() > 4);
}

TEST_CASE("a kernel that waits sees what the one before has stored; one that does not may be early") {
    const auto first = [](Arguments) {
        device::pdl_wait();
        device::pdl_trigger();
        if (threadIdx.x == 0) device::fetch_add_gpu(reinterpret_cast<unsigned*>(slot), 1);
    };
    const auto second = [](Arguments) {
        device::pdl_wait();
        if (threadIdx.x == 0) seen.insert(device::load_relaxed_gpu(reinterpret_cast<const unsigned*>(slot)));
    };
    for (const bool without_wait : {false, true}) {
        seen.clear();
        for (std::uint64_t seed = 1; seed <= 50; ++seed) {
            std::memset(slot, 0, sizeof slot);
            CHECK(complaint({first, second}, kOneWarp, {.seed = seed, .without_pdl_wait = without_wait}) == "");
        }
        CHECK(seen == (without_wait ? std::set<unsigned>{0, 1} : std::set<unsigned>{1}));
    }
}

TEST_CASE("stores to different slots change places, those to one slot never") {
    alignas(16) static std::byte slots[4][16];
    const auto word = [&](int i) {
        unsigned value;
        std::memcpy(&value, slots[i], 4);
        return value;
    };
    bool overtaken[4]{}, none_landed = false;
    for (std::uint64_t seed = 1; seed <= 200; ++seed) {
        std::memset(slots, 0, sizeof slots);
        Memory memory(seed, [](const std::byte*) {});
        const auto sender = std::make_shared<Sender>(), other = std::make_shared<Sender>();
        for (const int i : {0, 1, 2, 3}) {
            memory.store(sender, slots[i], {1, 1, 1, 1});
            memory.land_any();
        }
        for (const int i : {0, 1, 2, 3}) overtaken[i] |= word(i) == 0 && word(3) == 1;
        memory.store(sender, slots[0], {2, 2, 2, 2});
        memory.store(sender, slots[0], {3, 3, 3, 3});
        CHECK(memory.load(*sender, slots[0], 16).x == 3); // the thread itself sees them at once
        none_landed |= memory.load(*other, slots[0], 16).x == 0;
        unsigned last = word(0);
        while (!memory.empty()) {
            memory.land_any();
            CHECK(word(0) >= last);
            last = word(0);
        }
        CHECK(word(0) == 3);
    }
    CHECK((overtaken[0] && overtaken[1] && overtaken[2]));
    CHECK(none_landed);
}

namespace {
alignas(16) std::byte first_slot[16], second_slot[16];

/// What is in `first_slot` in the end where one thread stores 1 there and then to `second_slot`, and another, on
/// another GPU, stores 2 to `first_slot` when it has seen that. A fence is made where the arguments say so.
std::set<unsigned> last_values(bool storer_fences, bool seer_fences, int storer_lane = 0) {
    const auto store = [](Arguments a) {
        const auto thread = static_cast<int>(threadIdx.x);
        if (thread == 0) device::store_slot(first_slot, {1, 1, 1, 1});
        if (a.push_ahead && thread == a.consume_behind) device::fence_system();
        if (thread == 0) device::store_slot(second_slot, {1, 1, 1, 1});
    };
    const auto see = [](Arguments a) {
        if (threadIdx.x != 0) return;
        while (device::load_slot(second_slot).x != 1) device::between_looks(second_slot);
        if (a.push_ahead) device::fence_system();
        device::store_slot(first_slot, {2, 2, 2, 2});
    };
    std::set<unsigned> values;
    for (std::uint64_t seed = 1; seed <= 200; ++seed) {
        std::memset(first_slot, 0, sizeof first_slot);
        std::memset(second_slot, 0xFF, sizeof second_slot);
        Machine machine({.seed = seed});
        Stream storers(machine, 0), seers(machine, 1);
        Arguments arguments{};
        arguments.cluster_size = arguments.clusters = 1;
        arguments.push_ahead = storer_fences;
        arguments.consume_behind = storer_lane;
        launch_kernel(store, arguments, kOneWarp, &storers);
        arguments.push_ahead = seer_fences;
        launch_kernel(see, arguments, kOneWarp, &seers);
        machine.run();
        values.insert(reinterpret_cast<const unsigned*>(first_slot)[0]);
    }
    return values;
}
} // namespace

TEST_CASE("a store comes after one of another thread only with a fence in either, of the very threads") {
    CHECK(last_values(true, true) == std::set<unsigned>{2});
    CHECK(last_values(false, true) == std::set<unsigned>{1, 2});
    CHECK(last_values(true, false) == std::set<unsigned>{1, 2});
    CHECK(last_values(true, true, 1) == std::set<unsigned>{1, 2});
}
