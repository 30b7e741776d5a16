#include "output/emit.hpp"
#include "output/format.hpp"
#include "output/limits.hpp"
#include "tuner/error.hpp"

#include <algorithm>

namespace crossover {
namespace {

/// The most that FlashInfer gives a buffer of oneshot. For calls that need more it runs twoshot, whatever was asked
/// for.
constexpr std::uint64_t kOneshotBuffer = 2'145'386'496;

/// What oneshot needs in one of its buffers: every rank's contribution.
std::uint64_t oneshot_bytes(int world_size, std::uint64_t tokens, std::uint64_t token_bytes) {
    return static_cast<std::uint64_t>(world_size) * tokens * token_bytes;
}

/// What FlashInfer allocates on each rank: three buffers for oneshot, and one of 2 bytes an element for twoshot.
std::uint64_t flashinfer_workspace(int world_size, std::uint64_t tokens, std::int64_t hidden_dim, DType dtype) {
    const auto elements = static_cast<std::uint64_t>(hidden_dim);
    return 3 * std::min(oneshot_bytes(world_size, tokens, elements * element_size(dtype)), kOneshotBuffer) +
           oneshot_bytes(world_size, tokens, elements * 2);
}

struct Dicts {
    std::string tokens, workspace;
};

/// The models whose entry does not come from the cell's limit.
std::string own_limits(const Cell& cell, const std::vector<std::int64_t>& hidden_dims) {
    std::string text;
    for (const std::int64_t hidden_dim : hidden_dims)
        if (find_row(cell, hidden_dim))
            text += ", " + std::to_string(hidden_dim) + ": " +
                    std::to_string(fused_limit(for_hidden_dim(cell, hidden_dim)).value_or(0)) + " B by itself";
    return text;
}

/// The entries of one world size, for every hidden_dim.
void add_entries(Dicts& dicts, const Cell& cell, const std::vector<std::int64_t>& hidden_dims) {
    const std::string world = std::to_string(cell.key.world_size);
    const auto fused = fused_limit(cell);
    if (!fused) {
        const std::string absent = "    # " + world + ": " + std::string(to_string(cell.status)) +
                                   (cell.note.empty() ? "" : " (" + comment_line(cell.note) + ")") + "\n";
        dicts.tokens += absent;
        dicts.workspace += absent;
        return;
    }
    dicts.tokens += "    " + world + ": {";
    dicts.workspace += "    " + world + ": {";
    std::string notes;
    for (const std::int64_t hidden_dim : hidden_dims) {
        const std::uint64_t token_bytes = static_cast<std::uint64_t>(hidden_dim) * element_size(cell.key.dtype);
        const std::uint64_t tokens = fused_limit(for_hidden_dim(cell, hidden_dim)).value_or(0) / token_bytes;
        const std::uint64_t workspace = flashinfer_workspace(cell.key.world_size, tokens, hidden_dim, cell.key.dtype);
        const std::string key = (hidden_dim == hidden_dims.front() ? "" : ", ") + std::to_string(hidden_dim) + ": ";
        dicts.tokens += key + std::to_string(tokens);
        dicts.workspace += key + std::to_string(workspace);
        if (oneshot_bytes(cell.key.world_size, tokens, token_bytes) > kOneshotBuffer)
            notes += "; " + std::to_string(hidden_dim) + ": oneshot up to " +
                     std::to_string(kOneshotBuffer / oneshot_bytes(cell.key.world_size, 1, token_bytes)) + " tokens";
    }
    dicts.tokens +=
        "},  # " + std::to_string(*fused) + " B" + (fused_limit_is_range_end(cell) ? ", not measured above" : "") +
        (is_never_fused(cell) && cell.measured_min_bytes > 0
             ? ", not measured below " + std::to_string(cell.measured_min_bytes) + " B"
             : "") +
        own_limits(cell, hidden_dims) + (limits_tell_all(cell) ? "" : ", one cut for several intervals") + "\n";
    dicts.workspace += "}," + (notes.empty() ? "" : "  # WARNING: oneshot's buffers hold no more" + notes) + "\n";
}

} // namespace

std::string emit_sglang(const Table& table, const EngineOptions& options) {
    if (options.hidden_dims.empty())
        throw InputError("emit sglang", "SGLang's limit is in tokens and depends on the model", "pass --hidden-dim");
    require_cell(table, "sglang", options);
    Dicts dicts;
    for (const Cell& cell : table.cells)
        if (cell.key == engine_key(options, cell.key.world_size)) add_entries(dicts, cell, options.hidden_dims);
    return "# Written by `crossover emit sglang` from dtype " + std::string(to_string(options.dtype)) + ", quant " +
           std::string(to_string(options.quant)) + ".\n# " + machine_text(table.fingerprint) + "; " +
           origin_text(table) +
           "\n"
           "# SGLang fuses 0 < tokens <= FUSE_ALLREDUCE_MAX_BATCH_SIZE, one number for all models, world sizes and "
           "GPUs:\n"
           "# set it to the entry of the world size and hidden_dim that you serve. 0 = never. What is absent was not\n"
           "# measured.\n\n"
           "# world size: {hidden_dim: tokens}\n"
           "FUSED_ALLREDUCE_MAX_TOKENS: dict[int, dict[int, int]] = {\n" +
           dicts.tokens +
           "}\n\n# world size: {hidden_dim: bytes a rank of FlashInfer's workspace for so many tokens, without its "
           "flags and rounding}\n"
           "FLASHINFER_WORKSPACE_BYTES: dict[int, dict[int, int]] = {\n" +
           dicts.workspace + "}\n";
}

} // namespace crossover
