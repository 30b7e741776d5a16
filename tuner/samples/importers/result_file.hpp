#pragma once
/// What a reader of one format makes of a file: rows as printed. import.cpp turns them into samples.

#include "tuner/samples/importers/import.hpp"
#include "tuner/samples/importers/text.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace crossover::importers {

/// One time of one algorithm, as printed.
struct ResultRow {
    int line = 0;
    int block = 0; // which run: rises where a header comes again
    Point point;
    std::string algorithm = {};
    std::string time = {}; // "0.013", "FAILED"
    int replays = 0;       // 0 = the file does not say
    /// Standard deviation over replays as printed; empty = the file does not say.
    std::string deviation = {};
    /// Why this is neither a baseline nor an algorithm of the table; empty = it is one.
    std::string out_of_table = {};
};

struct ResultFile {
    double time_unit_us = 1000; // one printed unit of time; 1000 = ms
    int decimals = 0;           // that the tool prints at least; trailing zeros may be gone from the file
    std::vector<ResultRow> rows = {};
    std::vector<std::string> notes = {};
};

// One reader a format, in the file of its name; vllm's and sglang's in fused_collective.cpp. `text` has been through
// plain_text().
ResultFile read_vllm(std::string_view text, const std::string& file, const ImportOptions& options);
ResultFile read_sglang(std::string_view text, const std::string& file, const ImportOptions& options);
ResultFile read_vllm_communicators(std::string_view text, const std::string& file, const ImportOptions& options);
ResultFile read_flashinfer(std::string_view text, const std::string& file, const ImportOptions& options);
ResultFile read_tensorrt_llm(std::string_view text, const std::string& file, const ImportOptions& options);
ResultFile read_vllm_pr(std::string_view text, const std::string& file, const ImportOptions& options);

/// Whether --backend can name it: trtllm or mnnvl.
inline bool is_flashinfer_backend(std::string_view name) { return name == "trtllm" || name == "mnnvl"; }

/// FlashInfer's kernels by library and strategy ("oneshot", "twoshot" or the library's own choice).
/// Those of the backend asked for are the table's `oneshot` and `twoshot`. The others keep a name of their own
/// (mnnvl_oneshot, trtllm_auto) and stay out of the table: a baseline is what runs without these kernels.
void name_flashinfer_kernel(ResultRow& row, std::string_view backend, std::string_view strategy,
                            const ImportOptions& options, const Place& place);

} // namespace crossover::importers
