#pragma once

#include <filesystem>
#include <string_view>

namespace crossover {

/// Writes text to path: all of it or, on any error, nothing. A temporary file in the same folder is written, synced and
/// renamed over path; a symbolic link is followed, permissions of an existing file are kept, a new one gets what the
/// umask gives. @throws InputError naming path if the folder or the file cannot be written.
void write_atomically(const std::filesystem::path& path, std::string_view text);

/// For before long work whose result goes there. @throws InputError as write_atomically() would now
void require_writable(const std::filesystem::path& path);

} // namespace crossover
