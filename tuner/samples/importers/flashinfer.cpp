/// FlashInfer benchmarks/flashinfer_benchmark.py --routine allreduce_fusion --output_path (CSV, times in ms)
#include "tuner/error.hpp"
#include "tuner/samples/importers/result_file.hpp"

#include <map>
#include <optional>

namespace crossover::importers {
namespace {

/// Columns by position: five names stand twice in the header.
constexpr std::size_t kColumns = 145;
enum Column : std::size_t {
    routine = 0,
    median_time = 1,
    std_time = 2,
    backend = 5,
    resolved_backend = 6,
    num_tokens = 28,
    pattern = 59,
    hidden_size = 126,
    input_dtype = 127,
};
/// A word in the header's name, to notice that columns have moved.
struct Landmark {
    std::size_t column;
    std::string_view word;
};
constexpr Landmark kLandmarks[] = {{median_time, "median"}, {std_time, "std"},       {num_tokens, "tokens"},
                                   {pattern, "pattern"},    {hidden_size, "hidden"}, {input_dtype, "dtype"}};

void check_header(const CsvRow& header, const Place& place) {
    if (header.fields.size() != kColumns || lower(header.fields[routine]) != "routine")
        place.fail("is not a FlashInfer benchmark CSV of " + std::to_string(kColumns) + " columns (it has " +
                       std::to_string(header.fields.size()) + ")",
                   "give the --output_path of flashinfer_benchmark.py, header included; see --from");
    for (const auto& [column, word] : kLandmarks)
        if (header.fields[column].find(word) == std::string::npos)
            place.fail("column " + std::to_string(column) + " is " + shown(header.fields[column]) + ", not " +
                           std::string(word),
                       "this FlashInfer version orders its columns in another way: move them back");
}

struct Fusion {
    Pattern pattern;
    Quant quant;
    std::string_view out_of_table;
};
std::optional<Fusion> parse_fusion(std::string_view name) {
    if (name == "allreduce") return Fusion{Pattern::allreduce, Quant::none, ""};
    if (name == "ar_residual_rmsnorm") return Fusion{Pattern::allreduce_residual_rmsnorm, Quant::none, ""};
    if (name == "ar_residual_rmsnorm_fp8_quant") return Fusion{Pattern::allreduce_residual_rmsnorm, Quant::fp8, ""};
    if (name == "ar_residual_rmsnorm_fp4_quant") return Fusion{Pattern::allreduce_residual_rmsnorm, Quant::fp4, ""};
    if (name == "ar_residual_rmsnorm_dynamic_fp8")
        return Fusion{Pattern::allreduce_residual_rmsnorm, Quant::fp8,
                      "fp8 with one scale a token, found while it runs; the table's fp8 has one static scale"};
    return std::nullopt;
}

/// "trtllm_ar_residual_rmsnorm_oneshot" → "oneshot"; the last word says what was forced, if anything.
std::string_view strategy_of(const CsvRow& row) {
    for (const Column column : {resolved_backend, backend})
        for (const std::string_view strategy : {algorithm::oneshot, algorithm::twoshot})
            if (row.fields[column].ends_with(strategy)) return strategy;
    return "auto";
}

} // namespace

void name_flashinfer_kernel(ResultRow& row, std::string_view backend, std::string_view strategy,
                            const ImportOptions& options, const Place& place) {
    const bool forced = strategy == algorithm::oneshot || strategy == algorithm::twoshot;
    if (forced && backend == options.backend) {
        row.algorithm = strategy;
        return;
    }
    row.algorithm = algorithm_name(std::string(backend) + "_" + std::string(forced ? strategy : "auto"), place);
    if (!forced)
        row.out_of_table = "the library's own choice between oneshot and twoshot";
    else
        row.out_of_table = "no baseline, the same kernel of another library" +
                           (is_flashinfer_backend(backend) ? ": import with --backend " + std::string(backend) : "");
}

ResultFile read_flashinfer(std::string_view text, const std::string& file, const ImportOptions& options) {
    ResultFile result;
    std::map<std::string, int> other_routines;
    int block = -1;
    for (const CsvRow& row : split_csv(text, file)) {
        const Place place{file, row.line};
        if (block < 0 || lower(row.fields[routine]) == "routine") {
            check_header(row, place);
            ++block;
            continue;
        }
        // More are fine: older versions did not quote the command line in the last column.
        if (row.fields.size() < kColumns)
            place.fail("has " + std::to_string(row.fields.size()) + " of " + std::to_string(kColumns) + " columns",
                       "the file may be cut off: take the row out or run it again");
        if (row.fields[routine] != "allreduce_fusion") {
            ++other_routines[row.fields[routine]];
            continue;
        }
        if (!options.world_size)
            throw InputError("--world-size", file + " does not say it", "give the number of GPUs it ran on");
        const auto fusion = parse_fusion(row.fields[pattern]);
        if (!fusion)
            place.fail("pattern is " + shown(row.fields[pattern]),
                       "expected allreduce, ar_residual_rmsnorm or one of its quantized forms");
        ResultRow found{.line = row.line,
                        .block = block,
                        .point = place.point(fusion->pattern, place.dtype(row.fields[input_dtype]), fusion->quant,
                                             std::to_string(*options.world_size), row.fields[hidden_size],
                                             row.fields[num_tokens]),
                        .time = row.fields[median_time],
                        .deviation = row.fields[std_time]};
        name_flashinfer_kernel(found, row.fields[backend].substr(0, row.fields[backend].find('_')), strategy_of(row),
                               options, place);
        if (found.out_of_table.empty()) found.out_of_table = fusion->out_of_table;
        result.rows.push_back(std::move(found));
    }
    for (const auto& [name, count] : other_routines)
        result.notes.push_back(std::to_string(count) + " row(s) of routine " + shown(name) + " left out");
    return result;
}

} // namespace crossover::importers
