/// Any bytes as a result file of CROSSOVER_FUZZ_FORMAT: an InputError, or samples that read_samples() takes back.
#include "tests/fuzz/support.hpp"
#include "tuner/error.hpp"
#include "tuner/samples/importers/import.hpp"
#include "tuner/samples/journal.hpp"

#include <algorithm>
#include <cmath>
#include <string_view>

using namespace crossover;

namespace {

bool is_one_line(std::string_view text) {
    return std::none_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 32; });
}

void check(const Sample& sample) {
    using fuzz::require;
    const bool ok = sample.status == SampleStatus::ok;
    require(sample.session >= 0 && sample.replays >= 0, "counts are not negative");
    require(sample.point.cell.world_size >= 2 && sample.point.hidden_dim > 0 && sample.point.num_tokens > 0,
            "a sample has a shape");
    require(message_bytes(sample.point) < std::uint64_t{1} << 62, "bytes do not overflow");
    require(!sample.algorithm.empty() && sample.algorithm != algorithm::not_measured, "an algorithm has a name");
    require(std::isfinite(sample.latency_us) && std::isfinite(sample.p90_us), "times are finite");
    require(!ok || (0 < sample.p10_us && sample.p10_us <= sample.latency_us && sample.latency_us <= sample.p90_us),
            "percentiles enclose the time");
    require(ok || (sample.latency_us == 0 && !sample.note.empty()), "what is not ok says why");
    require(is_one_line(sample.note), "a note is one line");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    constexpr ImportFormat format = ImportFormat::CROSSOVER_FUZZ_FORMAT;
    const ImportInput input{std::string(reinterpret_cast<const char*>(data), size), "results"};
    ImportOptions options{.sku = "NVIDIA B200", .compute_capability = "10.0", .world_size = {}};
    if (format == ImportFormat::flashinfer) options.world_size = 8;
    Imported imported;
    try {
        imported = import_samples(format, {&input, 1}, options);
    } catch (const InputError& error) {
        fuzz::require(is_one_line(error.what()), "an error is one line");
        return 0;
    }
    fuzz::require(!imported.samples.empty(), "a file without results is an error");
    for (const std::string& note : imported.notes) fuzz::require(is_one_line(note), "a note is one line");
    for (const Sample& sample : imported.samples) check(sample);
    const fuzz::MemoryFile csv(samples_csv(imported.samples));
    fuzz::require(read_samples(csv.path()) == imported.samples, "samples.csv keeps what was imported");
    return 0;
}
