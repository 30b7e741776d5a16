#pragma once
/// One rank process, as the process that supervises it sees it.

#include "comm/descriptor.hpp"
#include "comm/launch.hpp"

#include <chrono>
#include <csignal>
#include <string>

namespace crossover {

/// What a rank process finds the descriptor in that ProgressReporter writes to.
inline constexpr const char* kProgressVariable = "CROSSOVER_PROGRESS_FD";

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
