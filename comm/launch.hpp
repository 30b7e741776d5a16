#pragma once
/// Which rank a process is, and starting the rank processes. No CUDA here: the process that supervises never makes a
/// CUDA context, so that each session of measuring begins in fresh processes.
///
/// Two layers. The *driver* process is what the user starts: alone, or once a rank by torchrun, mpirun or srun. For
/// each session it starts *rank processes* by supervise_ranks(): all of the machine's GPUs if it is alone, exactly one
/// if a launcher started it. Rank processes find who they are in the variables that supervise_ranks() sets.

#include "comm/environment.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace crossover {

enum class Launcher : std::uint8_t { none, torchrun, mpirun, srun };
std::string_view to_string(Launcher launcher);

/// One rank's place in the job, and where the ranks meet.
struct RankEnvironment {
    int rank = 0;
    int world_size = 1;
    int local_rank = 0; // on this host; also the GPU's index
    int local_size = 1; // ranks on this host
    Launcher launcher = Launcher::none;
    std::string address{}; // of rank 0's host: an IP address or a name
    int port = 0;          // in a driver the base that session_port() counts from, in a rank process the port itself

    bool operator==(const RankEnvironment&) const = default;
};

/// Who this driver process is, from the launcher's variables; nothing if no launcher started it.
///
/// torchrun: RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT. mpirun: OMPI_COMM_WORLD_{RANK,
/// SIZE,LOCAL_RANK,LOCAL_SIZE}, or MPICH's and Intel MPI's PMI_{RANK,SIZE} with MPI_LOCALRANKID, MPI_LOCALNRANKS. srun:
/// SLURM_{PROCID,NTASKS,LOCALID} of a step. MASTER_ADDR and MASTER_PORT are honoured under every launcher; without
/// them the ranks of one host meet on 127.0.0.1 at a port made from the job's id.
/// @throws InputError("environment", …) for variables that are partial, contradict each other, or span hosts without
/// MASTER_ADDR or the number of ranks on each.
std::optional<RankEnvironment> detect_launcher(const Environment& environment);

/// The same but for where the ranks meet, for work in which they do not: `address` and `port` are left out.
std::optional<RankEnvironment> detect_rank(const Environment& environment);

/// Who this rank process is, from the variables that supervise_ranks() set. @throws InputError if they are missing.
RankEnvironment rank_environment(const Environment& environment);

/// The port where the rank processes of this session meet: the same on all ranks without talking, another one for every
/// session, and never `port` itself, where torchrun's own store listens.
int session_port(const RankEnvironment& driver, int session);

/// A TCP port of this host that nobody listens on now; for drivers without a launcher.
int free_port();

/// A rank process to start.
struct RankProcess {
    int rank = 0;
    int local_rank = 0;
};

/// What supervise_ranks() starts and how long it waits.
struct RankJob {
    std::string program = "/proc/self/exe";
    std::vector<std::string> arguments{}; // argv[1…], the same for each rank
    std::vector<RankProcess> ranks{};
    int world_size = 1;
    int local_size = 1;
    std::string address = "127.0.0.1";
    int port = 0;
    Environment environment{};                   // set in the rank processes, above what they inherit
    std::chrono::milliseconds time_limit{0};     // for all of it; 0 = none
    std::chrono::milliseconds progress_limit{0}; // without a report_progress() from any rank; 0 = none
    std::chrono::milliseconds grace{3000};       // between SIGTERM and SIGKILL
};

enum class RankFailureKind : std::uint8_t { exited, signalled, time_limit, no_progress, interrupted };

/// How a job failed: the first rank that did, or what the supervisor ran out of.
struct RankFailure {
    RankFailureKind kind = RankFailureKind::exited;
    int rank = -1;         // exited, signalled: which one; no_progress: the one silent for longest
    int code = 0;          // exited: exit code; signalled, interrupted: signal number
    std::string message{}; // "rank 3 was killed by signal 11 (Segmentation fault)"
};

/// Starts `job.ranks`, one process each, and waits for all of them. If one fails or a limit passes, the others get
/// SIGTERM and after `grace` SIGKILL. They die with this process, too. SIGINT, SIGTERM and SIGHUP that reach this
/// process are forwarded to them and end the job (`interrupted`).
///
/// They inherit the environment, plus RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT, and
/// NCCL_NVLS_ENABLE=0 unless that is set already (NVLink multicast is not used by Crossover; NCCL's would be,
/// silently). Rank 0 has this process's stdout and stderr; what other ranks write to either appears on stderr after
/// "[rank 3] ".
/// @returns nothing if all exited with 0. @throws std::system_error if a process cannot be started.
std::optional<RankFailure> supervise_ranks(const RankJob& job);

/// A rank process's side of `progress_limit`.
class ProgressReporter {
  public:
    /// Of a rank process; in any other process report() does nothing.
    explicit ProgressReporter(const Environment& environment);
    /// "This rank still gets on." Costs one write of 4 bytes; never blocks.
    void report() const noexcept;

  private:
    int descriptor_ = -1;
    int rank_ = 0;
};

} // namespace crossover
