// `crossover doctor`: what this machine can measure, and why not.

#include "comm/launch.hpp"
#include "comm/nvml.hpp"
#include "tuner/cli/commands.hpp"
#include "tuner/cli/options.hpp"
#include "tuner/error.hpp"

#ifdef CROSSOVER_HAS_CUDA
#include "comm/communicator.hpp"
#include "comm/topology.hpp"
#endif

#include <algorithm>
#include <iomanip>
#include <iostream>
#include <optional>
#include <vector>

namespace crossover {
namespace {

/// What there is, line by line, and what keeps `tune` from measuring (empty: nothing does).
struct Findings {
    std::vector<std::pair<std::string, std::string>> facts;
    std::vector<std::string> obstacles;
    bool sees_gpus = false; // then `tune` replays a recording only if told to

    void fact(const std::string& name, const std::string& value) { facts.emplace_back(name, value); }
};

/// @returns the ranks of a run, if a launcher has started this process
std::optional<int> examine_launcher(Findings& findings) {
    try {
        const auto self = detect_launcher(read_environment());
        findings.fact("launcher", self ? std::string(to_string(self->launcher)) + ", rank " +
                                             std::to_string(self->rank) + " of " + std::to_string(self->world_size)
                                       : "none; Crossover starts one rank process per GPU itself");
        if (self) return self->world_size;
    } catch (const InputError& error) {
        findings.fact("launcher", "unclear");
        findings.obstacles.push_back(error.what());
    }
    return std::nullopt;
}

#ifdef CROSSOVER_HAS_CUDA

constexpr int kOldestCapability = 8; // the kernels are built for compute capability 8.0 and later

std::string count_by_name(const std::vector<GpuInfo>& gpus) {
    const GpuInfo& first = gpus.front();
    return std::to_string(gpus.size()) + " × " + first.name + ", compute capability " + first.compute_capability() +
           ", " + std::to_string(first.multiprocessors) + " SMs, " + std::to_string(first.memory_bytes >> 30) + " GiB";
}

void examine_gpus(Findings& findings, std::optional<int> launched_ranks) {
    const Environment environment = read_environment();
    const Topology topology = read_topology(environment);
    const std::vector<GpuInfo>& gpus = topology.gpus;
    findings.fact("build", "CUDA " + topology.cuda + ", NCCL " + std::to_string(NCCL_MAJOR) + "." +
                               std::to_string(NCCL_MINOR) + "." + std::to_string(NCCL_PATCH));
    findings.fact("NCCL library", topology.nccl);
    findings.fact("driver", topology.driver.empty() ? "none" : topology.driver);
    findings.fact("GPUs", gpus.empty() ? "none: " + topology.problem : count_by_name(gpus));
    try {
        check_nccl_version();
    } catch (const InputError& error) {
        findings.obstacles.push_back(error.what());
    }
    if (gpus.empty()) return findings.obstacles.push_back(topology.problem);
    findings.sees_gpus = true;

    findings.fact("links",
                  std::string(to_string(topology.link)) + (topology.peer_access ? ", every GPU can address every other"
                                                                                : ", no peer access between all GPUs"));
    const std::string multicast = gpus.front().multicast_supported ? "supported" : "not supported";
    findings.fact("multicast", multicast + (topology.multicast ? ", NCCL may use it (NCCL_NVLS_ENABLE is set)"
                                                               : ", not used (NCCL_NVLS_ENABLE=0 in rank processes)"));
    const auto off = windows_turned_off_by(environment);
    findings.fact("NCCL windows", off ? "off by " + *off + ": nccl_symm algorithms cannot run"
                                      : "not turned off (by NCCL_CUMEM_ENABLE=0 or NCCL_WIN_ENABLE=0)");
    // A launcher may show each process one GPU, and may span hosts: its ranks are what counts.
    const int ranks = launched_ranks.value_or(static_cast<int>(gpus.size()));
    std::string world_sizes;
    for (const int size : {2, 4, 8})
        if (size <= ranks) world_sizes += (world_sizes.empty() ? "" : ", ") + std::to_string(size);
    findings.fact("world sizes", world_sizes.empty() ? "none on this host alone" : world_sizes);

    const auto different =
        std::find_if(gpus.begin(), gpus.end(), [&](const GpuInfo& gpu) { return gpu.name != gpus.front().name; });
    if (different != gpus.end())
        findings.obstacles.push_back("the GPUs differ (" + gpus.front().name + ", " + different->name +
                                     "); show only equal ones by CUDA_VISIBLE_DEVICES");
    if (gpus.front().major < kOldestCapability)
        findings.obstacles.push_back("compute capability " + gpus.front().compute_capability() +
                                     " is too old; the kernels need 8.0");
    const auto nvml = Nvml::open();
    const auto divided = [&](const GpuInfo& gpu) {
        const auto index = nvml ? nvml->find(gpu.pci_bus_id) : std::nullopt;
        return index && nvml->mig_enabled(*index);
    };
    if (std::any_of(gpus.begin(), gpus.end(), divided))
        findings.obstacles.push_back("a GPU is in MIG mode, and its instances have no peer access");
    if (ranks < 2)
        findings.obstacles.push_back(
            std::string(launched_ranks ? "the launcher started one rank" : "one GPU is visible") +
            "; an all-reduce needs 2");
    else if (gpus.size() > 1 && !topology.peer_access)
        findings.obstacles.push_back("the GPUs have no peer access to each other's memory");
}

#else

/// A build without CUDA can still tell that it is the wrong build for this machine.
void examine_gpus(Findings& findings, std::optional<int> /*launched_ranks*/) {
    findings.fact("build", "without CUDA");
    std::string problem;
    const auto nvml = Nvml::open(&problem);
    const int count = nvml ? nvml->device_count() : 0;
    findings.fact("driver", nvml ? nvml->driver_version() : "none");
    findings.fact("GPUs", count > 0 ? std::to_string(count) + " × " + nvml->name(0)
                          : nvml    ? "none"
                                    : "none: " + problem);
    findings.obstacles.push_back(count > 0
                                     ? "this build has no CUDA: build again with the CUDA Toolkit and NCCL installed"
                                     : "this build has no CUDA, and there is no GPU");
}

#endif

} // namespace

int run_doctor(const std::vector<std::string>& arguments) {
    const Usage usage{.name = "doctor",
                      .purpose =
                          "Says what this machine can measure, and why not. Exit status 0 if `crossover tune` can\n"
                          "measure on its GPUs, 1 if it cannot (without GPUs it replays a recording)."};
    if (!parse_options(usage, po::options_description(), arguments)) return 0;

    Findings findings;
    findings.fact("crossover", CROSSOVER_VERSION);
    const std::optional<int> launched_ranks = examine_launcher(findings);
    examine_gpus(findings, launched_ranks);
    for (const auto& [name, value] : findings.facts) std::cout << std::left << std::setw(14) << name << value << '\n';
    if (findings.obstacles.empty()) {
        std::cout << "\n`crossover tune` measures on these GPUs.\n";
        return 0;
    }
    std::cout << "\n`crossover tune` cannot measure here; "
              << (findings.sees_gpus ? "with --recording it replays a recording.\n" : "it replays a recording.\n");
    for (const std::string& obstacle : findings.obstacles) std::cout << "- " << obstacle << '\n';
    return 1;
}

} // namespace crossover
