#include "tuner/write_atomically.hpp"

#include "tuner/error.hpp"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <string>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace crossover {
namespace {

/// A file that vanishes with its owner unless it was renamed.
class TemporaryFile {
  public:
    explicit TemporaryFile(std::string name_pattern)
        : name_(std::move(name_pattern)), fd_(::mkostemp(name_.data(), O_CLOEXEC)) {}
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;
    ~TemporaryFile() {
        if (fd_ < 0) return;
        ::close(fd_);
        if (!renamed_) ::unlink(name_.c_str());
    }

    bool is_open() const { return fd_ >= 0; }

    bool write(std::string_view text) const {
        while (!text.empty()) {
            const ssize_t written = ::write(fd_, text.data(), text.size());
            if (written < 0 && errno == EINTR) continue;
            if (written <= 0) return false;
            text.remove_prefix(static_cast<std::size_t>(written));
        }
        return true;
    }

    bool set_mode(mode_t mode) const { return ::fchmod(fd_, mode) == 0; }
    bool sync() const { return ::fsync(fd_) == 0; }
    bool rename_to(const std::string& target) { return renamed_ = ::rename(name_.c_str(), target.c_str()) == 0; }

  private:
    std::string name_;
    int fd_;
    bool renamed_ = false;
};

mode_t current_umask() {
    const mode_t mask = ::umask(077); // can only be read by setting it
    ::umask(mask);
    return mask;
}

/// Makes the rename itself survive a crash. A file system that cannot sync folders has nothing better to offer.
void sync_folder(const std::filesystem::path& folder) {
    const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    ::fsync(fd);
    ::close(fd);
}

} // namespace

void write_atomically(const std::filesystem::path& path, std::string_view text) {
    const auto fail = [&path](const std::string& what, int error) {
        throw InputError(path.string(), what + ": " + std::generic_category().message(error),
                         "name a file in an existing folder that you may write to");
    };
    struct stat existing {};
    const bool exists = ::stat(path.c_str(), &existing) == 0; // of what a link leads to, /dev/stdout's pipe, too
    if (path.empty() || (exists && S_ISDIR(existing.st_mode))) fail("cannot write the file", EISDIR);
    if (exists && !S_ISREG(existing.st_mode)) fail("cannot replace what is not a regular file", EINVAL);
    std::error_code error;
    std::filesystem::path target = path;
    if (std::filesystem::is_symlink(path, error)) target = std::filesystem::weakly_canonical(path, error);
    if (target.empty()) fail("cannot follow the link", error.value());
    const std::filesystem::path folder = target.has_parent_path() ? target.parent_path() : ".";

    // rename() asks only for a writable folder; a read-only file is a wish to be respected all the same.
    if (exists && ::faccessat(AT_FDCWD, target.c_str(), W_OK, AT_EACCESS) != 0) fail("cannot write the file", errno);

    std::string hidden_name = ".";
    hidden_name += target.filename().string() + ".XXXXXX";
    TemporaryFile file((folder / hidden_name).string());
    if (!file.is_open()) fail("cannot create a file in its folder", errno);
    if (!file.write(text) || !file.set_mode(exists ? existing.st_mode & 07777 : 0666 & ~current_umask()) ||
        !file.sync() || !file.rename_to(target.string()))
        fail("cannot write the file", errno);
    sync_folder(folder);
}

} // namespace crossover
