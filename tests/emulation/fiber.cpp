#include "tests/emulation/fiber.hpp"

#include <bit>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#ifdef CROSSOVER_SANITIZED // the address sanitizer knows one stack a thread unless it is told
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define CROSSOVER_SANITIZER(call) call
#else
#define CROSSOVER_SANITIZER(call)
#endif

namespace crossover::emulation {
namespace {

// The kernels' largest frames are some 3 KiB, four times that under the address sanitizer.
constexpr std::size_t kStackBytes = std::size_t{32} << 10;
constexpr std::uint64_t kCanary = 0x5AFE57AC5AFE57AC; // at the stack's far end

std::vector<std::unique_ptr<std::byte[]>>& free_stacks() {
    static std::vector<std::unique_ptr<std::byte[]>> stacks;
    return stacks;
}

std::unique_ptr<std::byte[]> take_stack() {
    auto& stacks = free_stacks();
    std::unique_ptr<std::byte[]> stack;
    if (stacks.empty()) {
        stack.reset(new std::byte[kStackBytes]); // not zeroed: pages that are not used cost nothing
    } else {
        stack = std::move(stacks.back());
        stacks.pop_back();
    }
    std::memcpy(stack.get(), &kCanary, sizeof kCanary);
    return stack;
}

/// Goes on from `to`. With the compiler's own longjmp: before the C library's, the address sanitizer forgets the whole
/// stack, with a system call, and a third of the time of a test was that.
[[gnu::noinline, gnu::no_sanitize_address]] void go_to(void** to) {
    __builtin_longjmp(to, 1); // not where __builtin_setjmp is called
}

} // namespace

Fiber::Fiber(std::function<void()> body) : body_(std::move(body)) {}

Fiber::~Fiber() {
    if (!stack_) return;
    if (std::memcmp(stack_.get(), &kCanary, sizeof kCanary) != 0) {
        std::fputs("emulation: a thread's stack has overflowed; raise kStackBytes in fiber.cpp\n", stderr);
        std::abort();
    }
    CROSSOVER_SANITIZER(__asan_unpoison_memory_region(stack_.get(), kStackBytes)); // not all calls have returned
    free_stacks().push_back(std::move(stack_));
}

void Fiber::enter(unsigned high, unsigned low) { // makecontext passes ints
    const std::uintptr_t address = std::uintptr_t{high} << 32 | low;
    auto* const fiber = std::bit_cast<Fiber*>(address);
    CROSSOVER_SANITIZER(__sanitizer_finish_switch_fiber(nullptr, &fiber->resumer_stack_, &fiber->resumer_stack_bytes_));
    fiber->body_();
    fiber->finished_ = true;
    CROSSOVER_SANITIZER(__sanitizer_start_switch_fiber(nullptr, fiber->resumer_stack_, fiber->resumer_stack_bytes_));
    go_to(fiber->resumer_);
}

void Fiber::resume() {
    if (!stack_) {
        stack_ = take_stack();
        getcontext(&start_);
        start_.uc_stack.ss_sp = stack_.get();
        start_.uc_stack.ss_size = kStackBytes;
        const auto self = reinterpret_cast<std::uintptr_t>(this);
        makecontext(&start_, reinterpret_cast<void (*)()>(&Fiber::enter), 2, static_cast<unsigned>(self >> 32),
                    static_cast<unsigned>(self));
    }
    CROSSOVER_SANITIZER(void* fake_stack = nullptr);
    CROSSOVER_SANITIZER(__sanitizer_start_switch_fiber(&fake_stack, stack_.get(), kStackBytes));
    switch_to(resumer_, own_);
    CROSSOVER_SANITIZER(__sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr));
}

void Fiber::suspend() {
    CROSSOVER_SANITIZER(void* fake_stack = nullptr);
    CROSSOVER_SANITIZER(__sanitizer_start_switch_fiber(&fake_stack, resumer_stack_, resumer_stack_bytes_));
    switch_to(own_, resumer_);
    CROSSOVER_SANITIZER(__sanitizer_finish_switch_fiber(fake_stack, &resumer_stack_, &resumer_stack_bytes_));
}

[[gnu::noinline, gnu::no_sanitize_address]] void Fiber::switch_to(Place& from, Place& to) {
    if (__builtin_setjmp(from) != 0) return;
    if (&to == &own_ && !started_) {
        started_ = true;
        setcontext(&start_);
    }
    go_to(to);
}

} // namespace crossover::emulation
