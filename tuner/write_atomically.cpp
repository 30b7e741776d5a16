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

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what, int error) {
    throw InputError(path.string(), what + ": " + std::generic_category().message(error),
                     "name a file in an existing folder that you may write to");
}

mode_t current_umask() {
    const mode_t mask = ::umask(077); // can only be read by setting it
    ::umask(mask);
    return mask;
}

/// What a file of that name is to be renamed to.
struct Target {
    std::filesystem::path path; // where a link leads
    mode_t mode;

    std::filesystem::path folder() const { return path.has_parent_path() ? path.parent_path() : "."; }
};

Target target_of(const std::filesystem::path& path) {
    struct stat existing {};
    const bool exists = ::stat(path.c_str(), &existing) == 0; // of what a link leads to, /dev/stdout's pipe, too
    if (path.empty() || (exists && S_ISDIR(existing.st_mode))) fail(path, "cannot write the file", EISDIR);
    if (exists && !S_ISREG(existing.st_mode)) fail(path, "cannot replace what is not a regular file", EINVAL);
    std::error_code error;
    std::filesystem::path target = path;
    if (std::filesystem::is_symlink(path, error)) target = std::filesystem::weakly_canonical(path, error);
    if (target.empty()) fail(path, "cannot follow the link", error.value());

    // rename() asks only for a writable folder; a read-only file is a wish to be respected all the same.
    if (exists && ::faccessat(AT_FDCWD, target.c_str(), W_OK, AT_EACCESS) != 0)
        fail(path, "cannot write the file", errno);
    return {std::move(target), exists ? existing.st_mode & 07777 : 0666 & ~current_umask()};
}

/// A file beside the target that vanishes with its owner unless it was renamed. @throws InputError naming `path`
class TemporaryFile {
  public:
    TemporaryFile(const Target& target, const std::filesystem::path& path)
        : name_((target.folder() / ("." + target.path.filename().string() + ".XXXXXX")).string()),
          fd_(::mkostemp(name_.data(), O_CLOEXEC)) {
        if (fd_ < 0) fail(path, "cannot create a file in its folder", errno);
    }
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;
    ~TemporaryFile() {
        ::close(fd_);
        if (!renamed_) ::unlink(name_.c_str());
    }

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

/// Makes the rename itself survive a crash. A file system that cannot sync folders has nothing better to offer.
void sync_folder(const std::filesystem::path& folder) {
    const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    ::fsync(fd);
    ::close(fd);
}

} // namespace

void require_writable(const std::filesystem::path& path) { const TemporaryFile file(target_of(path), path); }

void write_atomically(const std::filesystem::path& path, std::string_view text) {
    const Target target = target_of(path);
    TemporaryFile file(target, path);
    if (!file.write(text) || !file.set_mode(target.mode) || !file.sync() || !file.rename_to(target.path.string()))
        fail(path, "cannot write the file", errno);
    sync_folder(target.folder());
}

} // namespace crossover
