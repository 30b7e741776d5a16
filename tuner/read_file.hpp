#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

namespace crossover {

/// The bytes of a file. `what` names it in the error, e.g. "the config".
/// @throws InputError naming path if it cannot be read
std::string read_file(const std::filesystem::path& path, const std::string& what);

/// Bytes of the UTF-8 byte order mark that a text begins with; 0 without one.
std::size_t byte_order_mark_size(std::string_view text);

} // namespace crossover
