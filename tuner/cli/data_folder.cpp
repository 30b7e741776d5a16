#include "tuner/cli/data_folder.hpp"

#include "tuner/error.hpp"

#include <algorithm>
#include <system_error>
#include <vector>

namespace crossover {
namespace fs = std::filesystem;

fs::path data_folder() {
    std::error_code ignored;
    const fs::path program = fs::read_symlink("/proc/self/exe", ignored);
    const fs::path installed = program.parent_path().parent_path() / "share" / "crossover" / "configs";
    for (const fs::path& folder : {fs::path(CROSSOVER_DATA_DIR), installed, fs::path("configs")})
        if (fs::exists(folder / "default.yaml", ignored)) return folder;
    throw InputError(CROSSOVER_DATA_DIR, "Crossover's own configs are not there, nor in " + installed.string(),
                     "run in Crossover's source tree, or name files with --config and --recording");
}

fs::path find_recording(const std::optional<std::string>& name) {
    std::error_code ignored;
    if (name && fs::is_directory(*name, ignored)) return *name;
    const fs::path folder = data_folder() / "recordings";
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder, ignored))
        if (fs::exists(entry.path() / "provenance.yaml", ignored)) names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    if (!name) {
        if (names.empty())
            throw InputError(shown(folder), "no GPUs here, and no recording to replay", "name one with --recording");
        return folder / names.front();
    }
    if (std::find(names.begin(), names.end(), *name) != names.end()) return folder / *name;
    std::string remedy = "name a folder with samples.csv and provenance.yaml";
    for (const std::string& known : names) remedy += ", or " + known;
    throw InputError("--recording", "no folder `" + *name + "`", remedy);
}

std::string shown(const fs::path& path) {
    std::error_code error;
    const fs::path relative = fs::proximate(path, error);
    return error || relative.empty() || *relative.begin() == ".." ? path.string() : relative.string();
}

} // namespace crossover
