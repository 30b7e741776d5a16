#pragma once
/// Result files of other tools → samples, so that kernels which Crossover cannot run itself get a table all the same.

#include "tuner/samples/sample.hpp"

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace crossover {

/// Which tool wrote the file; each has a reader (result_file.hpp).
enum class ImportFormat : std::uint8_t {
    vllm,               // benchmark_fused_collective.py --output-file (Markdown)
    sglang,             // SGLang's version of that script
    vllm_communicators, // benchmark_device_communicators.py --output-json
    flashinfer,         // flashinfer_benchmark.py --routine allreduce_fusion --output_path (CSV)
    tensorrt_llm,       // all_reduce.py --save_csv, with or without --benchmark
    vllm_pr,            // numbers published in a pull request, as CSV with a `gpu` column
};

inline constexpr std::array kImportFormats{
    Named<ImportFormat>{ImportFormat::vllm, "vllm"},
    Named<ImportFormat>{ImportFormat::sglang, "sglang"},
    Named<ImportFormat>{ImportFormat::vllm_communicators, "vllm-communicators"},
    Named<ImportFormat>{ImportFormat::flashinfer, "flashinfer"},
    Named<ImportFormat>{ImportFormat::tensorrt_llm, "tensorrt-llm"},
    Named<ImportFormat>{ImportFormat::vllm_pr, "vllm-pr"},
};

/// What result files do not say.
struct ImportOptions {
    std::string sku;                // "NVIDIA H200"; for vllm-pr it also picks the rows
    std::string compute_capability; // "9.0"
    std::optional<int> world_size;  // for files without it; must agree with files that have it
    std::string backend = "trtllm"; // whose kernels become `oneshot` and `twoshot`: trtllm or mnnvl
};

/// Samples of one import, in file order, and remarks for the user ("48 rows of H100 left out").
struct Imported {
    std::vector<Sample> samples;
    std::vector<std::string> notes;
};

/// Text of one result file, and its name for errors.
struct ImportInput {
    std::string text;
    std::string file;
};

/// Samples of the files. Speed-up columns are never read. A time printed as FAILED, nan or 0.0 is a `failed` sample;
/// p10 and p90 hold the ends of what the printed time was rounded from. A point that is there again (a file appended to
/// twice, a second file) is one more session. Kernels that are neither a baseline nor the ones asked for (other
/// backend, a library's own choice) are `skipped` samples whose note has the time.
/// @throws InputError naming file:line for a row that cannot be read, a truncated file, one of another kind, or naming
///         the option for what the file does not say.
Imported import_samples(ImportFormat format, std::span<const ImportInput> inputs, const ImportOptions& options);
Imported import_files(ImportFormat format, std::span<const std::filesystem::path> paths, const ImportOptions& options);

} // namespace crossover
