#include "comm/nvml.hpp"

#include <array>
#include <cctype>
#include <cstdio>
#include <utility>

#include <dlfcn.h>

struct nvmlDevice_st;

namespace crossover {
namespace {

// The part of nvml.h that is used. The toolkit need not be installed, and NVML keeps these stable: names with a _v2
// suffix are the current ones.
using Device = nvmlDevice_st*;
using Return = int;
constexpr Return kSuccess = 0;
constexpr int kClockSm = 1;
constexpr int kP2pCapsNvlink = 2;
constexpr int kP2pOk = 0;
constexpr int kRemoteGpu = 0; // nvmlIntNvLinkDeviceType_t; a switch is 2, and some virtual machines say 255, unknown
constexpr unsigned kMaxLinks = 18;

} // namespace

struct Nvml::Library {
    struct PciInfo { // nvmlPciInfo_t
        char bus_id_legacy[16];
        unsigned domain, bus, device, device_id, subsystem_id;
        char bus_id[32];
    };

    void* handle = nullptr;
    bool initialised = false;

    Return (*init)() = nullptr;
    Return (*shutdown)() = nullptr;
    const char* (*error_string)(Return) = nullptr;
    Return (*driver_version)(char*, unsigned) = nullptr;
    Return (*count)(unsigned*) = nullptr;
    Return (*device)(unsigned, Device*) = nullptr;
    Return (*name)(Device, char*, unsigned) = nullptr;
    Return (*pci_info)(Device, PciInfo*) = nullptr;
    Return (*clock)(Device, int, unsigned*) = nullptr;
    Return (*max_clock)(Device, int, unsigned*) = nullptr;
    Return (*p2p_status)(Device, Device, int, int*) = nullptr;
    Return (*link_state)(Device, unsigned, int*) = nullptr;
    Return (*link_remote_type)(Device, unsigned, int*) = nullptr;
    Return (*mig_mode)(Device, unsigned*, unsigned*) = nullptr;

    ~Library() {
        if (initialised) shutdown();
        if (handle) dlclose(handle);
    }

    /// Looks up one function; an old driver may lack it, which callers see as null.
    template <class Function>
    void load(Function& function, const char* symbol) {
        function = reinterpret_cast<Function>(dlsym(handle, symbol));
    }

    std::optional<Device> at(int index) const {
        Device found = nullptr;
        if (!device || device(static_cast<unsigned>(index), &found) != kSuccess) return std::nullopt;
        return found;
    }
};

std::string_view to_string(LinkKind link) {
    switch (link) {
    case LinkKind::pcie:
        return "pcie";
    case LinkKind::nvlink:
        return "nvlink";
    case LinkKind::nvswitch:
        return "nvswitch";
    }
    return "?";
}

std::unique_ptr<Nvml> Nvml::open(std::string* why) {
    const auto fail = [&](const std::string& reason) {
        if (why) *why = reason;
        return nullptr;
    };
    auto library = std::make_unique<Library>();
    library->handle = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library->handle) return fail("no NVIDIA driver: libnvidia-ml.so.1 is not found");
    library->load(library->init, "nvmlInit_v2");
    library->load(library->shutdown, "nvmlShutdown");
    library->load(library->error_string, "nvmlErrorString");
    library->load(library->driver_version, "nvmlSystemGetDriverVersion");
    library->load(library->count, "nvmlDeviceGetCount_v2");
    library->load(library->device, "nvmlDeviceGetHandleByIndex_v2");
    library->load(library->name, "nvmlDeviceGetName");
    library->load(library->pci_info, "nvmlDeviceGetPciInfo_v3");
    library->load(library->clock, "nvmlDeviceGetClockInfo");
    library->load(library->max_clock, "nvmlDeviceGetMaxClockInfo");
    library->load(library->p2p_status, "nvmlDeviceGetP2PStatus");
    library->load(library->link_state, "nvmlDeviceGetNvLinkState");
    library->load(library->link_remote_type, "nvmlDeviceGetNvLinkRemoteDeviceType");
    library->load(library->mig_mode, "nvmlDeviceGetMigMode");
    if (!library->init || !library->shutdown || !library->count || !library->device)
        return fail("libnvidia-ml.so.1 is too old");
    if (const Return code = library->init(); code != kSuccess)
        return fail(std::string("NVML: ") +
                    (library->error_string ? library->error_string(code) : "cannot be initialised"));
    library->initialised = true;
    return std::unique_ptr<Nvml>(new Nvml(std::move(library)));
}

Nvml::Nvml(std::unique_ptr<Library> library) : library_(std::move(library)) {}
Nvml::~Nvml() = default;

std::string Nvml::driver_version() const {
    std::array<char, 96> text{};
    if (library_->driver_version) library_->driver_version(text.data(), text.size() - 1);
    return text.data();
}

int Nvml::device_count() const {
    unsigned count = 0;
    return library_->count(&count) == kSuccess ? static_cast<int>(count) : 0;
}

std::string Nvml::name(int index) const {
    std::array<char, 96> text{};
    const auto device = library_->at(index);
    if (device && library_->name) library_->name(*device, text.data(), text.size() - 1);
    return text.data();
}

std::string Nvml::pci_bus_id(int index) const {
    Library::PciInfo info{};
    const auto device = library_->at(index);
    if (!device || !library_->pci_info || library_->pci_info(*device, &info) != kSuccess) return {};
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%04x:%02x:%02x.0", info.domain, info.bus,
                  info.device); // as CUDA writes it
    return text.data();
}

std::optional<int> Nvml::find(const std::string& pci_bus_id_of_cuda) const {
    std::string wanted = pci_bus_id_of_cuda;
    for (char& c : wanted) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    for (int index = 0; index < device_count(); ++index)
        if (!wanted.empty() && pci_bus_id(index) == wanted) return index;
    return std::nullopt;
}

std::optional<ClockReading> Nvml::clocks(int index) const {
    ClockReading reading;
    const auto device = library_->at(index);
    if (!device || !library_->clock || library_->clock(*device, kClockSm, &reading.sm_mhz) != kSuccess)
        return std::nullopt;
    if (library_->max_clock) library_->max_clock(*device, kClockSm, &reading.max_sm_mhz);
    return reading;
}

LinkKind Nvml::link(const std::vector<int>& indices) const {
    std::vector<Device> devices;
    for (const int index : indices)
        if (const auto device = library_->at(index)) devices.push_back(*device);
    if (devices.empty() || !library_->link_state) return LinkKind::pcie;

    bool direct = false; // some link ends at a GPU
    for (const Device device : devices) {
        bool linked = false;
        for (unsigned link = 0; link < kMaxLinks; ++link) {
            int active = 0;
            if (library_->link_state(device, link, &active) != kSuccess || !active) continue;
            linked = true;
            int remote = -1;
            if (library_->link_remote_type && library_->link_remote_type(device, link, &remote) == kSuccess)
                direct = direct || remote == kRemoteGpu;
        }
        if (!linked) return LinkKind::pcie;
    }
    // Links alone do not say that they join these GPUs: bridges join pairs.
    for (const Device a : devices)
        for (const Device b : devices) {
            int status = kP2pOk;
            if (a != b && library_->p2p_status && library_->p2p_status(a, b, kP2pCapsNvlink, &status) == kSuccess &&
                status != kP2pOk)
                return LinkKind::pcie;
        }
    return direct ? LinkKind::nvlink : LinkKind::nvswitch;
}

bool Nvml::mig_enabled(int index) const {
    unsigned current = 0, pending = 0;
    const auto device = library_->at(index);
    return device && library_->mig_mode && library_->mig_mode(*device, &current, &pending) == kSuccess && current != 0;
}

} // namespace crossover
