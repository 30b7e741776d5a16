#include "tuner/cli/data_folder.hpp"

#include "tuner/error.hpp"

#include <algorithm>
#include <system_error>

namespace crossover {
namespace fs = std::filesystem;

fs::path data_folder() {
    std::error_code ignored;
    const fs::path program = fs::read_symlink("/proc/self/exe", ignored);
    const fs::path installed = program.parent_path().parent_path() / "share" / "crossover" / "configs";
    for (const fs::path& folder : {installed, fs::path(CROSSOVER_DATA_DIR), fs::path("configs")})
        if (fs::exists(folder / "default.yaml", ignored)) return folder;
    throw InputError(installed.string(), "Crossover's own configs are not there, nor in " CROSSOVER_DATA_DIR,
                     "run in Crossover's source tree, or name files with --config and --recording");
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
