#pragma once
/// A run on GPUs, from the driver process to the rank processes and back. The driver makes no CUDA context: each
/// session is a fresh set of rank processes (comm/launch.hpp).

#include "tuner/samples/run_record.hpp"

#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

namespace crossover {

/// CUDA devices that this process sees; 0 without a driver.
int gpu_count();

/// Ranks that a run would have: the launcher's, or one for each GPU.
int available_ranks();

/// A rank process failed; what was measured by then is kept.
struct SessionFailure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// Measures all sessions of `config` into `out`/samples.csv and fills `record`. Started alone it uses all GPUs that the
/// config needs; under torchrun, mpirun or srun each of the processes calls it.
/// @returns whether this process is the one (rank 0) that goes on to write and print
/// @throws InputError for a world that the config does not fit; SessionFailure
bool measure_on_gpus(const Config& config, const std::filesystem::path& out, bool resume, RunRecord& record);

/// The rank process's part: `crossover rank`, started by measure_on_gpus and not meant for users.
int run_rank(const std::vector<std::string>& arguments);

} // namespace crossover
