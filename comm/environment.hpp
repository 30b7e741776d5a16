#pragma once
/// The process environment, read once at start and passed on as a value: nothing else in Crossover calls getenv.

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace crossover {

using Environment = std::map<std::string, std::string, std::less<>>;

/// A copy of this process's environment variables.
Environment read_environment();

/// The variable's value, or nothing if it is unset or empty.
std::optional<std::string> variable(const Environment& environment, std::string_view name);

/// The variable as an integer, or nothing if it is unset or empty. @throws InputError("environment", …) if it is not a
/// whole number in [least, most].
std::optional<int> integer_variable(const Environment& environment, std::string_view name, int least, int most);

/// The variables that change what is measured (NCCL_*, CUDA_*), for provenance. Left out are NCCL_COMM_ID, which
/// differs in every session and changes nothing, and those that say what is installed where (CUDA_HOME, NCCL_VERSION,
/// …).
Environment relevant_variables(const Environment& environment);

/// The variable that turns NCCL's symmetric windows off, as "NCCL_WIN_ENABLE=0", or nothing. They also need peer access
/// between all GPUs, and NCCL_NVLS_ENABLE=1 for NCCL to use NVLink multicast on them.
std::optional<std::string> windows_turned_off_by(const Environment& environment);

} // namespace crossover
