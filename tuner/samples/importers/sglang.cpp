/// SGLang benchmark/kernels/flashinfer_allreduce_fusion/benchmark_fused_collective.py --output-file (Markdown)
#include "tuner/samples/importers/fused_collective.hpp"

namespace crossover::importers {

ResultFile read_sglang(std::string_view text, const std::string& file, const ImportOptions& options) {
    return read_fused_collective(text, file, options, {.tokens_key = "seq_len", .format = "sglang"});
}

} // namespace crossover::importers
