#include "tuner/cli/sample_files.hpp"

#include "tuner/config.hpp"
#include "tuner/error.hpp"

#include <algorithm>

namespace crossover {
namespace {

/// "samples.csv:LINE": below the header, a row is a line.
std::string place_of(const std::filesystem::path& file, std::ptrdiff_t sample) {
    return file.string() + ":" + std::to_string(sample + 2);
}

} // namespace

void require_some(std::span<const Sample> samples, const std::filesystem::path& file) {
    if (samples.empty()) throw InputError(file.string(), "holds no samples", "name a file with some");
}

void require_gpu_of(const Fingerprint& machine, const std::string& what, std::span<const Sample> samples,
                    const std::filesystem::path& file) {
    const auto other = std::find_if(samples.begin(), samples.end(), [&](const Sample& sample) {
        return sample.sku != machine.sku || sample.compute_capability != machine.compute_capability;
    });
    if (other != samples.end())
        throw InputError(place_of(file, other - samples.begin()),
                         "a sample of `" + other->sku + "` (" + other->compute_capability + "), but the " + what +
                             " is of `" + machine.sku + "` (" + machine.compute_capability + ")",
                         "name samples and " + what + " of one run");
}

void require_kernels_for(std::span<const Sample> samples, const std::filesystem::path& file) {
    const auto other = std::find_if(samples.begin(), samples.end(), [](const Sample& sample) {
        return std::ranges::find(kWorldSizes, sample.point.cell.world_size) == kWorldSizes.end();
    });
    if (other != samples.end())
        throw InputError(place_of(file, other - samples.begin()),
                         "world_size is " + std::to_string(other->point.cell.world_size) +
                             ", for which there are no kernels",
                         "write 2, 4 or 8");
}

} // namespace crossover
