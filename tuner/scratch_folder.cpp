#include "tuner/scratch_folder.hpp"

#include "tuner/error.hpp"

#include <cerrno>
#include <cstdlib>
#include <string>
#include <system_error>

namespace crossover {

namespace fs = std::filesystem;

ScratchFolder::ScratchFolder() {
    std::error_code error;
    std::string name = (fs::temp_directory_path(error) / "crossover-XXXXXX").string();
    if (!error && ::mkdtemp(name.data()) == nullptr) error.assign(errno, std::generic_category());
    if (error)
        throw InputError("environment", "no temporary folder can be made: " + error.message(),
                         "set TMPDIR to a folder that you may write to");
    path_ = name;
}

ScratchFolder::~ScratchFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
}

} // namespace crossover
