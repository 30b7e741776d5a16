/// TensorRT-LLM tests/microbenchmarks/all_reduce.py --save_csv, without and with --benchmark (CSV, times in µs)
#include "tuner/joined.hpp"
#include "tuner/samples/importers/result_file.hpp"

#include <array>
#include <optional>

namespace crossover::importers {
namespace {

/// Where a layout keeps what; its header tells which it is.
struct Layout {
    std::array<std::string_view, 9> header;
    std::size_t world_size, dtype, bytes, num_tokens, hidden_size, strategy, fusion, time;
    std::optional<std::size_t> op;
};
constexpr Layout kLayouts[] = {
    {.header = {"world_size", "dtype", "size", "num_tokens", "hidden_size", "strategy", "fusion", "op", "time (us)"},
     .world_size = 0,
     .dtype = 1,
     .bytes = 2,
     .num_tokens = 3,
     .hidden_size = 4,
     .strategy = 5,
     .fusion = 6,
     .time = 8,
     .op = 7},
    {.header = {"world_size", "dtype", "fusion", "num_tokens", "hidden_size", "size_bytes", "strategy", "time_us",
                "algbw_GBps"},
     .world_size = 0,
     .dtype = 1,
     .bytes = 5,
     .num_tokens = 3,
     .hidden_size = 4,
     .strategy = 6,
     .fusion = 2,
     .time = 7,
     .op = std::nullopt},
};

const Layout* find_layout(const CsvRow& row) {
    for (const Layout& layout : kLayouts)
        if (equal_words(row.fields, layout.header)) return &layout;
    return nullptr;
}

struct TensorRtFusion {
    std::string_view name;
    Pattern pattern;
    Quant quant;
};
constexpr TensorRtFusion kFusions[] = {
    {"NONE", Pattern::allreduce, Quant::none},
    {"RESIDUAL_RMS_NORM", Pattern::allreduce_residual_rmsnorm, Quant::none},
    {"RESIDUAL_RMS_NORM_QUANT_FP8", Pattern::allreduce_residual_rmsnorm, Quant::fp8},
    {"RESIDUAL_RMS_NORM_QUANT_NVFP4", Pattern::allreduce_residual_rmsnorm, Quant::fp4},
};

const TensorRtFusion& find_fusion(const std::string& name, const Place& place) {
    for (const TensorRtFusion& fusion : kFusions)
        if (fusion.name == name) return fusion;
    place.fail("fusion is " + shown(name),
               "expected NONE, RESIDUAL_RMS_NORM, RESIDUAL_RMS_NORM_QUANT_FP8 or RESIDUAL_RMS_NORM_QUANT_NVFP4");
}

/// ONESHOT and TWOSHOT are the table's. NCCL is followed by TensorRT-LLM's fused residual and RMSNorm kernel, so it is
/// nccl_fused_norm; alone, for the plain all-reduce, it is nccl. Others keep their name in lower case; with a norm, UB
/// and MNNVL are fused kernels of their own and no baseline.
void name_strategy(ResultRow& row, const std::string& strategy, const Place& place) {
    const bool norm = has_norm(row.point.cell.pattern);
    if (strategy == "NCCL")
        row.algorithm = norm ? algorithm::nccl_fused_norm : "nccl";
    else if (strategy == "NCCL_SYMMETRIC")
        row.algorithm = norm ? algorithm::nccl_symm_fused_norm : "nccl_symm";
    else
        row.algorithm = algorithm_name(strategy, place);
    if (strategy == "AUTO") row.out_of_table = "the library's own choice among the others";
    if (norm && (strategy == "UB" || strategy == "MNNVL")) row.out_of_table = "another fused kernel, no baseline";
}

} // namespace

ResultFile read_tensorrt_llm(std::string_view text, const std::string& file, const ImportOptions&) {
    ResultFile result{.time_unit_us = 1};
    const Layout* layout = nullptr;
    int block = -1;
    for (const CsvRow& row : split_csv(text, file)) {
        const Place place{file, row.line};
        if (const Layout* found = find_layout(row)) {
            layout = found;
            ++block;
            continue;
        }
        if (!layout)
            place.fail("is not a CSV of TensorRT-LLM's all_reduce.py",
                       "give its --save_csv, header `" + joined(kLayouts[0].header, ",") + "` or `" +
                           joined(kLayouts[1].header, ",") + "`; see --from");
        if (row.fields.size() != layout->header.size())
            place.fail("has " + std::to_string(row.fields.size()) + " of " + std::to_string(layout->header.size()) +
                           " columns",
                       "the file may be cut off: take the row out or run it again");
        if (layout->op && row.fields[*layout->op] != "allreduce")
            place.fail("op is " + shown(row.fields[*layout->op]) + ": its time holds more than the all-reduce",
                       "run all_reduce.py without --profile_gemm_allreduce");
        const TensorRtFusion& fusion = find_fusion(row.fields[layout->fusion], place);
        ResultRow found{.line = row.line,
                        .block = block,
                        .point = place.point(fusion.pattern, place.dtype(row.fields[layout->dtype]), fusion.quant,
                                             row.fields[layout->world_size], row.fields[layout->hidden_size],
                                             row.fields[layout->num_tokens]),
                        .time = row.fields[layout->time]};
        place.check_bytes(found.point, row.fields[layout->bytes]);
        name_strategy(found, row.fields[layout->strategy], place);
        result.rows.push_back(std::move(found));
    }
    // The time is the last column: cut off there it would still be a number.
    if (layout && layout->time + 1 == layout->header.size() && !text.ends_with('\n'))
        Place{file}.fail("the last line has no line end, so its time may be cut off",
                         "check that time against the benchmark's output, then end the line");
    return result;
}

} // namespace crossover::importers
