#pragma once
/// Stackful coroutines: a function that can stop in the middle of any call it makes, and go on later.

#include <cstddef>
#include <functional>
#include <memory>

#include <ucontext.h>

namespace crossover::emulation {

class Fiber {
  public:
    /// `body` begins with the first resume(); it must not throw.
    explicit Fiber(std::function<void()> body);
    Fiber(const Fiber&) = delete;
    Fiber& operator=(const Fiber&) = delete;
    /// What lies on the stack of a fiber that has not finished is not destroyed.
    ~Fiber();

    /// Runs the body until it suspends or returns. Not from within a fiber.
    void resume();
    /// Back to who resumed this fiber; by its body.
    void suspend();
    bool finished() const { return finished_; }

  private:
    using Place = void* [5]; // in a stack, as __builtin_setjmp keeps it

    static void enter(unsigned high, unsigned low);
    /// Keeps where the caller is in `from`, and goes on from `to`.
    void switch_to(Place& from, Place& to);

    std::function<void()> body_;
    std::unique_ptr<std::byte[]> stack_;
    ucontext_t start_{}; // makes the stack; the switches, millions of them, are without swapcontext's system call
    Place own_{}, resumer_{};
    bool started_ = false;
    const void* resumer_stack_ = nullptr; // for the address sanitizer
    std::size_t resumer_stack_bytes_ = 0;
    bool finished_ = false;
};

} // namespace crossover::emulation
