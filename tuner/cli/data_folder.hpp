#pragma once
/// Where the data that comes with Crossover lies: configs/default.yaml, configs/recordings/…

#include <filesystem>
#include <string>
#include <vector>

namespace crossover {

/// The `configs` folder: of the installation (PREFIX/share/crossover), which the source tree may be newer than; else of
/// the source tree this was built from, else of the working folder. @throws InputError if there is none
std::filesystem::path data_folder();

/// A config by its path, or by its name in data_folder(), `quick`. What is neither is left to its reader to tell.
std::filesystem::path find_config(const std::string& name);

/// Whether it is data_folder()/default.yaml, by whatever name.
bool is_default_config(const std::filesystem::path& path);

/// The recordings in data_folder()/recordings, by name. @throws InputError if there is none
std::vector<std::filesystem::path> shipped_recordings();

/// A recording by its path, or by its name in data_folder()/recordings. @throws InputError listing those there are
std::filesystem::path find_recording(const std::string& name);

/// The path as a user in the working folder would type it.
std::string shown(const std::filesystem::path& path);

} // namespace crossover
