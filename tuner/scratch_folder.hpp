#pragma once

#include <filesystem>

namespace crossover {

/// A fresh, empty folder of this process alone, in TMPDIR or /tmp; it goes away, with all in it, with its owner.
class ScratchFolder {
  public:
    /// @throws InputError if none can be made there
    ScratchFolder();
    ScratchFolder(const ScratchFolder&) = delete;
    ScratchFolder& operator=(const ScratchFolder&) = delete;
    ~ScratchFolder();

    const std::filesystem::path& path() const { return path_; }

  private:
    std::filesystem::path path_;
};

} // namespace crossover
