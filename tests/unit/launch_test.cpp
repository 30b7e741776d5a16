// Who a process is, by the launchers' variables, and where the ranks meet.

#include "comm/launch.hpp"

#include "tests/support/command.hpp"
#include "tuner/error.hpp"

#include <doctest/doctest.h>

#include <set>
#include <string>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace crossover;
using test::contains;

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

TEST_CASE("several hosts need MASTER_ADDR and the ranks of each") {
    const Environment half = with(open_mpi(3), {{"OMPI_COMM_WORLD_LOCAL_SIZE", "4"}});
    CHECK(contains(refusal(half), "MASTER_ADDR is not set"));
    // what tells how many they are: tables say so
    CHECK(refusal(without(torchrun(6), "LOCAL_WORLD_SIZE")) ==
          "environment: LOCAL_RANK=2 differs from RANK=6, as on several hosts, and LOCAL_WORLD_SIZE is not set; set it "
          "on all ranks to the number of ranks on their host");
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

TEST_CASE("at a prompt that srun has opened nothing but a launcher started there has ranks") {
    const Environment prompt{{"SLURM_PROCID", "0"},
                             {"SLURM_NTASKS", "1"},
                             {"SLURM_LOCALID", "0"},
                             {"SLURM_JOB_ID", "47"},
                             {"SLURM_STEP_ID", "0"}};
    CHECK_FALSE(detect_launcher(prompt));
    CHECK_FALSE(detect_launcher(with(prompt, {{"PMI_RANK", "0"}, {"PMI_SIZE", "1"}}))); // --mpi=pmi2
    CHECK_FALSE(detect_launcher(with(prompt, {{"PMIX_RANK", "0"}})));                   // --mpi=pmix
    // MPICH's mpirun adds what tells the ranks of a host
    const Environment mpich{{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}, {"MPI_LOCALRANKID", "1"}, {"MPI_LOCALNRANKS", "2"}};
    const auto self = detect_launcher(with(prompt, mpich));
    REQUIRE(self);
    CHECK(self->launcher == Launcher::mpirun);
    CHECK(self->rank == 1);
    CHECK(detect_launcher(with(prompt, open_mpi(3)))->rank == 3);
    CHECK(detect_launcher(with(prompt, torchrun(6)))->rank == 6);
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

TEST_CASE("a rank is known without a place where ranks meet") {
    const auto self = detect_rank({{"RANK", "3"}, {"WORLD_SIZE", "4"}, {"LOCAL_RANK", "3"}, {"LOCAL_WORLD_SIZE", "4"}});
    REQUIRE(self);
    CHECK(*self == RankEnvironment{3, 4, 3, 4, Launcher::torchrun});
    CHECK_FALSE(detect_rank({}));
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

TEST_CASE("what goes into provenance") {
    const Environment relevant = relevant_variables({{"NCCL_NVLS_ENABLE", "0"},
                                                     {"NCCL_COMM_ID", "127.0.0.1:1"},
                                                     {"CUDA_VISIBLE_DEVICES", "0,1"},
                                                     {"CUDA_HOME", "/usr/local/cuda"},
                                                     {"NCCL_VERSION", "2.28.3-1"}, // of the image, not of the library
                                                     {"HOME", "/root"}});
    CHECK(relevant == Environment{{"CUDA_VISIBLE_DEVICES", "0,1"}, {"NCCL_NVLS_ENABLE", "0"}});
}

TEST_CASE("what turns NCCL's symmetric windows off is named") {
    CHECK(windows_turned_off_by({{"NCCL_WIN_ENABLE", "0"}}) == "NCCL_WIN_ENABLE=0");
    CHECK(windows_turned_off_by({{"NCCL_CUMEM_ENABLE", "0"}, {"NCCL_WIN_ENABLE", "1"}}) == "NCCL_CUMEM_ENABLE=0");
    CHECK(windows_turned_off_by({{"NCCL_CUMEM_ENABLE", "1"}, {"NCCL_NVLS_ENABLE", "0"}}) == std::nullopt);
}
