#include "comm/descriptor.hpp"

#include <fcntl.h>

namespace crossover {

Pipe make_pipe(int flags) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | flags) != 0) throw_errno("pipe2");
    return {Descriptor(ends[0]), Descriptor(ends[1])};
}

void write_all(int descriptor, std::string_view text) noexcept {
    while (!text.empty()) {
        const ssize_t written = write(descriptor, text.data(), text.size());
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return;
        text.remove_prefix(static_cast<std::size_t>(written));
    }
}

} // namespace crossover
