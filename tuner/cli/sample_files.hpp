#pragma once
/// What must hold of samples that the user named.

#include "tuner/samples/sample.hpp"
#include "tuner/table.hpp"

#include <filesystem>
#include <span>
#include <string>

namespace crossover {

/// @throws InputError if `file` holds no samples
void require_some(std::span<const Sample> samples, const std::filesystem::path& file);

/// @param samples  all of `file`, in its order
/// @param what  has this fingerprint, e.g. "table"
/// @throws InputError with file:line for a sample of another SKU or compute capability
void require_gpu_of(const Fingerprint& machine, const std::string& what, std::span<const Sample> samples,
                    const std::filesystem::path& file);

/// @throws InputError with file:line for a sample of a world size that only an import can have
void require_kernels_for(std::span<const Sample> samples, const std::filesystem::path& file);

} // namespace crossover
