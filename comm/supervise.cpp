// supervise_ranks() and ProgressReporter, declared in launch.hpp.

#include "comm/rank_process.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

namespace crossover {
namespace {

using Clock = std::chrono::steady_clock;

/// While it lives, the signals that concern the supervisor arrive at descriptor().
class SignalScope {
  public:
    SignalScope() {
        sigemptyset(&watched_);
        sigaddset(&watched_, SIGCHLD);
        // A signal that is ignored (nohup) must stay so; blocked, it would reach the descriptor all the same.
        for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
            struct sigaction action {};
            sigaction(signal, nullptr, &action);
            if (action.sa_handler != SIG_IGN) sigaddset(&watched_, signal);
        }
        // Launchers that ignore SIGCHLD hand that down; then children would vanish without an exit code.
        struct sigaction by_default {};
        by_default.sa_handler = SIG_DFL;
        sigaction(SIGCHLD, &by_default, &former_child_action_);
        pthread_sigmask(SIG_BLOCK, &watched_, &former_mask_);
        descriptor_ = Descriptor(signalfd(-1, &watched_, SFD_CLOEXEC | SFD_NONBLOCK));
        if (descriptor_.get() < 0) {
            restore();
            throw_errno("signalfd");
        }
    }
    SignalScope(const SignalScope&) = delete;
    SignalScope& operator=(const SignalScope&) = delete;
    ~SignalScope() { restore(); }
    int descriptor() const { return descriptor_.get(); }
    const sigset_t& former_mask() const { return former_mask_; }

  private:
    void restore() {
        pthread_sigmask(SIG_SETMASK, &former_mask_, nullptr);
        sigaction(SIGCHLD, &former_child_action_, nullptr);
    }
    sigset_t watched_{}, former_mask_{};
    struct sigaction former_child_action_ {};
    Descriptor descriptor_;
};

RankFailure exit_failure(int rank, int status) {
    RankFailure failure{.rank = rank};
    const std::string name = "rank " + std::to_string(rank);
    if (WIFSIGNALED(status)) {
        failure.kind = RankFailureKind::signalled;
        failure.code = WTERMSIG(status);
        failure.message =
            name + " was killed by signal " + std::to_string(failure.code) + " (" + strsignal(failure.code) + ")";
    } else {
        failure.code = WEXITSTATUS(status);
        failure.message = name + " exited with code " + std::to_string(failure.code);
    }
    return failure;
}

std::string seconds(std::chrono::milliseconds duration) {
    const std::string tenths = std::to_string((duration.count() + 50) / 100);
    return (tenths.size() > 1 ? tenths.substr(0, tenths.size() - 1) : "0") + "." + tenths.back() + " s";
}

/// All rank processes of a job; none outlives it.
class Job {
  public:
    explicit Job(const RankJob& job) : job_(job), progress_(make_pipe(O_NONBLOCK)), started_(Clock::now()) {
        try {
            for (const RankProcess& who : job.ranks)
                children_.push_back(start_rank_process(job, who, progress_, signals_.former_mask()));
        } catch (...) {
            kill_and_reap();
            throw;
        }
    }
    ~Job() { kill_and_reap(); }

    std::optional<RankFailure> run() {
        while (running() > 0) {
            wait_for_events();
            read_progress();
            read_signals();
            for (Child& child : children_)
                if (child.output.get() >= 0) pass_on(child, false);
            reap();
            check_limits();
        }
        for (Child& child : children_)
            if (child.output.get() >= 0 || !child.line.empty()) pass_on(child, true);
        return failure_;
    }

  private:
    std::ptrdiff_t running() const {
        return std::count_if(children_.begin(), children_.end(), [](const Child& child) { return child.pid > 0; });
    }

    void wait_for_events() {
        std::vector<pollfd> watched{{signals_.descriptor(), POLLIN, 0}, {progress_.read.get(), POLLIN, 0}};
        for (const Child& child : children_)
            if (child.output.get() >= 0) watched.push_back({child.output.get(), POLLIN, 0});
        // Limits are checked at least this often.
        if (poll(watched.data(), watched.size(), 50) < 0 && errno != EINTR) throw_errno("poll");
    }

    void read_progress() {
        int rank = 0;
        while (read(progress_.read.get(), &rank, sizeof rank) == sizeof rank)
            for (Child& child : children_)
                if (child.who.rank == rank) child.last_progress = Clock::now();
    }

    void read_signals() {
        signalfd_siginfo info{};
        while (read(signals_.descriptor(), &info, sizeof info) == sizeof info) {
            const int signal = static_cast<int>(info.ssi_signo);
            if (signal == SIGCHLD) continue; // reap() looks
            stop(signal, {.kind = RankFailureKind::interrupted,
                          .code = signal,
                          .message = std::string("interrupted by signal ") + std::to_string(signal) + " (" +
                                     strsignal(signal) + ")"});
        }
    }

    void reap() {
        for (Child& child : children_) {
            int status = 0;
            if (child.pid <= 0 || waitpid(child.pid, &status, WNOHANG) != child.pid) continue;
            child.pid = -1;
            if (status != 0) stop(SIGTERM, exit_failure(child.who.rank, status));
        }
    }

    void check_limits() {
        const Clock::time_point now = Clock::now();
        if (failure_) {
            if (now >= kill_at_) send(SIGKILL);
            return;
        }
        if (job_.time_limit.count() > 0 && now - started_ >= job_.time_limit)
            return stop(SIGTERM, {.kind = RankFailureKind::time_limit,
                                  .message = "the ranks did not end within " + seconds(job_.time_limit)});
        // Ranks wait for each other, so that one that hangs soon stops all; a rank that is merely idle is no failure.
        const auto by_progress = [](const Child& a, const Child& b) { return a.last_progress < b.last_progress; };
        const auto [oldest, newest] = std::minmax_element(children_.begin(), children_.end(), by_progress);
        if (job_.progress_limit.count() > 0 && now - newest->last_progress >= job_.progress_limit)
            stop(SIGTERM, {.kind = RankFailureKind::no_progress,
                           .rank = oldest->who.rank,
                           .message = "no rank got on for " + seconds(job_.progress_limit) + "; rank " +
                                      std::to_string(oldest->who.rank) + " fell silent first"});
    }

    /// The first failure is the cause, what follows is its consequence.
    void stop(int signal, RankFailure failure) {
        if (failure_) return;
        failure_ = std::move(failure);
        kill_at_ = Clock::now() + job_.grace;
        send(signal);
    }

    void send(int signal) const noexcept {
        for (const Child& child : children_)
            if (child.pid > 0) kill(child.pid, signal);
    }

    void kill_and_reap() noexcept {
        send(SIGKILL);
        for (Child& child : children_)
            if (child.pid > 0) waitpid(std::exchange(child.pid, -1), nullptr, 0);
    }

    const RankJob& job_;
    SignalScope signals_;
    Pipe progress_;
    std::vector<Child> children_;
    Clock::time_point started_;
    std::optional<RankFailure> failure_;
    Clock::time_point kill_at_;
};

} // namespace

std::optional<RankFailure> supervise_ranks(const RankJob& job) { return Job(job).run(); }

ProgressReporter::ProgressReporter(const Environment& environment)
    : descriptor_(integer_variable(environment, kProgressVariable, 0, 1 << 20).value_or(-1)),
      rank_(integer_variable(environment, "RANK", 0, 1 << 20).value_or(0)) {}

void ProgressReporter::report() const noexcept {
    if (descriptor_ >= 0) {
        // Full (the supervisor reads it every 50 ms) or gone (then this process is about to be killed): no matter.
        [[maybe_unused]] const ssize_t ignored = write(descriptor_, &rank_, sizeof rank_);
    }
}

} // namespace crossover
