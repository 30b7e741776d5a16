#include "tuner/samples/importers/import.hpp"

#include "tuner/error.hpp"
#include "tuner/parse_number.hpp"
#include "tuner/read_file.hpp"
#include "tuner/samples/importers/result_file.hpp"
#include "tuner/table.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <sstream>
#include <utility>

namespace crossover {
namespace {

using importers::Place;
using importers::ResultFile;
using importers::ResultRow;
using importers::shown;

constexpr double kShortestUs = 1e-3;         // a nanosecond: less is a broken row,
constexpr double kLongestUs = 3.6e9;         // and so is more than an hour
constexpr double kNormalQuantile90 = 1.2816; // standard deviations from the mean to the 90th percentile

/// A printed number and the place value of its last digit.
struct Printed {
    double value = 0;
    double step = 1;
};

/// @throws InputError for text that is neither a number nor a word for a failure (those give NaN)
Printed read_printed(std::string_view text, const Place& place) {
    const std::string word = importers::lower(text);
    if (word == "failed" || word == "nan" || word == "inf" || word == "infinity" || word == "null" || word == "n/a")
        return {.value = std::nan("")};
    Printed printed;
    if (parse_number(text, printed.value) != std::errc{} || !(printed.value >= 0))
        place.fail("time is " + shown(text), "expected a number, or FAILED");
    const std::size_t exponent_at = std::min(text.find_first_of("eE"), text.size());
    const std::size_t point_at = std::min(text.find('.'), exponent_at);
    const auto decimals = static_cast<int>(exponent_at - std::min(point_at + 1, exponent_at));
    int exponent = 0;
    if (exponent_at < text.size()) {
        const std::size_t sign = text[exponent_at + 1] == '+' ? 2 : 1;
        parse_number(text.substr(exponent_at + sign), exponent);
    }
    printed.step = std::pow(10.0, exponent - decimals);
    return printed;
}

/// To a picosecond: 0.013 ms is 13 µs, not 13.000000000000002.
double rounded_us(double us) { return std::round(us * 1e6) / 1e6; }

/// Numbers the sessions: rows of one run (block) at one point share a session, a later run there gets the next one, and
/// so does an algorithm that comes again within a run.
class Sessions {
  public:
    void next_block() {
        for (const auto& [point, session] : last_) first_[point] = session + 1;
        repeats_.clear();
    }
    int of(const Point& point, const std::string& algorithm) {
        const int session = first_[point] + repeats_[{point, algorithm}]++;
        last_[point] = std::max(last_[point], session);
        return session;
    }

  private:
    std::map<Point, int> first_; // session of the current block
    std::map<Point, int> last_;
    std::map<std::pair<Point, std::string>, int> repeats_;
};

void append_samples(const ResultFile& result, const std::string& file, const ImportOptions& options, Sessions& sessions,
                    std::vector<Sample>& samples) {
    std::vector<Printed> times;
    double step = std::pow(10.0, -result.decimals);
    for (const ResultRow& row : result.rows) {
        times.push_back(read_printed(row.time, {file, row.line}));
        // Tools cut trailing zeros (0.010 → 0.01), so the finest row tells how all of them were rounded.
        if (times.back().value > 0) step = std::min(step, times.back().step);
    }
    const double half_step_us = step / 2 * result.time_unit_us;

    int block = -1;
    for (std::size_t i = 0; i < result.rows.size(); ++i) {
        const ResultRow& row = result.rows[i];
        const Place place{file, row.line};
        if (std::exchange(block, row.block) != row.block) sessions.next_block();
        Sample sample;
        sample.session = sessions.of(row.point, row.algorithm);
        sample.sku = options.sku;
        sample.compute_capability = options.compute_capability;
        sample.point = row.point;
        sample.algorithm = row.algorithm;
        const double time_us = rounded_us(times[i].value * result.time_unit_us);
        if (!(time_us > 0)) {
            sample.status = SampleStatus::failed;
            sample.note = "the file says " + row.time;
        } else if (time_us < kShortestUs || time_us > kLongestUs) {
            place.fail("time is " + row.time + (time_us > kLongestUs ? ", over an hour" : ", under a nanosecond"),
                       "correct the row or take it out");
        } else if (!row.out_of_table.empty()) {
            sample.status = SampleStatus::skipped;
            std::ostringstream us;
            us << time_us;
            sample.note = us.str() + " us; " + row.out_of_table;
        } else {
            const double spread = row.deviation.empty() ? 0 : read_printed(row.deviation, place).value;
            // As a factor, so that a spread larger than the time itself leaves a time above 0.
            const double factor = 1 + (spread > 0 ? kNormalQuantile90 * spread * result.time_unit_us / time_us : 0);
            sample.latency_us = time_us;
            sample.p10_us = std::min(rounded_us(time_us - half_step_us), time_us / factor);
            sample.p90_us = std::max(rounded_us(time_us + half_step_us), time_us * factor);
            sample.replays = row.replays;
        }
        samples.push_back(std::move(sample));
    }
}

void check(const ImportOptions& options) {
    if (options.sku.empty())
        throw InputError("--sku", "the file does not say which GPU it was measured on",
                         "name it, e.g. --sku 'NVIDIA H200'");
    if (std::any_of(options.sku.begin(), options.sku.end(), [](char c) { return static_cast<unsigned char>(c) < 32; }))
        throw InputError("--sku", "the name has control characters", "name it, e.g. --sku 'NVIDIA H200'");
    if (!is_compute_capability(options.compute_capability))
        throw InputError("--compute-capability",
                         options.compute_capability.empty()
                             ? "the file does not say it"
                             : "`" + options.compute_capability + "` is no compute capability",
                         "give the GPU's, e.g. --compute-capability 9.0");
    if (options.world_size && (*options.world_size < 2 || *options.world_size > 1024))
        throw InputError("--world-size", std::to_string(*options.world_size) + " is out of range", "give 2 to 1024");
    if (!importers::is_flashinfer_backend(options.backend))
        throw InputError("--backend", "`" + options.backend + "` is unknown", "give trtllm or mnnvl");
}

/// By ImportFormat.
constexpr std::array kReaders{
    importers::read_vllm,       importers::read_sglang,       importers::read_vllm_communicators,
    importers::read_flashinfer, importers::read_tensorrt_llm, importers::read_vllm_pr};
static_assert(kReaders.size() == kImportFormats.size());

} // namespace

Imported import_samples(ImportFormat format, std::span<const ImportInput> inputs, const ImportOptions& options) {
    check(options);
    const auto read = kReaders[static_cast<std::size_t>(format)];
    Imported imported;
    Sessions sessions;
    for (const auto& [text, file] : inputs) {
        const ResultFile result = read(importers::plain_text(text, file), file, options);
        if (result.rows.empty()) Place{file}.fail("holds no results", "give a file with at least one measured row");
        for (const ResultRow& row : result.rows)
            if (options.world_size && row.point.cell.world_size != *options.world_size)
                Place{file, row.line}.fail("world size is " + std::to_string(row.point.cell.world_size) +
                                               ", --world-size says " + std::to_string(*options.world_size),
                                           "leave the option out: this file says it");
        append_samples(result, file, options, sessions, imported.samples);
        for (const std::string& note : result.notes) imported.notes.push_back(file + ": " + note);
    }
    return imported;
}

Imported import_files(ImportFormat format, std::span<const std::filesystem::path> paths, const ImportOptions& options) {
    std::vector<ImportInput> inputs;
    for (const std::filesystem::path& path : paths)
        inputs.push_back({read_file(path, "the result file"), path.string()});
    return import_samples(format, inputs, options);
}

} // namespace crossover
