#include "comm/topology.hpp"

#include "comm/communicator.hpp"

#include <array>
#include <fstream>
#include <set>

#include <cuda.h> // types and constants only: libcuda is not linked
#include <dlfcn.h>
#include <unistd.h>

namespace crossover {
namespace {

std::string dotted(int version) { // CUDA's 13000 is 13.0
    return std::to_string(version / 1000) + "." + std::to_string(version / 10 % 100);
}

/// Reads the attribute; multicast objects are never made.
bool multicast_supported(int device) {
    void* const library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) return false;
    using GetAttribute = CUresult (*)(int*, CUdevice_attribute, CUdevice);
    const auto get_attribute = reinterpret_cast<GetAttribute>(dlsym(library, "cuDeviceGetAttribute"));
    int value = 0;
    const bool known =
        get_attribute && get_attribute(&value, CU_DEVICE_ATTRIBUTE_MULTICAST_SUPPORTED, device) == CUDA_SUCCESS;
    dlclose(library); // the runtime holds it, too
    return known && value != 0;
}

std::string pci_bus_id(int device) {
    std::array<char, 32> text{};
    CROSSOVER_CUDA_CHECK(cudaDeviceGetPCIBusId(text.data(), text.size(), device));
    return text.data();
}

GpuInfo read_gpu(int device) {
    cudaDeviceProp properties{};
    CROSSOVER_CUDA_CHECK(cudaGetDeviceProperties(&properties, device));
    return {.name = properties.name,
            .major = properties.major,
            .minor = properties.minor,
            .multiprocessors = properties.multiProcessorCount,
            .memory_bytes = properties.totalGlobalMem,
            .pci_bus_id = pci_bus_id(device),
            .multicast_supported = multicast_supported(device)};
}

/// Whether `test(a, b)` holds for every ordered pair of different GPUs.
template <class Test>
bool all_pairs(int count, Test&& test) {
    for (int a = 0; a < count; ++a)
        for (int b = 0; b < count; ++b)
            if (a != b && !test(a, b)) return false;
    return true;
}

LinkKind read_link(const std::vector<GpuInfo>& gpus, const Nvml* nvml) {
    if (nvml) {
        std::vector<int> indices;
        for (const GpuInfo& gpu : gpus)
            if (const auto index = nvml->find(gpu.pci_bus_id)) indices.push_back(*index);
        if (indices.size() == gpus.size()) return nvml->link(indices);
    }
    // Without NVML: only NVLink carries atomics between GPUs. Whether through a switch cannot be told.
    const bool atomics =
        gpus.size() > 1 && all_pairs(static_cast<int>(gpus.size()), [](int a, int b) {
            int supported = 0;
            return cudaDeviceGetP2PAttribute(&supported, cudaDevP2PAttrNativeAtomicSupported, a, b) == cudaSuccess &&
                   supported != 0;
        });
    return atomics ? LinkKind::nvlink : LinkKind::pcie;
}

} // namespace

Topology read_topology(const Environment& environment) {
    Topology topology;
    int runtime = 0, driver = 0, count = 0;
    if (cudaRuntimeGetVersion(&runtime) == cudaSuccess) topology.cuda = dotted(runtime);
    try {
        topology.nccl = nccl_version();
    } catch (const NcclError&) {
    } // left empty
    const std::unique_ptr<Nvml> nvml = Nvml::open(&topology.problem);
    if (nvml) topology.driver = nvml->driver_version();
    if (topology.driver.empty() && cudaDriverGetVersion(&driver) == cudaSuccess && driver > 0)
        topology.driver = "CUDA " + dotted(driver);

    if (const cudaError_t code = cudaGetDeviceCount(&count); code != cudaSuccess || count == 0) {
        cudaGetLastError();
        if (nvml || topology.problem.empty())
            topology.problem =
                code == cudaSuccess ? "no GPU is visible" : std::string("CUDA: ") + cudaGetErrorString(code);
        return topology;
    }
    try {
        for (int device = 0; device < count; ++device) topology.gpus.push_back(read_gpu(device));
    } catch (const CudaError& error) {
        topology.gpus.clear();
        topology.problem = error.what();
        return topology;
    }
    topology.problem.clear(); // NVML may be missing where CUDA works
    topology.link = read_link(topology.gpus, nvml.get());
    topology.peer_access = count > 1 && all_pairs(count, [](int a, int b) {
                               int possible = 0;
                               return cudaDeviceCanAccessPeer(&possible, a, b) == cudaSuccess && possible != 0;
                           });
    // Rank processes get NCCL_NVLS_ENABLE=0 unless the user sets it.
    const bool nvls = variable(environment, "NCCL_NVLS_ENABLE").value_or("0") != "0";
    topology.multicast = nvls && topology.gpus.front().multicast_supported;
    return topology;
}

int count_nodes(Communicator& communicator) {
    // The boot id is the host's also within containers, which may share or change host names.
    std::array<char, 64> mine{};
    if (std::string id; std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), id))
        id.copy(mine.data(), mine.size());
    else
        gethostname(mine.data(), mine.size());
    const std::vector<std::byte> all = communicator.all_gather_bytes(std::as_bytes(std::span(mine)));
    std::set<std::string> hosts;
    for (std::size_t at = 0; at < all.size(); at += mine.size())
        hosts.emplace(reinterpret_cast<const char*>(all.data() + at), mine.size());
    return static_cast<int>(hosts.size());
}

ClockWatch::ClockWatch(int device) : nvml_(Nvml::open()) {
    if (!nvml_) return;
    const auto index = nvml_->find(pci_bus_id(device));
    if (index)
        index_ = *index;
    else
        nvml_.reset();
}

std::optional<ClockReading> ClockWatch::read() const { return nvml_ ? nvml_->clocks(index_) : std::nullopt; }

} // namespace crossover
