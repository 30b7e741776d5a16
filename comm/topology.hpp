#pragma once
/// What measured times depend on: GPUs, links, driver and library versions, multicast, hosts.

#include "comm/clock_range.hpp"
#include "comm/environment.hpp"
#include "comm/nvml.hpp"

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace crossover {

class Communicator;

/// One CUDA device as this process sees it.
struct GpuInfo {
    std::string name; // "NVIDIA H200"
    int major = 0;    // compute capability
    int minor = 0;
    int multiprocessors = 0;
    std::size_t memory_bytes = 0;
    std::string pci_bus_id;
    bool multicast_supported = false; // NVLink multicast; the attribute is read, multicast objects are never made

    std::string compute_capability() const { return std::to_string(major) + "." + std::to_string(minor); }
};

struct Topology {
    std::vector<GpuInfo> gpus; // by CUDA device index; empty without driver or GPU
    LinkKind link = LinkKind::pcie;
    bool peer_access = false; // every GPU can address every other one
    std::string driver;       // "580.159.03"; NVML's, else CUDA's ("CUDA 13.0")
    std::string cuda;         // runtime, "13.0"
    std::string nccl;         // library that is loaded, "2.28.9"
    /// NCCL may use multicast (NVLS): supported, and NCCL_NVLS_ENABLE is not 0.
    bool multicast = false;
    std::string problem; // why there are no GPUs; empty if there are some
};

/// Looks at all visible GPUs without making a CUDA context on any. Never throws for missing hardware or driver.
Topology read_topology(const Environment& environment);

/// Hosts that the ranks are on. Collective.
int count_nodes(Communicator& communicator);

/// The clock of one GPU, to drop blocks of measurements during which it fell, and to tell those of the others.
class ClockWatch {
  public:
    /// @param device CUDA device index
    explicit ClockWatch(int device);
    /// Nothing if the driver does not tell.
    std::optional<ClockReading> read() const;
    void keep(unsigned sm_mhz) { kept_.add({sm_mhz, sm_mhz}); } // 0: not told
    const ClockRange& kept() const { return kept_; }

  private:
    std::unique_ptr<Nvml> nvml_;
    int index_ = 0;
    ClockRange kept_;
};

} // namespace crossover
