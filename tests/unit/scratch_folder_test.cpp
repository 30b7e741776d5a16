#include "tuner/scratch_folder.hpp"

#include "tests/support/command.hpp"
#include "tuner/error.hpp"

#include <optional>

using namespace crossover;

namespace fs = std::filesystem;

namespace {

/// TMPDIR, as long as this lives.
class TemporaryFoldersIn {
  public:
    explicit TemporaryFoldersIn(const fs::path& folder) {
        if (const char* const before = std::getenv("TMPDIR")) before_ = before;
        ::setenv("TMPDIR", folder.c_str(), 1);
    }
    TemporaryFoldersIn(const TemporaryFoldersIn&) = delete;
    TemporaryFoldersIn& operator=(const TemporaryFoldersIn&) = delete;
    ~TemporaryFoldersIn() { before_ ? ::setenv("TMPDIR", before_->c_str(), 1) : ::unsetenv("TMPDIR"); }

  private:
    std::optional<std::string> before_;
};

} // namespace

TEST_CASE("a folder of one owner, who takes it and all in it along") {
    const test::TemporaryFolder all;
    const TemporaryFoldersIn where(all.path());
    {
        const ScratchFolder one, other;
        CHECK(one.path() != other.path());
        for (const ScratchFolder* folder : {&one, &other}) {
            CHECK(folder->path().parent_path() == all.path());
            CHECK(fs::is_empty(folder->path()));
        }
        fs::create_directories(one.path() / "deep");
        std::ofstream(one.path() / "deep" / "samples.csv") << "text";
        CHECK(fs::file_size(one.path() / "deep" / "samples.csv") == 4);
    }
    CHECK(fs::is_empty(all.path()));
}

TEST_CASE("where none can be made, the error says what to set") {
    const TemporaryFoldersIn where("/nowhere");
    try {
        const ScratchFolder folder;
        FAIL("made " << folder.path());
    } catch (const InputError& error) {
        const std::string message = error.what();
        CHECK(message.starts_with("environment: no temporary folder can be made: "));
        CHECK(message.ends_with("; set TMPDIR to a folder that you may write to"));
    }
}
