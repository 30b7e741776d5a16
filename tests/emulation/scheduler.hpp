#pragma once
/// Who runs next. Inside of the emulator; tests use machine.hpp.

#include "tests/emulation/fiber.hpp"
#include "tests/emulation/machine.hpp"
#include "tests/emulation/memory.hpp"

#include <array>
#include <deque>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace crossover::emulation {

struct Block;
struct Grid;
struct Thread;
struct Warp;

/// Threads that wait for one event.
using WaitList = std::vector<Thread*>;

/// A barrier that is used again and again.
struct Meeting {
    int expected = 0, arrived = 0;
    unsigned phase = 0;
    WaitList waiting;
};

struct Thread {
    Warp* warp = nullptr;
    Block* block = nullptr;
    int index = 0;
    std::uint64_t serial = 0;
    std::shared_ptr<Sender> sender = std::make_shared<Sender>();
    const char* waits_for = nullptr;
    std::optional<Fiber> fiber;
};

struct Warp {
    double speed = 1;
    std::vector<Thread*> ready;
    std::size_t place = 0; // among the scheduler's ready warps, while `ready` holds any
    Meeting meeting;
    std::array<std::array<unsigned, device::kWarp>, 2> shuffled{};
    std::array<Fences, 2> seen;           // before a __syncwarp
    std::shared_ptr<const Fenced> fenced; // by its lanes; null before the first fence
};

struct Block {
    struct Variable {
        int id;
        std::size_t offset, end;
    };
    static constexpr std::size_t kSharedBytes = 20480;

    Grid* grid = nullptr;
    int index = 0;
    int cluster_begin = 0; // index of the cluster's first block
    std::vector<Warp> warps;
    std::vector<std::unique_ptr<Thread>> threads;
    int ended_threads = 0;
    bool ended = false;
    bool released = false; // has triggered or ended
    Meeting meeting;
    std::array<bool, 2> all_hold{}; // before a __syncthreads_and
    WaitList at_mbarriers;
    std::vector<Variable> variables;
    alignas(16) std::array<std::byte, kSharedBytes> shared;
};

struct Grid {
    std::function<void()> kernel; // with its arguments
    int cluster_size;
    const std::byte* workspace; // of the rank; null without one
    std::size_t workspace_bytes;
    Stream* stream;
    bool pdl;
    int number; // in its stream
    int block_count, threads;
    std::vector<std::shared_ptr<Block>> blocks; // empty until it begins
    std::vector<Meeting> cluster_meetings;
    int released_blocks = 0, ended_blocks = 0;
};

class Scheduler {
  public:
    explicit Scheduler(Options options);

    void launch(Kernel kernel, device::Arguments arguments, const LaunchParameters& launch, Stream& stream);
    void launch(MoeKernel kernel, device::MoeArguments arguments, const MoeLaunch& launch, Stream& stream);
    void run();

    // By the running thread.
    static Scheduler& now_running();
    Thread& current() { return *current_; }
    /// Perhaps runs others first.
    void preempt();
    void wait(WaitList& list, const char* what);
    void wake(WaitList& list);
    void meet(Meeting& meeting, const char* what);
    /// Until a word lands there, or nobody can do anything but look again.
    void wait_for_landing(const std::byte* slot);
    void wait_for_launch_before();
    void trigger();

    Options options;
    Memory memory;
    std::uint64_t nanoseconds = 0;

  private:
    struct Queue {
        Stream* stream;
        std::deque<std::unique_ptr<Grid>> grids; // the first ones run
        WaitList for_launch_before;
    };
    Queue& queue_of(Stream& stream);
    void enqueue(std::function<void()> kernel, const Peers& peers, std::size_t generation_bytes, int blocks,
                 const LaunchParameters& launch, Stream& stream);
    bool may_begin(const Queue& queue, std::size_t grid) const;
    void begin_grids();
    void begin(Grid& grid);
    void run_thread(Thread& thread);
    void thread_ended(Thread& thread);
    void release(Block& block);
    void make_ready(Thread& thread);
    Warp* pick_warp();
    bool chance(double probability);
    double random_speed();
    /// Something must happen though no thread can go on. @throws EmulationError if nothing can
    void idle();
    [[noreturn]] void throw_deadlock() const;

    Memory::Random random_;
    unsigned landing_delay_; // steps for which a store is on its way, about; 0: until nobody can go on
    std::deque<Queue> queues_;
    std::vector<Warp*> ready_;
    std::unordered_multimap<const std::byte*, Thread*> looking_;
    Thread* current_ = nullptr;
    Warp* warp_ = nullptr; // of the last step
    std::exception_ptr error_;
    std::uint64_t threads_begun_ = 0, warps_begun_ = 0;
};

} // namespace crossover::emulation
