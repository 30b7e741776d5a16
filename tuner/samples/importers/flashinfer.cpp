/// FlashInfer benchmarks/flashinfer_benchmark.py --routine allreduce_fusion --output_path (CSV, times in ms)
#include "tuner/error.hpp"
#include "tuner/samples/importers/result_file.hpp"

#include <algorithm>
#include <map>
#include <optional>

namespace crossover::importers {
namespace {

constexpr std::size_t kRoutine = 0; // the column by which a header is known

/// Where a file keeps what. FlashInfer's versions have other columns beside these and in another order; five names, of
/// which num_tokens is one, stand twice, with one value.
struct Columns {
    std::size_t median_time, std_time, backend, resolved_backend, num_tokens, pattern, hidden_size, input_dtype;
    std::size_t count;
};

Columns columns_of(const CsvRow& header, const Place& place) {
    const auto column = [&](std::string_view name) {
        const auto found = std::find(header.fields.begin(), header.fields.end(), name);
        if (found == header.fields.end())
            place.fail("is not a CSV of FlashInfer's benchmark: it has no column `" + std::string(name) + "`",
                       "give the --output_path of flashinfer_benchmark.py, header included; see --from");
        return static_cast<std::size_t>(found - header.fields.begin());
    };
    if (column("routine") != kRoutine) place.fail("`routine` is not its first column", "move it back");
    return {.median_time = column("median_time"),
            .std_time = column("std_time"),
            .backend = column("backend"),
            .resolved_backend = column("resolved_backend"),
            .num_tokens = column("num_tokens"),
            .pattern = column("pattern"),
            .hidden_size = column("hidden_size"),
            .input_dtype = column("input_dtype"),
            .count = header.fields.size()};
}

struct FlashInferFusion {
    Pattern pattern;
    Quant quant;
    std::string_view out_of_table;
};
std::optional<FlashInferFusion> parse_fusion(std::string_view name) {
    if (name == "allreduce") return FlashInferFusion{Pattern::allreduce, Quant::none, ""};
    if (name == "ar_residual_rmsnorm") return FlashInferFusion{Pattern::allreduce_residual_rmsnorm, Quant::none, ""};
    if (name == "ar_residual_rmsnorm_fp8_quant")
        return FlashInferFusion{Pattern::allreduce_residual_rmsnorm, Quant::fp8, ""};
    if (name == "ar_residual_rmsnorm_fp4_quant")
        return FlashInferFusion{Pattern::allreduce_residual_rmsnorm, Quant::fp4, ""};
    if (name == "ar_residual_rmsnorm_dynamic_fp8")
        return FlashInferFusion{
            Pattern::allreduce_residual_rmsnorm, Quant::fp8,
            "fp8 with one scale a token, found while it runs; the table's fp8 has one static scale"};
    return std::nullopt;
}

/// "trtllm_ar_residual_rmsnorm_oneshot" → "oneshot"; the last word says what was forced, if anything.
std::string_view strategy_of(const CsvRow& row, const Columns& columns) {
    for (const std::size_t column : {columns.resolved_backend, columns.backend})
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
    Columns columns{};
    int block = -1;
    for (const CsvRow& row : split_csv(text, file)) {
        const Place place{file, row.line};
        if (block < 0 || row.fields[kRoutine] == "routine") {
            columns = columns_of(row, place);
            ++block;
            continue;
        }
        // More are fine: older versions did not quote the command line in the last column.
        if (row.fields.size() < columns.count)
            place.fail("has " + std::to_string(row.fields.size()) + " of " + std::to_string(columns.count) + " columns",
                       "the file may be cut off: take the row out or run it again");
        if (row.fields[kRoutine] != "allreduce_fusion") {
            ++other_routines[row.fields[kRoutine]];
            continue;
        }
        if (!options.world_size)
            throw InputError("--world-size", file + " does not say it", "give the number of GPUs it ran on");
        const auto fusion = parse_fusion(row.fields[columns.pattern]);
        if (!fusion)
            place.fail("pattern is " + shown(row.fields[columns.pattern]),
                       "expected allreduce, ar_residual_rmsnorm or one of its quantized forms");
        ResultRow found{.line = row.line,
                        .block = block,
                        .point = place.point(fusion->pattern, place.dtype(row.fields[columns.input_dtype]),
                                             fusion->quant, std::to_string(*options.world_size),
                                             row.fields[columns.hidden_size], row.fields[columns.num_tokens]),
                        .time = row.fields[columns.median_time],
                        .deviation = row.fields[columns.std_time]};
        const std::string& backend = row.fields[columns.backend];
        name_flashinfer_kernel(found, backend.substr(0, backend.find('_')), strategy_of(row, columns), options, place);
        if (found.out_of_table.empty()) found.out_of_table = fusion->out_of_table;
        result.rows.push_back(std::move(found));
    }
    for (const auto& [name, count] : other_routines)
        result.notes.push_back(std::to_string(count) + " row(s) of routine " + shown(name) + " left out");
    return result;
}

} // namespace crossover::importers
