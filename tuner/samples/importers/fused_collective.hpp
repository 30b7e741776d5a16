#pragma once
/// The Markdown that vLLM's and SGLang's benchmark_fused_collective.py write.

#include "tuner/samples/importers/result_file.hpp"

namespace crossover::importers {

/// What differs between the two.
struct FusedCollectiveDialect {
    std::string_view tokens_key; // in "## Configuration: num_tokens=512, …"
    std::string_view format;     // name of --from
};

/// Reads every table of every run in the file. Strict: a line that the scripts do not write is an error.
ResultFile read_fused_collective(std::string_view text, const std::string& file, const ImportOptions& options,
                                 const FusedCollectiveDialect& dialect);

} // namespace crossover::importers
