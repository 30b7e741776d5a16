#include "tuner/plugins/library.hpp"

#include "tuner/content_hash.hpp"
#include "tuner/error.hpp"
#include "tuner/one_line.hpp"
#include "tuner/read_file.hpp"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstring>
#include <dlfcn.h>
#include <elf.h>

namespace crossover {
namespace {

constexpr const char* kSymbol = "crossover_candidate_get";
constexpr std::uint32_t kMostCandidates = 64; // one that never returns null has not understood the interface

/// The header of an ELF file; zeros if it is shorter.
Elf64_Ehdr elf_header(const std::string& content) {
    Elf64_Ehdr header{};
    if (content.size() >= sizeof header) std::memcpy(&header, content.data(), sizeof header);
    return header;
}

/// dlopen says of a library for other processors that the file is not there, and loads programs as libraries.
void require_shared_library(const std::string& path) {
    const Elf64_Ehdr header = elf_header(read_file(path, "the candidate library"));
    if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_type != ET_DYN)
        throw InputError(path, "not a shared library", "name the .so file that your kernels were linked into");
    const Elf64_Ehdr own = elf_header(read_file("/proc/self/exe", "this program"));
    if (header.e_machine != own.e_machine || header.e_ident[EI_CLASS] != own.e_ident[EI_CLASS])
        throw InputError(path, "a shared library for another kind of processor", "build it on a machine like this one");
}

/// @throws InputError unless `candidate` can be used
void require_usable(const std::string& path, std::uint32_t index, const crossover_candidate& candidate) {
    const auto refuse = [&](const std::string& what, const std::string& remedy) {
        throw InputError(path, "candidate " + std::to_string(index) + " " + what, remedy);
    };
    constexpr const char* kRemedy = "build it with kernels/crossover_candidate.h of this Crossover";
    if (candidate.major != CROSSOVER_CANDIDATE_MAJOR)
        refuse("speaks version " + std::to_string(candidate.major) + "." + std::to_string(candidate.minor) +
                   " of the candidate interface, and this Crossover " + std::to_string(CROSSOVER_CANDIDATE_MAJOR) +
                   "." + std::to_string(CROSSOVER_CANDIDATE_MINOR),
               kRemedy);
    if (candidate.struct_size < sizeof(crossover_candidate))
        refuse("has a struct_size of " + std::to_string(candidate.struct_size) + ", less than version 1.0's " +
                   std::to_string(sizeof(crossover_candidate)),
               "set it to sizeof(crossover_candidate)");
    if (candidate.name == nullptr || candidate.version == nullptr) refuse("has no name or no version", "set both");
    const std::string_view version = candidate.version;
    if (version.empty() || version.size() > 80 ||
        !std::all_of(version.begin(), version.end(), [](unsigned char c) { return std::isprint(c); }))
        refuse("has a version that is no line of 1 to 80 printable characters", "set it to something like 1.4.2");
    if (const auto problem = bad_plugin_name(candidate.name))
        refuse("is named `" + one_line(candidate.name) + "`, " + *problem, "choose another name");
    if (candidate.role < CROSSOVER_CANDIDATE_ONESHOT || candidate.role > CROSSOVER_CANDIDATE_UNFUSED)
        refuse("has role " + std::to_string(candidate.role), "set one of the header's roles");
    if (!candidate.workspace_bytes || !candidate.unsupported || !candidate.create || !candidate.enqueue ||
        !candidate.destroy || !candidate.last_error)
        refuse("lacks a function", "set all but check, which may be null");
}

} // namespace

void PluginLibrary::Close::operator()(void* handle) const noexcept { dlclose(handle); }

PluginLibrary::PluginLibrary(const std::filesystem::path& path) : path_(path.string()) {
    require_shared_library(path_);
    handle_.reset(dlopen(std::filesystem::absolute(path).c_str(), RTLD_NOW | RTLD_LOCAL));
    if (!handle_)
        throw InputError(path_, "cannot be loaded: " + one_line(dlerror()),
                         "build it for this machine, with all that it needs on the library path");
    const auto get = reinterpret_cast<decltype(&crossover_candidate_get)>(dlsym(handle_.get(), kSymbol));
    if (!get)
        throw InputError(path_, std::string("has no function `") + kSymbol + "`",
                         "export it, as kernels/crossover_candidate.h says (extern \"C\", default visibility)");
    while (const crossover_candidate* const candidate = get(static_cast<std::uint32_t>(candidates_.size()))) {
        if (candidates_.size() == kMostCandidates)
            throw InputError(path_, "has more than " + std::to_string(kMostCandidates) + " candidates",
                             std::string("return null from ") + kSymbol + " after the last one");
        require_usable(path_, static_cast<std::uint32_t>(candidates_.size()), *candidate);
        for (const crossover_candidate* const other : candidates_)
            if (std::strcmp(other->name, candidate->name) == 0)
                throw InputError(path_, "has two candidates named `" + std::string(other->name) + "`", "rename one");
        candidates_.push_back(candidate);
    }
    if (candidates_.empty())
        throw InputError(path_, "has no candidates", std::string("return one from ") + kSymbol + "(0)");
}

const crossover_candidate& PluginLibrary::find(const std::string& name) const {
    for (const crossover_candidate* const candidate : candidates_)
        if (candidate->name == name) return *candidate;
    throw InputError(path_, "has no candidate `" + name + "` any more", "use the library that the run began with");
}

WorkspaceFit fit_workspace(const crossover_candidate& candidate, int world_size, std::uint64_t max_message_bytes,
                           std::uint64_t limit) {
    for (std::uint64_t message = max_message_bytes; message > 0; message /= 2)
        if (const std::uint64_t bytes = candidate.workspace_bytes(world_size, message); bytes <= limit)
            return {message, bytes};
    return {};
}

std::string plugin_checksum(const std::filesystem::path& path) {
    const std::uint64_t hash = content_hash(read_file(path, "the candidate library"));
    char text[17];
    std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
    return text;
}

} // namespace crossover
