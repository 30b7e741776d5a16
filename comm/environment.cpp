#include "comm/environment.hpp"

#include "tuner/error.hpp"
#include "tuner/parse_number.hpp"

#include <unistd.h>

namespace crossover {

Environment read_environment() {
    Environment environment;
    for (char** entry = environ; entry && *entry; ++entry) {
        const std::string_view text = *entry;
        const std::size_t equals = text.find('=');
        if (equals != std::string_view::npos) environment.emplace(text.substr(0, equals), text.substr(equals + 1));
    }
    return environment;
}

std::optional<std::string> variable(const Environment& environment, std::string_view name) {
    const auto found = environment.find(name);
    if (found == environment.end() || found->second.empty()) return std::nullopt;
    return found->second;
}

std::optional<int> integer_variable(const Environment& environment, std::string_view name, int least, int most) {
    const std::optional<std::string> text = variable(environment, name);
    if (!text) return std::nullopt;
    int value = 0;
    if (parse_number(*text, value) != std::errc{} || value < least || value > most)
        throw InputError("environment",
                         std::string(name) + "=" + *text + " is not a whole number in " + std::to_string(least) + "…" +
                             std::to_string(most),
                         "unset it, or start Crossover by torchrun, mpirun or srun, which set it");
    return value;
}

Environment relevant_variables(const Environment& environment) {
    // What images and modules set to say what is installed where: the versions in use are asked of the libraries.
    const auto describes_installation = [](std::string_view name) {
        for (const char* ending : {"_VERSION", "_HOME", "_PATH", "_ROOT", "_DIR"})
            if (name.ends_with(ending)) return true;
        return false;
    };
    Environment relevant;
    for (const auto& [name, value] : environment)
        if ((name.starts_with("NCCL_") || name.starts_with("CUDA_")) && name != "NCCL_COMM_ID" &&
            !describes_installation(name))
            relevant.emplace(name, value);
    return relevant;
}

std::optional<std::string> windows_turned_off_by(const Environment& environment) {
    for (const char* const name : {"NCCL_CUMEM_ENABLE", "NCCL_WIN_ENABLE"})
        if (variable(environment, name) == "0") return std::string(name) + "=0";
    return std::nullopt;
}

} // namespace crossover
