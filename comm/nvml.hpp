#pragma once
/// The few facts that only NVML knows, from libnvidia-ml.so.1 loaded at run time: it comes with the driver, so it must
/// not be needed to start. No CUDA: works in the build without it.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace crossover {

/// What connects GPUs: all through NVSwitch, at least directly by NVLink, or (some pair) by PCIe only.
enum class LinkKind : std::uint8_t { pcie, nvlink, nvswitch };
std::string_view to_string(LinkKind link);

struct ClockReading {
    unsigned sm_mhz = 0;
    unsigned max_sm_mhz = 0;
};

class Nvml {
  public:
    /// Loads and initialises NVML. Null if there is no driver on this machine; `why` (if given) then says so.
    static std::unique_ptr<Nvml> open(std::string* why = nullptr);
    Nvml(const Nvml&) = delete;
    Nvml& operator=(const Nvml&) = delete;
    ~Nvml();

    std::string driver_version() const;
    /// GPUs of the machine, whatever CUDA_VISIBLE_DEVICES says.
    int device_count() const;
    std::string name(int index) const;
    std::string pci_bus_id(int index) const;
    /// NVML's index of a GPU given CUDA's PCI bus id ("0000:1b:00.0"), or nothing.
    std::optional<int> find(const std::string& pci_bus_id) const;
    std::optional<ClockReading> clocks(int index) const;
    /// The weakest link between any two of these GPUs; pcie for fewer than two without NVLink.
    LinkKind link(const std::vector<int>& indices) const;
    bool mig_enabled(int index) const;

  private:
    struct Library;
    explicit Nvml(std::unique_ptr<Library> library);
    std::unique_ptr<Library> library_;
};

} // namespace crossover
