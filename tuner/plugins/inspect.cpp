// inspect_library(), declared in library.hpp.

#include "comm/descriptor.hpp"
#include "tuner/error.hpp"
#include "tuner/plugins/library.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <optional>
#include <poll.h>
#include <sstream>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace crossover {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

/// Loading a library with kernels for all architectures takes a second or so.
constexpr auto kLimit = 30s;

/// A line for each fact; the reader is read_description().
std::string describe(const std::filesystem::path& path, const Config& config) {
    std::ostringstream text;
    try {
        const PluginLibrary library(path);
        for (const crossover_candidate* const candidate : library.candidates()) {
            text << "candidate " << candidate->name << ' ' << candidate->role << ' ' << candidate->version << '\n';
            for (const int world_size : config.world_sizes)
                text << "workspace " << world_size << ' '
                     << fit_workspace(*candidate, world_size, config.max_message_bytes, config.workspace_limit_bytes)
                            .bytes
                     << '\n';
        }
        text << "end\n";
    } catch (const std::exception& error) {
        return "error " + std::string(error.what());
    }
    return text.str();
}

/// What the child writes until it closes the pipe; nothing after kLimit.
std::optional<std::string> read_all(int descriptor) {
    std::string text;
    const auto deadline = Clock::now() + kLimit;
    while (true) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
        pollfd watched{descriptor, POLLIN, 0};
        const int ready = left.count() > 0 ? ::poll(&watched, 1, static_cast<int>(left.count())) : 0;
        if (ready < 0 && errno == EINTR) continue;
        if (ready <= 0) return std::nullopt;
        char buffer[4096];
        const ssize_t got = ::read(descriptor, buffer, sizeof buffer);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return text;
        text.append(buffer, static_cast<std::size_t>(got));
    }
}

/// What a process of its own said of a library, and how it ended.
struct Description {
    std::optional<std::string> text; // nothing if it hung
    int status = 0;                  // as of waitpid()
};

Description describe_apart(const std::filesystem::path& path, const Config& config) {
    Pipe pipe = make_pipe(0);
    const pid_t child = ::fork();
    if (child < 0) throw_errno("fork");
    if (child == 0) {
        for (const int signal : {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV}) ::signal(signal, SIG_DFL); // not our report
        write_all(pipe.write.get(), describe(path, config));
        ::_exit(0); // no destructors: nothing of the parent's is ours to end
    }
    pipe.write.reset();
    Description description{.text = read_all(pipe.read.get())};
    if (!description.text) ::kill(child, SIGKILL);
    while (::waitpid(child, &description.status, 0) < 0 && errno == EINTR) {
    }
    return description;
}

/// @throws InputError if the library hung, crashed or was refused
void require_described(const Description& description, const std::string& where) {
    constexpr const char* kRemedy = "load it in a program of your own first";
    const auto& [text, status] = description;
    if (!text)
        throw InputError(where, "hung for " + std::to_string(kLimit.count()) + " s while it was loaded", kRemedy);
    if (text->starts_with("error ")) {
        std::string message = text->substr(std::strlen("error "));
        if (message.starts_with(where + ": ")) message.erase(0, where.size() + 2);
        const std::size_t remedy = std::min(message.rfind("; "), message.size());
        throw InputError(where, message.substr(0, remedy),
                         remedy < message.size() ? message.substr(remedy + 2) : std::string(kRemedy));
    }
    if (!text->ends_with("end\n"))
        throw InputError(where,
                         WIFSIGNALED(status) ? "was killed by signal " + std::to_string(WTERMSIG(status)) + " (" +
                                                   strsignal(WTERMSIG(status)) + ") while it was loaded"
                                             : "ended the process while it was loaded",
                         kRemedy);
}

std::vector<PluginInfo> read_description(const std::string& text, const std::filesystem::path& path) {
    std::vector<PluginInfo> infos;
    std::istringstream lines(text);
    for (std::string word; lines >> word && word != "end";) {
        if (word == "candidate") {
            PluginInfo& info = infos.emplace_back();
            int role = 0;
            lines >> info.name >> role >> std::ws;
            info.role = static_cast<Role>(role);
            std::getline(lines, info.version);
            info.library = std::filesystem::canonical(path).string();
        } else {
            int world_size = 0;
            lines >> world_size >> infos.back().workspace_bytes[world_size];
        }
    }
    return infos;
}

} // namespace

std::vector<PluginInfo> inspect_library(const std::filesystem::path& path, const Config& config) {
    const std::string checksum = plugin_checksum(path); // also says if it cannot be read
    const Description description = describe_apart(path, config);
    require_described(description, path.string());
    std::vector<PluginInfo> infos = read_description(*description.text, path);
    for (PluginInfo& info : infos) info.checksum = checksum;
    return infos;
}

std::vector<PluginInfo> inspect_libraries(const std::vector<std::string>& paths, const Config& config) {
    std::vector<PluginInfo> all;
    for (const std::string& path : paths)
        for (PluginInfo& info : inspect_library(path, config)) all.push_back(std::move(info));
    return all;
}

} // namespace crossover
