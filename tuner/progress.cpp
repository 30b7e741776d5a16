#include "tuner/progress.hpp"

#include <algorithm>
#include <cstdio>
#include <unistd.h>

namespace crossover {

using namespace std::chrono_literals;

Progress::Progress(std::size_t total)
    : terminal_(::isatty(STDERR_FILENO) == 1), total_(total), start_(Clock::now()), last_shown_(start_) {}

Progress::~Progress() {
    if (terminal_) std::fputs("\r\x1b[K", stderr);
}

void Progress::advance(std::size_t done, const std::string& what) {
    done_ += done;
    const auto now = Clock::now();
    if (now - last_shown_ < (terminal_ ? 100ms : 1s)) return;
    last_shown_ = now;
    const std::string text = progress_text(what, done_, total_, now - start_);
    std::fprintf(stderr, terminal_ ? "\r\x1b[K%s" : "%s\n", text.c_str());
    std::fflush(stderr);
}

std::string duration_text(std::chrono::seconds duration) {
    const auto seconds = duration.count();
    char text[48];
    if (seconds < 60)
        std::snprintf(text, sizeof text, "%d s", static_cast<int>(seconds));
    else if (seconds < 3600)
        std::snprintf(text, sizeof text, "%d min %02d s", static_cast<int>(seconds / 60),
                      static_cast<int>(seconds % 60));
    else
        std::snprintf(text, sizeof text, "%d h %02d min", static_cast<int>(seconds / 3600),
                      static_cast<int>(seconds / 60 % 60));
    return text;
}

std::string progress_text(const std::string& what, std::size_t done, std::size_t total,
                          Progress::Clock::duration elapsed) {
    total = std::max(total, done);
    std::string text = what + ": " + std::to_string(done) + " of " + std::to_string(total);
    if (done == 0) return text;
    const double share = static_cast<double>(done) / static_cast<double>(total);
    const auto left = std::chrono::duration<double>(elapsed) * (1 / share - 1);
    return text + ", " + std::to_string(static_cast<int>(100 * share)) + " %, " +
           duration_text(std::chrono::duration_cast<std::chrono::seconds>(left + 0.5s)) + " left";
}

} // namespace crossover
