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

/// Runs kernels, one after the other on rank 0, and gives the machine's complaint.
std::string complaint(std::initializer_list<Kernel> kernels, const LaunchParameters& launch, Options options = {}) {
    Machine machine(std::move(options));
    Stream stream(machine, 0);
    Arguments arguments{};
    arguments.cluster_size = launch.cluster_size;
    arguments.clusters = launch.clusters;
    for (const Kernel kernel : kernels) launch_kernel(kernel, arguments, launch, &stream);
    try {
        machine.run();
    } catch (const EmulationError& error) {
        return error.what();
    }
    return "";
}

bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

alignas(16) std::byte slot[16];
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
            device::mbarrier_init(&barrier);
            device::mbarrier_expect(&barrier, 4);
            while (!device::mbarrier_passed(&barrier, 0)) {
            }
        }
    };
    CHECK(contains(complaint({bytes_missing}, kOneWarp), "1 wait for an mbarrier"));
}

TEST_CASE("a store to the shared memory of a CTA that has ended is found") {
    const auto kernel = [](Arguments) {
        CROSSOVER_SHARED(float, value);
        CROSSOVER_SHARED(std::uint64_t, barrier);
        if (threadIdx.x == 0) device::mbarrier_init(&barrier);
        device::cluster_sync();
        if (blockIdx.x == 0 && threadIdx.x == 0) device::store_to_cta(&value, &barrier, 1, 1.0f);
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
        if (threadIdx.x == 0) device::add_relaxed_gpu(reinterpret_cast<unsigned*>(slot), 1);
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

TEST_CASE("stores to different slots change places within the window, those to one slot never") {
    alignas(16) static std::byte slots[4][16];
    Memory::Random random(1);
    for (const int window : {0, 2}) {
        bool overtaken = false;
        for (int run = 0; run < 200; ++run) {
            std::memset(slots, 0, sizeof slots);
            Memory memory(window, [](const std::byte*) {});
            const auto sender = std::make_shared<Memory::Sender>();
            const auto word = [&](int i) {
                unsigned value;
                std::memcpy(&value, slots[i], 4);
                return value;
            };
            for (const int i : {0, 1, 2, 3}) {
                memory.store(sender, slots[i], {1, 1, 1, 1});
                if (window > 0) memory.land_any(random);
                if (i > window) CHECK(word(i - window - 1) == 1);
                overtaken |= i > 0 && word(i) == 1 && word(i - 1) == 0;
            }
            memory.store(sender, slots[0], {2, 2, 2, 2});
            memory.store(sender, slots[0], {3, 3, 3, 3});
            CHECK(memory.load(*sender, slots[0]).x == 3);
            while (!memory.empty()) memory.land_any(random);
            CHECK(word(0) == 3);
        }
        CHECK(overtaken == (window > 0));
    }
}
