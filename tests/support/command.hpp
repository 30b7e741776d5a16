#pragma once
/// Runs other programs from tests, in a folder of their own.

#include "tuner/scratch_folder.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <sys/wait.h>

namespace crossover::test {

struct CommandResult {
    int status = 0;     // exit status; 128 + signal if killed
    std::string output; // stdout and stderr
};

inline CommandResult run_command(const std::string& command) {
    std::FILE* pipe = ::popen(("{ " + command + "\n} 2>&1").c_str(), "r");
    if (pipe == nullptr) throw std::runtime_error("popen failed: " + command);
    CommandResult result;
    for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) result.output += static_cast<char>(c);
    const int status = ::pclose(pipe);
    result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return result;
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// True if `command` succeeds; else says on stdout that the rest of this test is skipped and what it needs.
inline bool has(const std::string& command, const std::string& what) {
    if (run_command(command).status == 0) return true;
    MESSAGE("SKIPPED, needs " << what);
    return false;
}

/// The program refused: exit status 2 and, after what it said on stdout, one line that begins like this and has a
/// remedy.
inline void check_refused(const CommandResult& result, const std::string& beginning) {
    CAPTURE(result.output);
    CHECK(result.status == 2);
    const std::size_t at = result.output.find("crossover: error: ");
    REQUIRE(at != std::string::npos);
    const std::string error = result.output.substr(at);
    CHECK(result.output.find("crossover: error: " + beginning) != std::string::npos);
    CHECK(error.back() == '\n');
    CHECK(std::count(error.begin(), error.end(), '\n') == 1);
    CHECK(error.find("; ") != std::string::npos); // the remedy
}

/// The same, and with nothing on stdout.
inline void check_only_refused(const CommandResult& result, const std::string& beginning = "") {
    check_refused(result, beginning);
    CHECK(result.output.starts_with("crossover: error: "));
}

/// A fresh folder that goes away with its owner.
struct TemporaryFolder : ScratchFolder {
    /// Runs a command in it.
    CommandResult run(const std::string& command) const {
        return run_command("cd " + path().string() + " && " + command);
    }
    /// Writes a file in it and gives its path.
    std::string write(const std::string& name, const std::string& text) const {
        const std::filesystem::path file = path() / name;
        std::ofstream(file, std::ios::binary) << text;
        return file.string();
    }
};

inline std::string read_text(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    REQUIRE_MESSAGE(file.good(), path.string());
    return {std::istreambuf_iterator<char>(file), {}};
}

} // namespace crossover::test
