// Rank processes that are started, watched and ended. Here they are /bin/sh scripts; `exec sleep` leaves no grandchild
// behind.

#include "comm/launch.hpp"

#include "tests/support/command.hpp"
#include "tuner/error.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace crossover;
using namespace std::chrono_literals;
using test::contains;

namespace {

/// A folder of this test's own.
struct Folder : test::TemporaryFolder {
    std::string text(const std::string& name) const { return test::read_text(path() / name); }
    /// Until all are there; at most 10 s.
    void wait_for(std::initializer_list<const char*> names) const {
        for (const char* name : names)
            for (int i = 0; i < 500 && !std::filesystem::exists(path() / name); ++i) std::this_thread::sleep_for(20ms);
    }
};

/// `count` ranks that each run a shell script; $1 in it is `folder`.
RankJob shell_job(const std::string& script, int count, const std::filesystem::path& folder = "/") {
    RankJob job{.program = "/bin/sh", .arguments = {"-c", script, "sh", folder.string()}};
    for (int rank = 0; rank < count; ++rank) job.ranks.push_back({rank, rank});
    job.world_size = job.local_size = count;
    job.port = 12345;
    return job;
}

/// What `call` makes this process write to `descriptor`.
template <class Call>
std::string written_to(int descriptor, Call&& call) {
    Folder folder;
    const int file = open((folder.path() / "out").c_str(), O_CREAT | O_WRONLY, 0600);
    const int saved = dup(descriptor);
    std::fflush(nullptr);
    dup2(file, descriptor);
    call();
    dup2(saved, descriptor);
    close(saved);
    close(file);
    return folder.text("out");
}

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

} // namespace

TEST_CASE("rank processes know who they are") {
    Folder folder;
    RankJob job = shell_job("env > \"$1/$RANK\"", 3, folder.path());
    job.address = "127.0.0.2";
    job.environment = {{"EXTRA", "a b=c"}};
    CHECK_FALSE(supervise_ranks(job));
    for (int rank = 0; rank < 3; ++rank) {
        Environment seen;
        std::istringstream lines(folder.text(std::to_string(rank)));
        for (std::string line; std::getline(lines, line);)
            seen[line.substr(0, line.find('='))] = line.substr(line.find('=') + 1);
        CHECK(rank_environment(seen) == RankEnvironment{rank, 3, rank, 3, Launcher::none, "127.0.0.2", 12345});
        CHECK(seen["EXTRA"] == "a b=c");
        CHECK(seen["NCCL_NVLS_ENABLE"] == "0");
        CHECK(variable(seen, "PATH") == variable(read_environment(), "PATH"));
    }
    CHECK_THROWS_AS(rank_environment({}), InputError);
}

TEST_CASE("NCCL_NVLS_ENABLE is the user's if set") {
    Folder folder;
    setenv("NCCL_NVLS_ENABLE", "1", 1);
    CHECK_FALSE(supervise_ranks(shell_job("echo $NCCL_NVLS_ENABLE > \"$1/out\"", 1, folder.path())));
    unsetenv("NCCL_NVLS_ENABLE");
    CHECK(folder.text("out") == "1\n");
}

TEST_CASE("only the ranks that were asked for start: one under a launcher") {
    Folder folder;
    RankJob job = shell_job("echo $RANK $WORLD_SIZE $LOCAL_RANK $LOCAL_WORLD_SIZE > \"$1/$RANK\"", 0, folder.path());
    job.ranks = {{5, 1}};
    job.world_size = 8;
    job.local_size = 4;
    CHECK_FALSE(supervise_ranks(job));
    CHECK(folder.text("5") == "5 8 1 4\n");
    CHECK_FALSE(std::filesystem::exists(folder.path() / "0"));
}

TEST_CASE("rank 0's output passes through, that of others is marked, in whole lines") {
    const RankJob job = shell_job("if [ $RANK = 0 ]; then echo out; echo err >&2; else "
                                  "printf 'first\\nsec'; sleep 0.2; printf 'ond\\nrest' >&2; fi",
                                  2);
    std::string out;
    std::string err =
        written_to(STDERR_FILENO, [&] { out = written_to(STDOUT_FILENO, [&] { CHECK_FALSE(supervise_ranks(job)); }); });
    CHECK(out == "out\n");
    REQUIRE(contains(err, "err\n"));
    CHECK_FALSE(contains(err, "] err"));
    err.erase(err.find("err\n"), 4); // it may stand before, between or after the other's lines
    CHECK(contains(err, "[rank 1] first\n[rank 1] second\n[rank 1] rest\n"));
}

TEST_CASE("a rank that fails ends the others, and is the one that is named") {
    const auto start = std::chrono::steady_clock::now();
    const auto failure = supervise_ranks(shell_job("[ $RANK = 2 ] && exit 3; exec sleep 30", 4));
    CHECK(seconds_since(start) < 10);
    REQUIRE(failure);
    CHECK(failure->kind == RankFailureKind::exited);
    CHECK(failure->rank == 2);
    CHECK(failure->code == 3);
    CHECK(failure->message == "rank 2 exited with code 3");
}

TEST_CASE("a rank that is killed") {
    const auto failure = supervise_ranks(shell_job("[ $RANK = 1 ] && kill -SEGV $$; exec sleep 30", 2));
    REQUIRE(failure);
    CHECK(failure->kind == RankFailureKind::signalled);
    CHECK(failure->rank == 1);
    CHECK(failure->code == SIGSEGV);
    CHECK(contains(failure->message, "rank 1 was killed by signal 11"));
}

TEST_CASE("a rank that ignores SIGTERM is killed after the grace") {
    RankJob job = shell_job("[ $RANK = 1 ] && { sleep 0.3; exit 1; }; trap '' TERM; while :; do sleep 0.1; done", 2);
    job.grace = 300ms;
    const auto start = std::chrono::steady_clock::now();
    const auto failure = supervise_ranks(job);
    REQUIRE(failure);
    CHECK(failure->rank == 1);
    CHECK(seconds_since(start) > 0.55);
    CHECK(seconds_since(start) < 10);
}

TEST_CASE("the wall clock limit") {
    RankJob job = shell_job("exec sleep 30", 2);
    job.time_limit = 300ms;
    const auto failure = supervise_ranks(job);
    REQUIRE(failure);
    CHECK(failure->kind == RankFailureKind::time_limit);
    CHECK(failure->message == "the ranks did not end within 0.3 s");
}

TEST_CASE("the progress limit: reports keep a job alive, silence ends it") {
    // ProgressReporter's 4 bytes are rank 1, little-endian, on the descriptor that the variable names.
    const std::string report = "printf '\\001\\000\\000\\000' >&$CROSSOVER_PROGRESS_FD";
    RankJob job = shell_job(
        "if [ $RANK = 1 ]; then for i in 1 2 3 4 5 6; do sleep 0.2; " + report + "; done; else sleep 1.2; fi", 2);
    job.progress_limit = 800ms;
    CHECK_FALSE(supervise_ranks(job));

    job.arguments[1] = "[ $RANK = 1 ] && " + report + "; exec sleep 30";
    job.progress_limit = 500ms;
    const auto failure = supervise_ranks(job);
    REQUIRE(failure);
    CHECK(failure->kind == RankFailureKind::no_progress);
    CHECK(failure->rank == 0);
    CHECK(failure->message == "no rank got on for 0.5 s; rank 0 fell silent first");
}

TEST_CASE("ProgressReporter writes its rank, and nothing where nobody listens") {
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    ProgressReporter({{"CROSSOVER_PROGRESS_FD", std::to_string(ends[1])}, {"RANK", "5"}}).report();
    int rank = 0;
    CHECK(read(ends[0], &rank, sizeof rank) == sizeof rank);
    CHECK(rank == 5);
    close(ends[0]);
    close(ends[1]);
    ProgressReporter({}).report();
}

TEST_CASE("a signal to the supervisor reaches the ranks and ends the job") {
    Folder folder;
    const pid_t supervisor = fork();
    if (supervisor == 0) {
        const auto failure =
            supervise_ranks(shell_job("trap 'echo > \"$1/forwarded.$RANK\"; exit 1' INT; echo > \"$1/$RANK\"; "
                                      "while :; do sleep 0.05; done",
                                      2, folder.path()));
        _exit(failure && failure->kind == RankFailureKind::interrupted ? failure->code : 0);
    }
    folder.wait_for({"0", "1"});
    kill(supervisor, SIGINT);
    int status = 0;
    waitpid(supervisor, &status, 0);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == SIGINT);
    CHECK(std::filesystem::exists(folder.path() / "forwarded.0"));
    CHECK(std::filesystem::exists(folder.path() / "forwarded.1"));
}

TEST_CASE("rank processes die with their supervisor") {
    Folder folder;
    const pid_t supervisor = fork();
    if (supervisor == 0) {
        supervise_ranks(
            shell_job("echo $$ > \"$1/pid.$RANK.part\"; mv \"$1/pid.$RANK.part\" \"$1/pid.$RANK\"; exec sleep 30", 2,
                      folder.path()));
        _exit(0);
    }
    folder.wait_for({"pid.0", "pid.1"});
    kill(supervisor, SIGKILL);
    waitpid(supervisor, nullptr, 0);
    for (const char* name : {"pid.0", "pid.1"}) {
        const std::string text = folder.text(name);
        REQUIRE_FALSE(text.empty());
        const std::filesystem::path stat = "/proc/" + text.substr(0, text.find('\n')) + "/stat";
        // gone, or a zombie that nobody waits for
        const auto alive = [&] {
            std::ostringstream content;
            content << std::ifstream(stat).rdbuf();
            return contains(content.str(), ") S ") || contains(content.str(), ") R ");
        };
        for (int i = 0; i < 200 && alive(); ++i) std::this_thread::sleep_for(20ms);
        CHECK_FALSE(alive());
    }
}

TEST_CASE("a program that cannot be started") {
    RankJob job = shell_job("", 2);
    job.program = "/nonexistent/program";
    CHECK_THROWS_AS(supervise_ranks(job), std::system_error);
}
