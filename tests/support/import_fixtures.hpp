#pragma once
/// The result files under tests/data, by format.

#include "tuner/samples/importers/import.hpp"

#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

namespace crossover::import_fixtures {

/// tests/data/published holds numbers that vLLM's maintainers published; tests/data/import the formats' odd corners
/// with made-up numbers.
struct Fixture {
    ImportFormat format;
    std::string path; // below tests/data
    std::string sku;
    std::size_t samples;
};

inline const std::vector<Fixture>& all() {
    using enum ImportFormat;
    static const std::vector<Fixture> fixtures{
        {vllm, "published/vllm-b200-tp2.md", "NVIDIA B200", 16},
        {vllm, "published/vllm-b200-tp4.md", "NVIDIA B200", 16},
        {vllm, "published/vllm-b200-tp8.md", "NVIDIA B200", 16},
        {vllm, "import/vllm-failed.md", "NVIDIA B200", 17},
        {sglang, "published/sglang-h100-tp2-none.md", "NVIDIA H100", 12},
        {sglang, "published/sglang-h100-tp2-fp8.md", "NVIDIA H100", 12},
        {sglang, "published/sglang-h100-tp4-none.md", "NVIDIA H100", 12},
        {sglang, "published/sglang-h100-tp4-fp8.md", "NVIDIA H100", 12},
        {sglang, "import/sglang-both-residuals.md", "NVIDIA H100", 8},
        {vllm_communicators, "import/vllm-communicators.json", "NVIDIA H200", 12},
        {flashinfer, "import/flashinfer.csv", "NVIDIA H200", 14},
        {tensorrt_llm, "import/tensorrt-llm.csv", "NVIDIA B200", 36},
        {tensorrt_llm, "import/tensorrt-llm-benchmark.csv", "NVIDIA B200", 20},
        {vllm_pr, "published/vllm-pr-22086.csv", "NVIDIA B200", 96},
        {vllm_pr, "published/vllm-pr-22086.csv", "NVIDIA H100", 48},
    };
    return fixtures;
}

inline std::string read(const std::string& path) {
    std::ifstream in(std::string(CROSSOVER_SOURCE_DIR) + "/tests/data/" + path, std::ios::binary);
    if (!in) throw std::runtime_error("no test file " + path);
    return {std::istreambuf_iterator<char>(in), {}};
}

inline ImportOptions options_for(ImportFormat format, const std::string& sku) {
    ImportOptions options{.sku = sku, .compute_capability = sku.ends_with("B200") ? "10.0" : "9.0", .world_size = {}};
    if (format == ImportFormat::flashinfer) options.world_size = 8;
    return options;
}

inline Imported import_text(ImportFormat format, const std::string& text, const std::string& sku) {
    const ImportInput input{text, "results"};
    return import_samples(format, {&input, 1}, options_for(format, sku));
}

} // namespace crossover::import_fixtures
