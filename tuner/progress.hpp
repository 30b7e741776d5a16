#pragma once

#include <chrono>
#include <cstddef>
#include <string>

namespace crossover {

/// Progress with the time left, on stderr: one line that is rewritten on a terminal, else a plain line about once a
/// second.
class Progress {
  public:
    using Clock = std::chrono::steady_clock;

    /// @param total  how much there is to do, in any unit; estimates may be exceeded
    explicit Progress(std::size_t total);
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;
    /// Clears the line on a terminal.
    ~Progress();

    /// `done` more are done; `what` says at what it is, e.g. "session 1/4, world size 8".
    void advance(std::size_t done, const std::string& what);

  private:
    bool terminal_;
    std::size_t total_;
    std::size_t done_ = 0;
    Clock::time_point start_, last_shown_;
};

/// "12 s", "3 min 20 s", "1 h 05 min"
std::string duration_text(std::chrono::seconds duration);
/// "session 1/4, world size 8: 120 of 800, 15 %, 3 min 20 s left"
std::string progress_text(const std::string& what, std::size_t done, std::size_t total,
                          Progress::Clock::duration elapsed);

} // namespace crossover
