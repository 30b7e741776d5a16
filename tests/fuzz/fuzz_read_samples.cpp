/// Any bytes as samples.csv: an InputError, or samples that survive being written and read again. (Writing makes a
/// line break within a text a blank.)
#include "tests/fuzz/support.hpp"
#include "tuner/error.hpp"
#include "tuner/samples/journal.hpp"

using namespace crossover;

namespace {

std::vector<Sample> written_and_read(const std::vector<Sample>& samples) {
    return read_samples(fuzz::MemoryFile(samples_csv(samples)).path());
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    std::vector<Sample> samples;
    try {
        samples = read_samples(fuzz::MemoryFile(text).path());
    } catch (const InputError&) {
        return 0;
    }
    const std::vector<Sample> once = written_and_read(samples);
    fuzz::require(once.size() == samples.size() && written_and_read(once) == once, "samples.csv keeps its samples");
    return 0;
}
