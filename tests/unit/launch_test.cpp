// Who a process is (the launchers' variables), and rank processes that are started, watched and ended. The rank
// processes here are /bin/sh scripts; `exec sleep` leaves no grandchild behind.

#include "comm/launch.hpp"

#include "tests/support/command.hpp"
#include "tuner/error.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <thread>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace crossover;
using namespace std::chrono_literals;

namespace {

Environment torchrun(int rank) {
    return {{"RANK", std::to_string(rank)}, {"WORLD_SIZE", "8"},         {"LOCAL_RANK", std::to_string(rank % 4)},
            {"LOCAL_WORLD_SIZE", "4"},      {"MASTER_ADDR", "10.0.0.7"}, {"MASTER_PORT", "29500"}};
}

Environment open_mpi(int rank, int size = 8) {
    return {{"OMPI_COMM_WORLD_RANK", std::to_string(rank)},
            {"OMPI_COMM_WORLD_SIZE", std::to_string(size)},
            {"OMPI_COMM_WORLD_LOCAL_RANK", std::to_string(rank)},
            {"OMPI_COMM_WORLD_LOCAL_SIZE", std::to_string(size)},
            {"OMPI_MCA_ess_base_jobid", "2583691265"}};
}

Environment slurm_step(int rank) {
    return {{"SLURM_PROCID", std::to_string(rank)},
            {"SLURM_NTASKS", "4"},
            {"SLURM_LOCALID", std::to_string(rank)},
            {"SLURM_JOB_ID", "4711"},
            {"SLURM_STEP_ID", "2"}};
}

Environment with(Environment environment, const Environment& more) {
    for (const auto& [name, value] : more) environment[name] = value;
    return environment;
}

Environment without(Environment environment, const std::string& name) {
    environment.erase(name);
    return environment;
}

/// The message of the InputError that detect_launcher gives; empty if it gives none.
std::string refusal(const Environment& environment) {
    try {
        detect_launcher(environment);
    } catch (const InputError& error) {
        return error.what();
    }
    return {};
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

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

TEST_CASE("no launcher: no variables, or those of other things") {
    CHECK_FALSE(detect_launcher({}));
    CHECK_FALSE(detect_launcher({{"MASTER_ADDR", "h"}, {"MASTER_PORT", "1"}, {"HOME", "/root"}, {"RANK", ""}}));
}

TEST_CASE("torchrun's variables") {
    const auto self = detect_launcher(torchrun(6));
    REQUIRE(self);
    CHECK(*self == RankEnvironment{6, 8, 2, 4, Launcher::torchrun, "10.0.0.7", 29500});
    CHECK(detect_launcher(with(torchrun(6), {{"MASTER_ADDR", "localhost"}}))->address == "127.0.0.1");
    // LOCAL_WORLD_SIZE is torchrun's own; scripts that imitate it for one host leave it out.
    CHECK(detect_launcher(with(without(torchrun(6), "LOCAL_WORLD_SIZE"), {{"LOCAL_RANK", "6"}}))->local_size == 8);
}

TEST_CASE("partial or contradictory variables are refused, and the message names them") {
    CHECK(contains(refusal(without(torchrun(1), "WORLD_SIZE")), "RANK is set but WORLD_SIZE is not"));
    CHECK(contains(refusal(without(torchrun(1), "LOCAL_RANK")), "RANK is set but LOCAL_RANK is not"));
    CHECK(contains(refusal(without(torchrun(1), "RANK")), "WORLD_SIZE is set but RANK is not"));
    CHECK(contains(refusal(without(torchrun(1), "MASTER_ADDR")), "MASTER_ADDR is not"));
    CHECK(contains(refusal(without(torchrun(1), "MASTER_PORT")), "MASTER_PORT is not"));
    CHECK(contains(refusal(with(torchrun(1), {{"RANK", "8"}})), "RANK=8 contradicts WORLD_SIZE=8"));
    CHECK(contains(refusal(with(torchrun(7), {{"LOCAL_RANK", "4"}})), "LOCAL_RANK=4 contradicts LOCAL_WORLD_SIZE=4"));
    CHECK(contains(refusal(with(torchrun(1), {{"LOCAL_RANK", "2"}})), "LOCAL_RANK=2 contradicts RANK=1"));
    CHECK(contains(refusal(with(torchrun(1), {{"LOCAL_WORLD_SIZE", "9"}})), "LOCAL_WORLD_SIZE=9 contradicts"));
    CHECK(contains(refusal(with(torchrun(1), {{"RANK", "one"}})), "RANK=one is not a whole number"));
    CHECK(contains(refusal(with(torchrun(1), {{"RANK", "-1"}})), "RANK=-1 is not a whole number"));
    CHECK(contains(refusal(with(torchrun(1), {{"MASTER_PORT", "70000"}})), "MASTER_PORT=70000 is not"));
    CHECK(contains(refusal(without(open_mpi(1), "OMPI_COMM_WORLD_SIZE")), "OMPI_COMM_WORLD_SIZE is not"));
    CHECK(contains(refusal({{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}}), "MPI_LOCALRANKID is not"));
    CHECK(contains(refusal(without(slurm_step(1), "SLURM_LOCALID")), "SLURM_LOCALID is not"));
    CHECK(contains(refusal({{"PMIX_RANK", "1"}}), "PMIX_RANK is set"));
    CHECK(contains(refusal(without(torchrun(1), "RANK")), "environment: "));
}

TEST_CASE("mpirun's variables: Open MPI, and MPICH's") {
    const auto self = detect_launcher(open_mpi(3));
    REQUIRE(self);
    CHECK(self->rank == 3);
    CHECK(self->world_size == 8);
    CHECK(self->local_rank == 3);
    CHECK(self->local_size == 8);
    CHECK(self->launcher == Launcher::mpirun);
    CHECK(self->address == "127.0.0.1");

    const Environment mpich{{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}, {"MPI_LOCALRANKID", "1"}, {"MPI_LOCALNRANKS", "2"}};
    CHECK(contains(refusal(mpich), "set MASTER_PORT")); // its mpirun says nothing that names the job
    const auto other = detect_launcher(with(mpich, {{"MASTER_PORT", "4000"}}));
    REQUIRE(other);
    CHECK(*other == RankEnvironment{1, 2, 1, 2, Launcher::mpirun, "127.0.0.1", 4000});
}

TEST_CASE("ranks of one job agree on a port, other jobs have another") {
    const int port = detect_launcher(open_mpi(0))->port;
    CHECK(port == detect_launcher(open_mpi(5))->port);
    CHECK(port >= 16384);
    CHECK(port < 32768);
    CHECK(port != detect_launcher(with(open_mpi(0), {{"OMPI_MCA_ess_base_jobid", "2583691266"}}))->port);
    const int step = detect_launcher(slurm_step(0))->port;
    CHECK(step == detect_launcher(slurm_step(3))->port);
    CHECK(step != detect_launcher(with(slurm_step(0), {{"SLURM_STEP_ID", "3"}}))->port);
    CHECK(detect_launcher(with(open_mpi(0), {{"MASTER_PORT", "4000"}, {"MASTER_ADDR", "h"}}))->port == 4000);
}

TEST_CASE("several hosts need MASTER_ADDR") {
    const Environment half = with(open_mpi(3), {{"OMPI_COMM_WORLD_LOCAL_SIZE", "4"}});
    CHECK(contains(refusal(half), "MASTER_ADDR is not set"));
    CHECK(detect_launcher(with(half, {{"MASTER_ADDR", "node-1"}}))->address == "node-1");
}

TEST_CASE("srun's variables, and what only looks like them") {
    const auto self = detect_launcher(slurm_step(2));
    REQUIRE(self);
    CHECK(self->rank == 2);
    CHECK(self->world_size == 4);
    CHECK(self->local_size == 4);
    CHECK(self->launcher == Launcher::srun);
    // the body of a batch script is no step, though it has SLURM_PROCID=0
    CHECK_FALSE(detect_launcher(without(slurm_step(0), "SLURM_STEP_ID")));
    // an interactive shell is a step of one task within a larger allocation
    CHECK_FALSE(detect_launcher(with(slurm_step(0), {{"SLURM_STEP_NUM_TASKS", "1"}})));
    // tasks of each node, run-length coded
    const Environment nodes = with(slurm_step(1), {{"SLURM_NTASKS", "9"},
                                                   {"SLURM_PROCID", "8"},
                                                   {"SLURM_LOCALID", "0"},
                                                   {"SLURM_NODEID", "2"},
                                                   {"SLURM_STEP_TASKS_PER_NODE", "4(x2),1"},
                                                   {"MASTER_ADDR", "n0"}});
    CHECK(detect_launcher(nodes)->local_size == 1);
    CHECK(detect_launcher(with(nodes, {{"SLURM_NODEID", "1"}}))->local_size == 4);
    CHECK(contains(refusal(with(nodes, {{"SLURM_NODEID", "3"}})), "SLURM_NODEID=3"));
}

TEST_CASE("launchers inside launchers") {
    // srun starts torchrun once a host: the ranks are torchrun's
    const Environment nested = with(with(torchrun(6), slurm_step(1)), {{"TORCHELASTIC_RUN_ID", "none"}});
    CHECK(detect_launcher(nested)->launcher == Launcher::torchrun);
    CHECK(detect_launcher(nested)->rank == 6);
    // mpirun in a Slurm allocation: the step is the launcher's own daemon
    CHECK(detect_launcher(with(open_mpi(3), slurm_step(0)))->launcher == Launcher::mpirun);
    // variables set by hand must agree with the launcher's
    CHECK(contains(refusal(with(torchrun(6), open_mpi(3))), "contradicts mpirun's rank 3 of 8"));
    CHECK(detect_launcher(with(torchrun(3), open_mpi(3)))->launcher == Launcher::torchrun);
    // srun --mpi=pmi2
    CHECK(detect_launcher(with(slurm_step(1), {{"PMI_RANK", "1"}, {"PMI_SIZE", "4"}}))->launcher == Launcher::srun);
}

TEST_CASE("every session has a port of its own, never the base") {
    const RankEnvironment driver = *detect_launcher(torchrun(0));
    std::set<int> ports{driver.port};
    for (int session = 0; session < 64; ++session) ports.insert(session_port(driver, session));
    CHECK(ports.size() == 65);
    CHECK(session_port(driver, 3) == session_port(*detect_launcher(torchrun(5)), 3));
    RankEnvironment high = driver;
    high.port = 65535;
    for (int session = 0; session < 8; ++session) {
        CHECK(session_port(high, session) >= 1024);
        CHECK(session_port(high, session) < 65535);
    }
}

TEST_CASE("free_port gives one that can be bound") {
    const int descriptor = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<std::uint16_t>(free_port()));
    CHECK(bind(descriptor, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    close(descriptor);
}

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

TEST_CASE("what goes into provenance") {
    const Environment relevant = relevant_variables({{"NCCL_NVLS_ENABLE", "0"},
                                                     {"NCCL_COMM_ID", "127.0.0.1:1"},
                                                     {"CUDA_VISIBLE_DEVICES", "0,1"},
                                                     {"CUDA_HOME", "/usr/local/cuda"},
                                                     {"NCCL_VERSION", "2.28.3-1"}, // of the image, not of the library
                                                     {"HOME", "/root"}});
    CHECK(relevant == Environment{{"CUDA_VISIBLE_DEVICES", "0,1"}, {"NCCL_NVLS_ENABLE", "0"}});
}
