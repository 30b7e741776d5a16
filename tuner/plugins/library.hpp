#pragma once
/// A loaded library of candidates, and whether it speaks our version of kernels/crossover_candidate.h.

#include "kernels/crossover_candidate.h"
#include "tuner/config.hpp"
#include "tuner/plugin_info.hpp"

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace crossover {

class PluginLibrary {
  public:
    /// Loads it and checks what it says of itself. Runs its code: see inspect_library() for a file that nobody knows.
    /// @throws InputError if it is no shared library of this machine's kind, lacks crossover_candidate_get, speaks
    /// another major version, or describes a candidate that cannot be used (name, role, missing functions)
    explicit PluginLibrary(const std::filesystem::path& path);

    const std::vector<const crossover_candidate*>& candidates() const { return candidates_; }
    /// @throws InputError if it has none of that name
    const crossover_candidate& find(const std::string& name) const;

  private:
    struct Close {
        void operator()(void* handle) const noexcept;
    };
    std::string path_;
    std::unique_ptr<void, Close> handle_;
    std::vector<const crossover_candidate*> candidates_;
};

/// The largest messages, up to `max_message_bytes`, for which the candidate's workspace is within `limit`.
struct WorkspaceFit {
    std::uint64_t max_message_bytes = 0; // 0: not even for the smallest
    std::uint64_t bytes = 0;
};
WorkspaceFit fit_workspace(const crossover_candidate& candidate, int world_size, std::uint64_t max_message_bytes,
                           std::uint64_t limit);

/// 16 hexadecimal digits of the file's content (tuner/content_hash.hpp). @throws InputError if it cannot be read
std::string plugin_checksum(const std::filesystem::path& path);

/// Describes the candidates of a library, as the config would set them up, from a process of its own, so that one that
/// crashes or hangs while it is loaded does no harm. @throws InputError as PluginLibrary, and if it does crash or hang
std::vector<PluginInfo> inspect_library(const std::filesystem::path& path, const Config& config);
/// The candidates of all of them.
std::vector<PluginInfo> inspect_libraries(const std::vector<std::string>& paths, const Config& config);

} // namespace crossover
