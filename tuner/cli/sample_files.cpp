#include "tuner/cli/sample_files.hpp"

#include "tuner/error.hpp"

#include <algorithm>

namespace crossover {

void require_some(std::span<const Sample> samples, const std::filesystem::path& file) {
    if (samples.empty()) throw InputError(file.string(), "holds no samples", "name a file with some");
}

void require_gpu_of(const Table& table, std::span<const Sample> samples, const std::filesystem::path& file) {
    const Fingerprint& machine = table.fingerprint;
    const auto other = std::find_if(samples.begin(), samples.end(), [&](const Sample& sample) {
        return sample.sku != machine.sku || sample.compute_capability != machine.compute_capability;
    });
    if (other != samples.end())
        throw InputError(file.string(),
                         "samples of `" + other->sku + "` (" + other->compute_capability + "), but the table is of `" +
                             machine.sku + "` (" + machine.compute_capability + ")",
                         "name the samples.csv that the table was fitted to");
}

} // namespace crossover
