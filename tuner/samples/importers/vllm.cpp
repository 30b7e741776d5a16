/// vLLM benchmarks/kernels/benchmark_fused_collective.py --output-file (appends; Markdown)
#include "tuner/samples/importers/fused_collective.hpp"

namespace crossover::importers {

ResultFile read_vllm(std::string_view text, const std::string& file, const ImportOptions& options) {
    return read_fused_collective(text, file, options, {.tokens_key = "num_tokens", .format = "vllm"});
}

} // namespace crossover::importers
