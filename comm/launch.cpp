#include "comm/launch.hpp"

#include "comm/descriptor.hpp"
#include "tuner/error.hpp"

#include <algorithm>
#include <climits>
#include <cstdio>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace crossover {
namespace {

[[noreturn]] void refuse(const std::string& what, const std::string& remedy) {
    throw InputError("environment", what, remedy);
}

std::optional<int> count(const Environment& environment, std::string_view name) {
    return integer_variable(environment, name, 0, INT_MAX);
}

/// A family of variables by which a launcher tells a process its place.
struct Family {
    Launcher launcher;
    std::string_view rank, world_size, local_rank, local_size;
};

/// The place a family gives; nothing if none of its variables but (perhaps) local_size is set, which is optional on one
/// host. @throws InputError if only some are, or if they cannot all be true.
std::optional<RankEnvironment> read_family(const Environment& environment, const Family& family) {
    const std::optional<int> rank = count(environment, family.rank);
    const std::optional<int> world_size = count(environment, family.world_size);
    const std::optional<int> local_rank = count(environment, family.local_rank);
    if (!rank && !world_size && !local_rank) return std::nullopt;
    const auto require = [&](bool present, std::string_view name) {
        if (present) return;
        const std::string_view other = rank ? family.rank : world_size ? family.world_size : family.local_rank;
        refuse(std::string(other) + " is set but " + std::string(name) + " is not",
               "set both (" + std::string(to_string(family.launcher)) +
                   " does), or unset both to let Crossover start the ranks");
    };
    require(rank.has_value(), family.rank);
    require(world_size.has_value(), family.world_size);
    require(local_rank.has_value(), family.local_rank);

    RankEnvironment self{
        .rank = *rank, .world_size = *world_size, .local_rank = *local_rank, .launcher = family.launcher};
    // Without a count of its own the host has all ranks; a launcher that spans hosts says so.
    const std::optional<int> local_size = count(environment, family.local_size);
    self.local_size = local_size.value_or(*world_size);
    const auto in_order = [&](std::string_view low, int low_value, std::string_view high, int high_value, bool strict) {
        if (strict ? low_value < high_value : low_value <= high_value) return;
        refuse(std::string(low) + "=" + std::to_string(low_value) + " contradicts " + std::string(high) + "=" +
                   std::to_string(high_value),
               "unset what is left over from another job, or let Crossover start the ranks");
    };
    in_order(family.rank, self.rank, family.world_size, self.world_size, true);
    in_order(family.local_size, self.local_size, family.world_size, self.world_size, false);
    in_order(family.local_rank, self.local_rank, family.local_size, self.local_size, true);
    in_order(family.local_rank, self.local_rank, family.rank, self.rank, false);
    if (!local_size && !family.local_size.empty() && self.local_rank < self.rank)
        refuse(std::string(family.local_rank) + "=" + std::to_string(self.local_rank) + " differs from " +
                   std::string(family.rank) + "=" + std::to_string(self.rank) + ", as on several hosts, and " +
                   std::string(family.local_size) + " is not set",
               "set it on all ranks to the number of ranks on their host");
    return self;
}

constexpr Family kTorchrun{Launcher::torchrun, "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"};
constexpr Family kOpenMpi{Launcher::mpirun, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
                          "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"};
constexpr Family kMpich{Launcher::mpirun, "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"};
constexpr Family kSlurm{Launcher::srun, "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", ""};

/// Entry `node` of Slurm's run-length list of tasks a node: "8(x2),4" is 8, 8, 4. @throws InputError
int slurm_tasks_on_node(const std::string& list, int node) {
    const char* cursor = list.c_str();
    for (int first = 0;;) {
        int tasks = 0, repeat = 1, used = 0;
        if (std::sscanf(cursor, "%d%n", &tasks, &used) != 1) break;
        cursor += used;
        if (std::sscanf(cursor, "(x%d)%n", &repeat, &used) == 1) cursor += used;
        if (node < first + repeat) return tasks;
        first += repeat;
        if (*cursor++ != ',') break;
    }
    refuse("SLURM_STEP_TASKS_PER_NODE=" + list + " has no entry for SLURM_NODEID=" + std::to_string(node),
           "start Crossover by srun");
}

/// The variables of the step that srun has made; nothing outside of one.
std::optional<Environment> slurm_step(Environment environment) {
    // A batch script has SLURM_PROCID=0 and SLURM_NTASKS of the whole allocation, too; only srun makes a step of it.
    if (variable(environment, "SLURM_JOB_ID") && !variable(environment, "SLURM_STEP_ID")) return std::nullopt;
    // SLURM_NTASKS can be the allocation's where the step has fewer.
    if (const auto tasks = variable(environment, "SLURM_STEP_NUM_TASKS")) environment["SLURM_NTASKS"] = *tasks;
    return environment;
}

/// `srun --pty bash` and salloc's shell are steps of one task: the user is at a prompt, not under a launcher.
bool is_prompt(const Environment& step) { return count(step, "SLURM_NTASKS") == 1; }

std::optional<RankEnvironment> read_slurm(const Environment& environment) {
    std::optional<RankEnvironment> self = read_family(environment, kSlurm);
    if (!self) return self;
    const auto either = [&](std::string_view step, std::string_view job) {
        const auto value = variable(environment, step);
        return value ? value : variable(environment, job);
    };
    if (const auto list = either("SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE"))
        self->local_size = slurm_tasks_on_node(*list, count(environment, "SLURM_NODEID").value_or(0));
    if (self->local_rank >= self->local_size || self->local_size > self->world_size)
        refuse("SLURM_LOCALID=" + std::to_string(self->local_rank) +
                   ", SLURM_NTASKS=" + std::to_string(self->world_size) + " and " + std::to_string(self->local_size) +
                   " tasks on this node contradict each other",
               "start Crossover by srun");
    return self;
}

/// Something that all ranks of this job know and that other jobs do not; empty if the launcher gives none.
std::string job_identity(const Environment& environment) {
    for (const char* name : {"OMPI_MCA_ess_base_jobid", "PMIX_NAMESPACE", "I_MPI_HYDRA_UUID", "PMI_PORT"})
        if (const auto value = variable(environment, name)) return *value;
    if (const auto job = variable(environment, "SLURM_JOB_ID"))
        return *job + "." + variable(environment, "SLURM_STEP_ID").value_or("");
    return {};
}

/// 16384…31383: above the ports of services, below those that Linux hands out (32768…60999).
int port_from(std::string_view identity) {
    std::uint32_t hash = 2166136261u; // FNV-1a
    for (const char c : identity) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
    return static_cast<int>(16384 + hash % 15000);
}

void find_meeting_place(const Environment& environment, RankEnvironment& self) {
    const std::string launcher(to_string(self.launcher));
    const auto address = variable(environment, "MASTER_ADDR");
    const auto port = integer_variable(environment, "MASTER_PORT", 1, 65535);
    if (self.launcher == Launcher::torchrun && !(address && port))
        refuse("RANK is set but " + std::string(address ? "MASTER_PORT" : "MASTER_ADDR") + " is not",
               "set MASTER_ADDR and MASTER_PORT (torchrun does), or unset RANK to let Crossover start the ranks");
    if (!address && self.local_size < self.world_size)
        refuse(launcher + " started " + std::to_string(self.world_size) + " ranks on several hosts (" +
                   std::to_string(self.local_size) + " here) and MASTER_ADDR is not set",
               "set MASTER_ADDR to the address of rank 0's host, on all ranks");
    // NCCL takes the first address that a name resolves to and then wants an interface in its subnet; for localhost
    // that can be ::1 where IPv6 is off.
    self.address = address.value_or("localhost") == "localhost" ? "127.0.0.1" : *address;
    if (port) {
        self.port = *port;
        return;
    }
    const std::string identity = job_identity(environment);
    if (identity.empty())
        refuse(launcher + " gave no job id to make a port from",
               "set MASTER_PORT to a free port, the same on all ranks");
    self.port = port_from(identity);
}

} // namespace

std::string_view to_string(Launcher launcher) {
    switch (launcher) {
    case Launcher::none:
        return "none";
    case Launcher::torchrun:
        return "torchrun";
    case Launcher::mpirun:
        return "mpirun";
    case Launcher::srun:
        return "srun";
    }
    return "?";
}

std::optional<RankEnvironment> detect_rank(const Environment& environment) {
    // From the innermost outwards: torchrun is often started by srun or mpirun, mpirun in a Slurm allocation.
    std::optional<RankEnvironment> self = read_family(environment, kTorchrun);
    std::optional<RankEnvironment> mpi = read_family(environment, kOpenMpi);
    const std::optional<Environment> step = mpi ? std::nullopt : slurm_step(environment);
    const bool at_prompt = step && is_prompt(*step);
    std::optional<RankEnvironment> slurm = step && !at_prompt ? read_slurm(*step) : std::nullopt;
    // srun --mpi=pmi2 sets PMI_RANK, at a prompt, too, without what MPICH's own mpirun adds: that may have been started
    // there, or have started its daemon as a step of one task.
    if (!mpi && !slurm && (!at_prompt || variable(environment, kMpich.local_rank)))
        mpi = read_family(environment, kMpich);
    const std::optional<RankEnvironment>& outer = mpi ? mpi : slurm;

    // torchrun under another launcher counts ranks its own way; variables set by hand must agree with the launcher's.
    if (self && outer && !variable(environment, "TORCHELASTIC_RUN_ID") &&
        (self->rank != outer->rank || self->world_size != outer->world_size))
        refuse("RANK=" + std::to_string(self->rank) + " of WORLD_SIZE=" + std::to_string(self->world_size) +
                   " contradicts " + std::string(to_string(outer->launcher)) + "'s rank " +
                   std::to_string(outer->rank) + " of " + std::to_string(outer->world_size),
               "unset RANK, WORLD_SIZE and LOCAL_RANK");
    if (!self) self = outer;
    if (!self && !at_prompt && variable(environment, "PMIX_RANK")) // srun --mpi=pmix sets it at a prompt, too
        refuse("PMIX_RANK is set, but nothing tells the number of ranks",
               "start Crossover by mpirun, srun or torchrun, or unset PMIX_RANK");
    return self;
}

std::optional<RankEnvironment> detect_launcher(const Environment& environment) {
    std::optional<RankEnvironment> self = detect_rank(environment);
    if (self) find_meeting_place(environment, *self);
    return self;
}

RankEnvironment rank_environment(const Environment& environment) {
    std::optional<RankEnvironment> self = read_family(environment, kTorchrun);
    if (!self) refuse("RANK is not set", "start `crossover tune`, which starts its rank processes itself");
    find_meeting_place(environment, *self);
    self->launcher = Launcher::none;
    return *self;
}

int session_port(const RankEnvironment& driver, int session) {
    constexpr int kFirst = 1024, kPorts = 65536 - kFirst;
    return kFirst + (std::max(driver.port - kFirst, 0) + 1 + session) % kPorts;
}

int free_port() {
    const Descriptor descriptor(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const place = reinterpret_cast<sockaddr*>(&address);
    if (descriptor.get() < 0 || bind(descriptor.get(), place, size) != 0 ||
        getsockname(descriptor.get(), place, &size) != 0)
        throw_errno("no free TCP port on 127.0.0.1");
    return ntohs(address.sin_port);
}

} // namespace crossover
