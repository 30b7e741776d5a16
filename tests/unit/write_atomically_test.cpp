#include "tests/support/command.hpp"
#include "tuner/error.hpp"
#include "tuner/write_atomically.hpp"

#include <doctest/doctest.h>

#include <csignal>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace crossover;
namespace fs = std::filesystem;

namespace {

std::size_t entries(const fs::path& folder) {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

/// Files larger than this cannot be written while it lives: the write fails half-way, as on a full disk.
class FileSizeLimit {
  public:
    explicit FileSizeLimit(rlim_t bytes) {
        ::getrlimit(RLIMIT_FSIZE, &before_);
        ::signal(SIGXFSZ, SIG_IGN);
        const rlimit limit{bytes, before_.rlim_max};
        ::setrlimit(RLIMIT_FSIZE, &limit);
    }
    FileSizeLimit(const FileSizeLimit&) = delete;
    FileSizeLimit& operator=(const FileSizeLimit&) = delete;
    ~FileSizeLimit() { ::setrlimit(RLIMIT_FSIZE, &before_); }

  private:
    rlimit before_{};
};

/// The superuser may write anywhere, so for its lifetime a test run by root is nobody, who owns `folder`.
class OrdinaryUser {
  public:
    explicit OrdinaryUser(const fs::path& folder) : was_root_(::geteuid() == 0) {
        if (!was_root_) return;
        REQUIRE(::chown(folder.c_str(), kNobody, static_cast<gid_t>(-1)) == 0);
        REQUIRE(::seteuid(kNobody) == 0);
    }
    OrdinaryUser(const OrdinaryUser&) = delete;
    OrdinaryUser& operator=(const OrdinaryUser&) = delete;
    ~OrdinaryUser() {
        if (was_root_ && ::seteuid(0) != 0) std::abort();
    }

  private:
    static constexpr uid_t kNobody = 65534;
    bool was_root_;
};

} // namespace

TEST_CASE("a new file and a replaced one") {
    const test::TemporaryFolder folder;
    const fs::path file = folder.path() / "table.yaml";
    const std::string text(300000, 'x');
    write_atomically(file, text);
    CHECK(test::read_text(file) == text);
    write_atomically(file, "");
    CHECK(test::read_text(file).empty());
    CHECK(entries(folder.path()) == 1);
}

TEST_CASE("permissions: the umask's for a new file, its own for an old one") {
    const test::TemporaryFolder folder;
    const fs::path file = folder.path() / "f";
    const mode_t before = ::umask(027);
    write_atomically(file, "1");
    ::umask(before);
    CHECK((fs::status(file).permissions() & fs::perms::all) == fs::perms(0640));
    fs::permissions(file, fs::perms(0604));
    write_atomically(file, "2");
    CHECK((fs::status(file).permissions() & fs::perms::all) == fs::perms(0604));
}

TEST_CASE("a symbolic link stays one") {
    const test::TemporaryFolder folder;
    fs::create_directory(folder.path() / "real");
    write_atomically(folder.path() / "real" / "f", "old");
    fs::create_symlink("real/f", folder.path() / "link");
    write_atomically(folder.path() / "link", "new");
    CHECK(fs::is_symlink(folder.path() / "link"));
    CHECK(test::read_text(folder.path() / "real" / "f") == "new");
    CHECK(entries(folder.path()) == 2);
}

TEST_CASE("a name without folder goes to the current one") {
    const test::TemporaryFolder folder;
    const fs::path before = fs::current_path();
    fs::current_path(folder.path());
    write_atomically("f", "text");
    fs::current_path(before);
    CHECK(test::read_text(folder.path() / "f") == "text");
}

TEST_CASE("what cannot be written is an error that names it") {
    const test::TemporaryFolder folder;
    for (const fs::path& path : {folder.path() / "no such folder" / "f", folder.path(), fs::path("/proc/nothing/f"),
                                 fs::path("/dev/null"), fs::path("")}) {
        CAPTURE(path.string());
        CHECK_THROWS_AS(write_atomically(path, "text"), InputError);
        CHECK_THROWS_AS(require_writable(path), InputError);
    }
    try {
        write_atomically(folder.path() / "no" / "f", "text");
    } catch (const InputError& error) {
        CHECK(std::string(error.what()).find((folder.path() / "no" / "f").string()) == 0);
        CHECK(std::string(error.what()).find("No such file or directory") != std::string::npos);
    }
    CHECK_NOTHROW(require_writable(folder.path() / "f"));
    CHECK(entries(folder.path()) == 0);
}

TEST_CASE("links that lead to no regular file say where to") {
    const test::TemporaryFolder folder;
    const auto refusal = [&](const char* name) {
        try {
            write_atomically(folder.path() / name, "text");
        } catch (const InputError& error) {
            return std::string(error.what());
        }
        return std::string("written");
    };
    REQUIRE(::mkfifo((folder.path() / "pipe").c_str(), 0600) == 0);
    fs::create_symlink("pipe", folder.path() / "to_pipe");
    fs::create_symlink("loop", folder.path() / "loop");
    CHECK(refusal("to_pipe").find(": cannot replace what is not a regular file: ") != std::string::npos);
    CHECK(refusal("loop").find(": cannot follow the link: ") != std::string::npos);
    CHECK(fs::is_symlink(folder.path() / "to_pipe"));
}

TEST_CASE("a write that fails half-way leaves the old file and nothing else") {
    const test::TemporaryFolder folder;
    const fs::path file = folder.path() / "f";
    write_atomically(file, "old");
    {
        const FileSizeLimit limit(1000);
        CHECK_THROWS_AS(write_atomically(file, std::string(5000, 'x')), InputError);
    }
    CHECK(test::read_text(file) == "old");
    CHECK(entries(folder.path()) == 1);
}

TEST_CASE("a read-only file or folder is respected") {
    const test::TemporaryFolder folder;
    const OrdinaryUser user(folder.path());
    write_atomically(folder.path() / "f", "old");
    fs::permissions(folder.path() / "f", fs::perms(0444));
    CHECK_THROWS_AS(write_atomically(folder.path() / "f", "new"), InputError);
    CHECK_THROWS_AS(require_writable(folder.path() / "f"), InputError);
    fs::permissions(folder.path(), fs::perms(0555));
    CHECK_THROWS_AS(write_atomically(folder.path() / "g", "new"), InputError);
    CHECK_THROWS_AS(require_writable(folder.path() / "g"), InputError);
    fs::permissions(folder.path(), fs::perms(0755));
}
