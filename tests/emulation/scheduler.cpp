#include "tests/emulation/scheduler.hpp"

#include <algorithm>
#include <map>
#include <utility>

Index threadIdx, blockIdx, blockDim, gridDim;

namespace crossover {

// Instead of launch.cu's.
void launch_kernel(Kernel kernel, const device::Arguments& arguments, const LaunchParameters& launch,
                   cudaStream_t stream) {
    stream->machine.scheduler().launch(kernel, arguments, launch, *stream);
}

void launch_kernel(MoeKernel kernel, const device::MoeArguments& arguments, const MoeLaunch& launch,
                   cudaStream_t stream) {
    stream->machine.scheduler().launch(kernel, arguments, launch, *stream);
}

int threads_on_gpu() { return 132 * 2048; }

namespace emulation {
namespace {

Scheduler* running = nullptr;

/// How far the clock goes on when all that threads can do is look again: 64 looks make a wait time out.
constexpr std::uint64_t kIdleNanoseconds = 100'000'000;
/// How often a thread lets others in where it could, and how often those are of another warp.
constexpr double kPreempt = 0.25, kChangeWarp = 0.15;

} // namespace

Machine::Machine(Options options) : scheduler_(std::make_unique<Scheduler>(std::move(options))) {}
Machine::~Machine() = default;
void Machine::run() { scheduler_->run(); }

Scheduler::Scheduler(Options given)
    : options(std::move(given)), memory(options.seed,
                                        [this](const std::byte* slot) {
                                            const auto [first, last] = looking_.equal_range(slot);
                                            for (auto at = first; at != last; ++at) make_ready(*at->second);
                                            looking_.erase(first, last);
                                        }),
      random_(static_cast<unsigned>(options.seed * 48271 + 1)) {
    random_.discard(8);
    constexpr std::array<unsigned, 4> delays{16, 512, 16384, 0};
    landing_delay_ = delays[random_() / 7 % delays.size()];
}

Scheduler& Scheduler::now_running() { return *running; }

// ---- launches

Scheduler::Queue& Scheduler::queue_of(Stream& stream) {
    for (Queue& queue : queues_)
        if (queue.stream == &stream) return queue;
    return queues_.emplace_back(Queue{&stream, {}, {}});
}

void Scheduler::launch(Kernel kernel, device::Arguments arguments, const LaunchParameters& launch, Stream& stream) {
    const int blocks = arguments.clusters * launch.cluster_size;
    const std::size_t generation_bytes = arguments.slots.generation_bytes;
    if (options.alter) options.alter(arguments);
    enqueue([=] { kernel(arguments); }, arguments.peers, generation_bytes, blocks, launch, stream);
}

void Scheduler::launch(MoeKernel kernel, device::MoeArguments arguments, const MoeLaunch& launch, Stream& stream) {
    const std::size_t generation_bytes = arguments.generation_bytes;
    if (options.alter_moe) options.alter_moe(arguments);
    enqueue([=] { kernel(arguments); }, arguments.peers, generation_bytes, launch.ctas,
            {.threads = launch.threads, .pdl = launch.pdl}, stream);
}

void Scheduler::enqueue(std::function<void()> kernel, const Peers& peers, std::size_t generation_bytes, int blocks,
                        const LaunchParameters& launch, Stream& stream) {
    queue_of(stream).grids.push_back(
        std::make_unique<Grid>(Grid{.kernel = std::move(kernel),
                                    .cluster_size = launch.cluster_size,
                                    .workspace = peers.base[peers.rank],
                                    .workspace_bytes = kControlBytes + 2 * generation_bytes,
                                    .stream = &stream,
                                    .pdl = launch.pdl,
                                    .number = stream.launched++,
                                    .block_count = blocks,
                                    .threads = launch.threads,
                                    .blocks = {},
                                    .cluster_meetings = {}}));
}

bool Scheduler::may_begin(const Queue& queue, std::size_t at) const {
    const Grid& grid = *queue.grids[at];
    if (!grid.blocks.empty()) return false;
    if (at == 0) return true;
    const Grid& before = *queue.grids[at - 1];
    return grid.pdl && !before.blocks.empty() &&
           (before.released_blocks == before.block_count || options.without_trigger);
}

void Scheduler::begin_grids() {
    for (Queue& queue : queues_)
        for (std::size_t at = 0; at < queue.grids.size() && (at == 0 || !queue.grids[at - 1]->blocks.empty()); ++at)
            if (may_begin(queue, at)) begin(*queue.grids[at]);
}

void Scheduler::begin(Grid& grid) {
    const auto rank = static_cast<std::size_t>(grid.stream->rank);
    const double rank_speed = rank < options.rank_speed.size() ? options.rank_speed[rank] : 1;
    const int cluster_size = grid.cluster_size;
    grid.cluster_meetings.resize(static_cast<std::size_t>(grid.block_count / cluster_size));
    for (Meeting& meeting : grid.cluster_meetings) meeting.expected = cluster_size * grid.threads;
    for (int index = 0; index < grid.block_count; ++index) {
        auto& block = *grid.blocks.emplace_back(std::make_shared<Block>());
        block.grid = &grid;
        block.index = index;
        block.cluster_begin = index / cluster_size * cluster_size;
        block.meeting.expected = grid.threads;
        block.shared.fill(std::byte{0xA5});
        block.warps.resize(static_cast<std::size_t>(grid.threads / device::kWarp));
        const double block_speed = rank_speed * random_speed();
        for (Warp& warp : block.warps) {
            warp.speed = block_speed * random_speed();
            warp.meeting.expected = device::kWarp;
        }
        for (int i = 0; i < grid.threads; ++i) {
            Thread& thread = *block.threads.emplace_back(std::make_unique<Thread>());
            thread.warp = &block.warps[static_cast<std::size_t>(i / device::kWarp)];
            thread.block = &block;
            thread.index = i;
            thread.sender->warp = warps_begun_ + static_cast<std::uint64_t>(i / device::kWarp);
            thread.sender->lane = static_cast<std::size_t>(i % device::kWarp);
            thread.serial = threads_begun_++;
            thread.fiber.emplace([this, &grid] {
                try {
                    grid.kernel();
                } catch (...) {
                    error_ = std::current_exception();
                }
            });
            make_ready(thread);
        }
        warps_begun_ += block.warps.size();
    }
}

void Scheduler::release(Block& block) {
    if (std::exchange(block.released, true)) return;
    if (++block.grid->released_blocks == block.grid->block_count) begin_grids();
}

void Scheduler::trigger() { release(*current_->block); }

void Scheduler::wait_for_launch_before() {
    const Grid& grid = *current_->block->grid;
    while (grid.stream->ended < grid.number && !options.without_pdl_wait)
        wait(queue_of(*grid.stream).for_launch_before, "the launch before (griddepcontrol.wait)");
}

void Scheduler::thread_ended(Thread& thread) {
    Block& block = *thread.block;
    Grid& grid = *block.grid;
    thread.fiber.reset();
    if (++block.ended_threads < grid.threads) return;
    block.ended = true;
    release(block);
    if (++grid.ended_blocks < grid.block_count) return;
    // What a launch has stored on its own GPU is there when it has ended.
    if (grid.workspace)
        for (const auto& each : grid.blocks)
            for (const auto& other : each->threads)
                memory.land_within(*other->sender, grid.workspace, grid.workspace_bytes);
    // A launch that did not wait for the one before may end first.
    Queue& queue = queue_of(*grid.stream);
    while (!queue.grids.empty() && queue.grids.front()->ended_blocks == queue.grids.front()->block_count) {
        queue.grids.pop_front();
        warp_ = nullptr; // it may have been of that launch
        ++queue.stream->ended;
    }
    wake(queue.for_launch_before);
    begin_grids();
}

// ---- who runs next

void Scheduler::run() {
    running = this;
    begin_grids();
    const auto queued = [](const Queue& queue) { return !queue.grids.empty(); };
    while (std::any_of(queues_.begin(), queues_.end(), queued)) {
        if (landing_delay_ > 0 && random_() % landing_delay_ < memory.size()) memory.land_any();
        if (ready_.empty()) {
            idle();
            continue;
        }
        if (!warp_ || warp_->ready.empty() || chance(kChangeWarp)) warp_ = pick_warp();
        Warp* const warp = warp_;
        std::swap(warp->ready[random_() % warp->ready.size()], warp->ready.back());
        Thread& thread = *warp->ready.back();
        warp->ready.pop_back();
        if (warp->ready.empty()) { // out of the list
            ready_[warp->place] = ready_.back();
            ready_[warp->place]->place = warp->place;
            ready_.pop_back();
        }
        run_thread(thread);
    }
    while (!memory.empty()) memory.land_any();
}

void Scheduler::run_thread(Thread& thread) {
    current_ = &thread;
    threadIdx.x = static_cast<unsigned>(thread.index);
    blockIdx.x = static_cast<unsigned>(thread.block->index);
    blockDim.x = static_cast<unsigned>(thread.block->grid->threads);
    gridDim.x = static_cast<unsigned>(thread.block->grid->block_count);
    ++nanoseconds;
    thread.fiber->resume();
    current_ = nullptr;
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
    if (thread.fiber->finished()) thread_ended(thread);
}

Warp* Scheduler::pick_warp() {
    Warp* warp = nullptr;
    for (int tries = 0; tries < 32; ++tries) {
        warp = ready_[random_() % ready_.size()];
        if (chance(warp->speed)) break;
    }
    return warp;
}

void Scheduler::make_ready(Thread& thread) {
    thread.waits_for = nullptr;
    Warp& warp = *thread.warp;
    if (warp.ready.empty()) {
        warp.place = ready_.size();
        ready_.push_back(&warp);
    }
    warp.ready.push_back(&thread);
}

bool Scheduler::chance(double probability) {
    return static_cast<double>(random_()) < probability * static_cast<double>(Memory::Random::max());
}

double Scheduler::random_speed() {
    constexpr std::array<double, 4> speeds{1, 1, 0.25, 0.03};
    return speeds[random_() / 7 % speeds.size()];
}

void Scheduler::preempt() {
    if (!chance(kPreempt)) return;
    make_ready(*current_);
    current_->fiber->suspend();
}

void Scheduler::wait(WaitList& list, const char* what) {
    current_->waits_for = what;
    list.push_back(current_);
    current_->fiber->suspend();
}

void Scheduler::wake(WaitList& list) {
    for (Thread* const thread : std::exchange(list, {})) make_ready(*thread);
}

void Scheduler::meet(Meeting& meeting, const char* what) {
    const unsigned phase = meeting.phase;
    if (++meeting.arrived == meeting.expected) {
        meeting.arrived = 0;
        ++meeting.phase;
        wake(meeting.waiting);
        return;
    }
    while (meeting.phase == phase) wait(meeting.waiting, what);
}

void Scheduler::wait_for_landing(const std::byte* slot) {
    current_->waits_for = "data";
    looking_.emplace(slot, current_);
    current_->fiber->suspend();
}

void Scheduler::idle() {
    if (!memory.empty()) {
        memory.land_any();
        return;
    }
    if (looking_.empty()) throw_deadlock();
    nanoseconds += kIdleNanoseconds;
    std::vector<Thread*> threads;
    for (const auto& [slot, thread] : looking_) threads.push_back(thread);
    looking_.clear();
    std::sort(threads.begin(), threads.end(), [](const auto* a, const auto* b) { return a->serial < b->serial; });
    for (Thread* const thread : threads) make_ready(*thread);
}

void Scheduler::throw_deadlock() const {
    std::map<std::string, std::pair<int, std::string>> waits; // count and one example
    for (const Queue& queue : queues_)
        for (const auto& grid : queue.grids)
            for (const auto& block : grid->blocks)
                for (const auto& thread : block->threads) {
                    if (!thread->waits_for) continue;
                    auto& [count, example] = waits[thread->waits_for];
                    if (count++ == 0)
                        example = "rank " + std::to_string(queue.stream->rank) + ", launch " +
                                  std::to_string(grid->number) + ", block " + std::to_string(block->index) +
                                  ", thread " + std::to_string(thread->index);
                }
    std::string text = "no thread can go on:";
    for (const auto& [what, wait] : waits)
        text += " " + std::to_string(wait.first) + " wait for " + what + " (" + wait.second + ")";
    throw EmulationError(text);
}

} // namespace emulation
} // namespace crossover
