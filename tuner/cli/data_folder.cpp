#include "tuner/cli/data_folder.hpp"

#include "tuner/error.hpp"

#include <algorithm>
#include <optional>
#include <system_error>

namespace crossover {
namespace fs = std::filesystem;

namespace {

fs::path installed_folder() {
    std::error_code ignored;
    const fs::path program = fs::read_symlink("/proc/self/exe", ignored);
    return program.parent_path().parent_path() / "share" / "crossover" / "configs";
}

/// data_folder(), if there is one.
std::optional<fs::path> find_data_folder() {
    std::error_code ignored;
    for (const fs::path& folder : {installed_folder(), fs::path(CROSSOVER_DATA_DIR), fs::path("configs")})
        if (fs::exists(folder / "default.yaml", ignored)) return folder;
    return std::nullopt;
}

} // namespace

fs::path data_folder() {
    if (const auto folder = find_data_folder()) return *folder;
    throw InputError(installed_folder().string(), "Crossover's own configs are not there, nor in " CROSSOVER_DATA_DIR,
                     "run in Crossover's source tree, or name files with --config and --recording");
}

fs::path find_config(const std::string& name) {
    std::error_code ignored;
    const bool is_file = fs::exists(name, ignored) && !fs::is_directory(name, ignored);
    if (is_file || fs::path(name).filename() != name) return name;
    const auto folder = find_data_folder();
    if (!folder || !fs::exists(*folder / (name + ".yaml"), ignored)) return name;
    return shown(*folder / (name + ".yaml"));
}

bool is_default_config(const fs::path& path) {
    std::error_code ignored; // a file that is not there is told when it is read
    const auto folder = find_data_folder();
    return folder && fs::equivalent(path, *folder / "default.yaml", ignored);
}

std::vector<fs::path> shipped_recordings() {
    std::error_code ignored;
    const fs::path folder = data_folder() / "recordings";
    std::vector<fs::path> recordings;
    for (const auto& entry : fs::directory_iterator(folder, ignored))
        if (fs::exists(entry.path() / "provenance.yaml", ignored)) recordings.push_back(entry.path());
    if (recordings.empty())
        throw InputError(shown(folder), "no recording to replay", "name a folder of one with --recording");
    std::sort(recordings.begin(), recordings.end());
    return recordings;
}

fs::path find_recording(const std::string& name) {
    std::error_code ignored;
    if (fs::is_directory(name, ignored)) return name;
    std::string remedy = "name a folder with samples.csv and provenance.yaml";
    for (const fs::path& known : shipped_recordings()) {
        if (known.filename() == name) return known;
        remedy += ", or " + known.filename().string();
    }
    throw InputError("--recording", "no folder `" + name + "`", remedy);
}

std::string shown(const fs::path& path) {
    std::error_code error;
    const fs::path relative = fs::proximate(path, error);
    return error || relative.empty() || *relative.begin() == ".." ? path.string() : relative.string();
}

} // namespace crossover
