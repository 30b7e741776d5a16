#pragma once
/// File descriptors that close themselves, and what is done with them.

#include <cerrno>
#include <string_view>
#include <system_error>
#include <utility>

#include <unistd.h>

namespace crossover {

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

/// Closed on exec, whatever the other `flags`. @throws std::system_error
Pipe make_pipe(int flags);

/// All of the text, or as much as the other end takes before it is gone.
void write_all(int descriptor, std::string_view text) noexcept;

} // namespace crossover
