#pragma once
/// One rank process, as the process that supervises it sees it.

#include "comm/launch.hpp"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <string>
#include <system_error>
#include <utility>

#include <unistd.h>

namespace crossover {

/// What a rank process finds the descriptor in that ProgressReporter writes to.
inline constexpr const char* kProgressVariable = "CROSSOVER_PROGRESS_FD";

[[noreturn]] inline void throw_errno(const char* what) {
    throw std::system_error(errno, std::generic_category(), what);
}

class Descriptor {
  public:
    Descriptor() = default;
    explicit Descriptor(int descriptor) : descriptor_(descriptor) {}
    Descriptor(Descriptor&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        std::swap(descriptor_, other.descriptor_);
        return *this;
    }
    ~Descriptor() { reset(); }
    void reset() noexcept {
        if (descriptor_ >= 0) close(std::exchange(descriptor_, -1));
    }
    int get() const noexcept { return descriptor_; }

  private:
    int descriptor_ = -1;
};

struct Pipe {
    Descriptor read, write;
};

/// @throws std::system_error
Pipe make_pipe(int flags);

/// One running rank process.
struct Child {
    RankProcess who;
    pid_t pid = -1;    // -1 once reaped
    Descriptor output; // what a rank other than 0 writes
    std::string line;  // the part of it without a line end yet
    std::chrono::steady_clock::time_point last_progress;
};

/// Starts one of the job's processes, with `mask` as its signal mask. @throws std::system_error
Child start_rank_process(const RankJob& job, const RankProcess& who, const Pipe& progress, const sigset_t& mask);

/// Passes on to stderr what has arrived, whole lines only (`all`: the rest, too), so that lines of ranks do not mix.
void pass_on(Child& child, bool all);

} // namespace crossover
