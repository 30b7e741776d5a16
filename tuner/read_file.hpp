#pragma once

#include <filesystem>
#include <string>

namespace crossover {

/// The bytes of a file. `what` names it in the error, e.g. "the config".
/// @throws InputError naming path if it cannot be read
std::string read_file(const std::filesystem::path& path, const std::string& what);

} // namespace crossover
