#pragma once
/// What must hold of samples that the user named.

#include "tuner/samples/sample.hpp"
#include "tuner/table.hpp"

#include <filesystem>
#include <span>

namespace crossover {

/// @throws InputError if `file` holds no samples
void require_some(std::span<const Sample> samples, const std::filesystem::path& file);

/// @throws InputError unless all samples of `file` are of the table's SKU and compute capability
void require_gpu_of(const Table& table, std::span<const Sample> samples, const std::filesystem::path& file);

} // namespace crossover
