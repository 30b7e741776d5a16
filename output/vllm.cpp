#include "output/emit.hpp"
#include "output/format.hpp"
#include "output/limits.hpp"
#include "tuner/error.hpp"
#include "tuner/yaml_writer.hpp"

#include <map>
#include <set>

namespace crossover {
namespace {

constexpr double kMiB = 1024 * 1024;

/// Bytes in MiB as a Python number. A double holds bytes / 2^20 exactly below 2^53 bytes and the shortest decimal reads
/// back as the same double, so that vLLM's `MB * 1024 * 1024` is these bytes again: neither one more nor one less.
std::string mib_literal(std::uint64_t bytes) { return number_node(static_cast<double>(bytes) / kMiB).Scalar(); }

/// "9.0" → 90, as torch's get_device_capability() is turned into vLLM's key.
int capability_key(const Table& table) {
    const std::string& text = table.fingerprint.compute_capability;
    const std::size_t dot = text.find('.');
    return 10 * std::stoi(text.substr(0, dot)) + std::stoi(text.substr(dot + 1));
}

struct Limits {
    std::optional<std::uint64_t> fused, oneshot;
    bool operator==(const Limits&) const = default;
};

/// One entry of both dicts: what they hold and what a reader should know.
struct Row {
    Limits limits = {};
    std::vector<std::string> notes = {};                           // in both
    std::vector<std::string> fused_notes = {}, oneshot_notes = {}; // in one
};

using Capability = std::map<int, Row>; // by world size

Limits limits_of(const Cell* cell) {
    if (cell == nullptr) return {};
    return {fused_limit(*cell), oneshot_limit(*cell)};
}

std::string limit_text(const std::optional<std::uint64_t>& bytes) {
    return bytes ? std::to_string(*bytes) + " B" : "not measured";
}

/// FlashInfer's twoshot refuses as many tokens as ranks or fewer, and vLLM asks it for all between the two limits.
void add_note_on_twoshot(const CellKey& key, Row& row) {
    const std::optional<std::uint64_t>& oneshot = row.limits.oneshot;
    if (!oneshot || !(row.limits.fused > oneshot)) return; // without twoshot
    constexpr std::uint64_t kWidestModel = 32768;
    const std::uint64_t widest = *oneshot / static_cast<std::uint64_t>(key.world_size) / element_size(key.dtype);
    if (widest >= kWidestModel) return;
    row.oneshot_notes.push_back("WARNING: vLLM fails at " + std::to_string(key.world_size) + " tokens or fewer" +
                                (widest == 0 ? "" : " of hidden_dim above " + std::to_string(widest)) +
                                ": FlashInfer's twoshot takes more");
}

void add_notes_on(const Cell& cell, Row& row) {
    if (fused_limit_is_range_end(cell) && fused_limit(cell) == row.limits.fused)
        row.fused_notes.push_back("not measured above");
    if (cell.oneshot && cell.oneshot->limited_by == LimitedBy::range && oneshot_limit(cell) == row.limits.oneshot)
        row.oneshot_notes.push_back("not measured above");
    if (is_never_fused(cell) && cell.measured_min_bytes > 0)
        row.fused_notes.push_back("not measured below " + std::to_string(cell.measured_min_bytes) + " B");
    for (const HiddenDimRow& model_row : cell.hidden_dims) {
        const Cell model = for_hidden_dim(cell, model_row.hidden_dim);
        row.notes.push_back("hidden_dim " + std::to_string(model_row.hidden_dim) + " by itself: fused " +
                            limit_text(fused_limit(model)) + ", oneshot " + limit_text(oneshot_limit(model)));
    }
    if (!limits_tell_all(cell))
        row.notes.push_back("one cut instead of " + std::to_string(cell.intervals.size()) + " intervals");
}

/// vLLM has one limit for all quant modes; says where this table has others.
void add_notes_on_other_quants(const Table& table, const Cell& cell, Row& row) {
    for (const auto& quant : kQuants) {
        CellKey key = cell.key;
        key.quant = quant.value;
        const Cell* other = find_cell(table, key);
        if (other == nullptr || limits_of(other) == limits_of(&cell)) continue;
        row.notes.push_back("quant " + std::string(quant.name) + ": fused " + limit_text(fused_limit(*other)) +
                            ", oneshot " + limit_text(oneshot_limit(*other)));
    }
}

/// The limits that hold on every GPU of the claims. Fused: the smallest, and none if one was not measured. Oneshot: the
/// smallest that is known, since to vLLM none means always.
Limits safest(std::span<const Claim> claims) {
    Limits safest = limits_of(claims[0].cell);
    for (const Claim& claim : claims.subspan(1)) {
        const Limits other = limits_of(claim.cell);
        safest.fused = std::min(safest.fused, other.fused); // nullopt is least
        if (!safest.oneshot || (other.oneshot && *other.oneshot < *safest.oneshot)) safest.oneshot = other.oneshot;
    }
    return safest;
}

Row merge(std::span<const Claim> claims, const CellKey& key, OnConflict on_conflict) {
    std::string claimed;
    bool differ = false;
    for (const Claim& claim : claims) {
        const Limits limits = limits_of(claim.cell);
        differ |= limits != limits_of(claims[0].cell);
        claimed += (claimed.empty() ? "" : "; ") + claim.table->fingerprint.sku + ": fused " +
                   limit_text(limits.fused) + ", oneshot " + limit_text(limits.oneshot);
    }
    if (differ && on_conflict == OnConflict::refuse)
        throw InputError("emit vllm",
                         "tables of compute capability " + claims[0].table->fingerprint.compute_capability +
                             ", which is all that vLLM looks at, differ at world size " +
                             std::to_string(key.world_size) + " (" + claimed + ")",
                         "emit one table only, or pass --on-conflict safer");
    Row row{.limits = safest(claims)};
    if (differ) row.notes.push_back("the safer of " + claimed);
    for (const Claim& claim : claims) {
        if (claim.cell == nullptr) continue;
        add_notes_on(*claim.cell, row);
        add_notes_on_other_quants(*claim.table, *claim.cell, row);
    }
    add_note_on_twoshot(key, row);
    return row;
}

std::map<int, Capability> merge_tables(std::span<const Table> tables, const EngineOptions& options) {
    std::map<int, std::vector<const Table*>> by_capability;
    for (const Table& table : tables) by_capability[capability_key(table)].push_back(&table);

    std::map<int, Capability> merged;
    for (const auto& [capability, same] : by_capability) {
        std::set<int> world_sizes;
        for (const Table* table : same)
            for (const Cell& cell : table->cells) world_sizes.insert(cell.key.world_size);
        for (const int world_size : world_sizes) {
            const CellKey key = engine_key(options, world_size);
            std::vector<Claim> claims;
            for (const Table* table : same) claims.push_back({table, find_cell(*table, key)});
            merged[capability][world_size] = merge(claims, key, options.on_conflict);
        }
    }
    return merged;
}

std::string comment(const std::string& text) { return "# " + comment_line(text) + "\n"; }

/// Why an entry is absent, and what vLLM makes of that.
std::string absence(const Limits& limits, bool oneshot) {
    if (!oneshot && limits.fused == 0) return "fused is never the fastest; absent, so vLLM leaves the pass off";
    if (!oneshot) return "not measured; absent, so vLLM leaves the pass off";
    if (limits.fused.value_or(0) == 0) return "not measured";
    return "not measured; WARNING: absent, so vLLM uses oneshot at EVERY fused size";
}

std::string dict(const std::string& name, const std::map<int, Capability>& capabilities, bool oneshot) {
    constexpr const char* kIndent = "        ";
    std::string out = name + ": dict[int, dict[int, float]] = {\n";
    for (const auto& [capability, rows] : capabilities) {
        out += "    " + std::to_string(capability) + ": {\n";
        for (const auto& [world_size, row] : rows) {
            const std::string world = std::to_string(world_size);
            const auto& limit = oneshot ? row.limits.oneshot : row.limits.fused;
            for (const auto* const notes : {&row.notes, oneshot ? &row.oneshot_notes : &row.fused_notes})
                for (const std::string& note : *notes) out += kIndent + comment(world + ": " + note);
            if (!limit || (!oneshot && *limit == 0))
                out += kIndent + comment(world + ": " + absence(row.limits, oneshot));
            else
                out += kIndent + world + ": " + mib_literal(*limit) + ",  # " + std::to_string(*limit) + " B\n";
        }
        out += "    },\n";
    }
    return out + "}\n";
}

} // namespace

std::string emit_vllm(std::span<const Table> tables, const EngineOptions& options) {
    if (tables.empty()) throw InputError("emit vllm", "no table", "name at least one table.yaml");
    for (const Table& table : tables) require_cell(table, "vllm", options);
    const std::map<int, Capability> capabilities = merge_tables(tables, options);

    std::string out = comment("Written by `crossover emit vllm` for vLLM's allreduce_rms_fusion.py.");
    out += comment(
        "compute capability: {world size: largest input tensor of one rank in MiB (1024 * 1024 bytes), inclusive}");
    out += comment("from dtype " + std::string(to_string(options.dtype)) + ", quant " +
                   std::string(to_string(options.quant)) + "; vLLM applies them to every dtype and quant mode");
    for (const Table& table : tables)
        out += comment(std::to_string(capability_key(table)) + ": " + machine_text(table.fingerprint) + "; " +
                       origin_text(table));
    return out + "\n" + dict("FI_ALLREDUCE_FUSION_MAX_SIZE_MB", capabilities, false) + "\n" +
           dict("_FI_ALLREDUCE_ONE_SHOT_MAX_SIZES_MB", capabilities, true);
}

std::string emit_vllm_config(const Table& table, const EngineOptions& options, int world_size,
                             std::int64_t hidden_dim) {
    const CellKey key = engine_key(options, world_size);
    const Cell* cell = find_cell(table, key);
    const std::optional<std::uint64_t> limit =
        cell == nullptr ? std::nullopt : fused_limit(for_hidden_dim(*cell, hidden_dim));
    if (!limit)
        throw InputError("emit vllm", "the table for " + table.fingerprint.sku + " says nothing of " + to_string(key),
                         "measure it, or name another --world-size, --dtype or --quant");
    const std::uint64_t row_bytes = static_cast<std::uint64_t>(hidden_dim) * element_size(options.dtype);
    const std::uint64_t whole_tokens = *limit / row_bytes * row_bytes;
    const std::string passes =
        whole_tokens == 0
            ? "\"fuse_allreduce_rms\": false"
            : "\"fuse_allreduce_rms\": true, \"fi_allreduce_fusion_max_size_mb\": " + mib_literal(whole_tokens);
    return "--compilation-config '{\"pass_config\": {" + passes + "}}'\n";
}

} // namespace crossover
