/// Numbers that vLLM's maintainers published with the pull request that fused the all-reduce (#22086), as CSV (times in
/// ms)
#include "tuner/joined.hpp"
#include "tuner/samples/importers/result_file.hpp"

#include <array>
#include <map>

namespace crossover::importers {
namespace {

constexpr std::array<std::string_view, 10> kHeader{"gpu",   "world_size", "hidden_dim", "num_tokens", "dtype",
                                                   "quant", "residual",   "variant",    "latency_ms", "speedup"};
enum Column : std::size_t { gpu, world_size, hidden_dim, num_tokens, dtype, quant, residual, variant, latency_ms };

/// "B200" names the same GPU as "NVIDIA B200".
bool same_gpu(std::string_view gpu, std::string_view sku) {
    const std::string name = lower(gpu), full_name = lower(sku);
    for (const std::string_view word : split(full_name, ' '))
        if (word == name) return true;
    return name == full_name;
}

} // namespace

ResultFile read_vllm_pr(std::string_view text, const std::string& file, const ImportOptions& options) {
    ResultFile result;
    std::map<std::string, int> other_gpus;
    int block = -1;
    for (const CsvRow& row : split_csv(text, file)) {
        const Place place{file, row.line};
        if (equal_words(row.fields, kHeader)) {
            ++block;
            continue;
        }
        if (block < 0)
            place.fail("is not a CSV of published vLLM numbers",
                       "its header would be `" + joined(kHeader, ",") + "`; see --from");
        if (row.fields.size() != kHeader.size())
            place.fail("has " + std::to_string(row.fields.size()) + " of " + std::to_string(kHeader.size()) +
                           " columns",
                       "the file may be cut off: take the row out");
        const auto quant_mode = parse_quant(row.fields[quant]);
        if (!quant_mode) place.fail("quant is " + shown(row.fields[quant]), "expected none, fp8 or fp4");
        if (row.fields[residual] != "yes" && row.fields[residual] != "no")
            place.fail("residual is " + shown(row.fields[residual]), "expected yes or no");
        const Pattern pattern =
            row.fields[residual] == "yes" ? Pattern::allreduce_residual_rmsnorm : Pattern::allreduce_rmsnorm;
        ResultRow found{.line = row.line,
                        .block = block,
                        .point = place.point(pattern, place.dtype(row.fields[dtype]), *quant_mode,
                                             row.fields[world_size], row.fields[hidden_dim], row.fields[num_tokens]),
                        .algorithm = algorithm_name(row.fields[variant], place),
                        .time = row.fields[latency_ms]};
        if (found.algorithm == "nccl_compiled") found.algorithm = algorithm::nccl_fused_norm;
        if (same_gpu(row.fields[gpu], options.sku))
            result.rows.push_back(std::move(found));
        else
            ++other_gpus[row.fields[gpu]];
    }
    std::string names;
    for (const auto& [name, count] : other_gpus) {
        result.notes.push_back(std::to_string(count) + " rows of " + shown(name) + " left out");
        names += (names.empty() ? "" : ", ") + shown(name);
    }
    if (result.rows.empty() && !other_gpus.empty())
        Place{file}.fail("has rows of " + names + ", none of " + options.sku, "name one of them with --sku");
    return result;
}

} // namespace crossover::importers
