#include "output/cpp_header_moe.hpp"

#include "kernels/token_distribution.hpp"
#include "output/cpp_header_parts.hpp"
#include "output/format.hpp"

#include <algorithm>

namespace crossover {
namespace {

constexpr const char* kMoeCommon = R"(#ifndef CROSSOVER_MOE_THRESHOLDS_COMMON_1
#define CROSSOVER_MOE_THRESHOLDS_COMMON_1
namespace crossover {

/// How tokens lie over the ranks: even, all on one, or rank r's share proportional to 1/(r+1).
enum class Distribution { even, one_hot, zipf };
/// Of a limit in bytes: at no size that was measured.
inline constexpr std::uint64_t kNever = UINT64_MAX;

namespace detail {
constexpr std::uint64_t key(int world_size, DType dtype, Quant quant, Distribution distribution) noexcept {
    return static_cast<std::uint64_t>(world_size) << 12 | static_cast<std::uint64_t>(dtype) << 8 |
           static_cast<std::uint64_t>(quant) << 4 | static_cast<std::uint64_t>(distribution);
}
} // namespace detail

} // namespace crossover
#endif // CROSSOVER_MOE_THRESHOLDS_COMMON_1

)";

/// One of the two operations.
struct Operation {
    bool (*is_of)(Pattern);
    const char* comment;
    const char* name; // of the function
    const char* keys; // its parameters after the world size
    const char* quant;
};
constexpr Operation kOperations[] = {
    {[](Pattern pattern) { return is_moe_dispatch(pattern); },
     "/// From how many bytes a rank (the mean of all ranks' inputs) to quantize before the gather.\n",
     "quantize_before_gather_min_bytes",
     "Distribution distribution = Distribution::even, DType dtype = DType::bfloat16,\n    Quant quant = Quant::fp4",
     "quant"},
    {[](Pattern pattern) { return is_moe_combine(pattern); },
     "/// From how many bytes a rank to scatter what is reduced, instead of an all-reduce of the padded buffer.\n",
     "reduce_scatter_min_bytes", "Distribution distribution = Distribution::even, DType dtype = DType::bfloat16",
     "Quant::none"}};

bool has_moe(std::span<const Table> tables) {
    return std::any_of(tables.begin(), tables.end(), [](const Table& table) {
        return std::any_of(table.cells.begin(), table.cells.end(),
                           [](const Cell& cell) { return is_moe(cell.key.pattern); });
    });
}

/// What a cell's limit is in the header; a tie never leaves its baseline.
std::string limit_literal(const Cell& cell) {
    if (!cell.onset) return "std::nullopt";
    return cell.onset->min_bytes ? bytes_literal(*cell.onset->min_bytes) : "kNever";
}

std::string case_of(const CellKey& key) {
    std::string out = "    case detail::key(" + std::to_string(key.world_size);
    out.append(", DType::").append(to_string(key.dtype));
    out.append(", Quant::").append(to_string(key.quant));
    out.append(", Distribution::").append(to_string(distribution_of(key.pattern)));
    return out + "):";
}

std::string moe_cell_case(const Cell& cell) {
    std::string out = case_of(cell.key) + " return " + limit_literal(cell) + ";";
    if (!cell.baseline.empty()) out.append(" // against ").append(comment_line(cell.baseline));
    if (!cell.note.empty()) out.append("\n        // ").append(comment_line(cell.note));
    return out + "\n";
}

/// The rows of single hidden_dims; nothing for a cell without.
std::string rows_case(const Cell& cell) {
    if (cell.hidden_dims.empty()) return "";
    std::string out = case_of(cell.key) + "\n";
    for (const HiddenDimRow& row : cell.hidden_dims)
        out += "        if (hidden_dim == " + std::to_string(row.hidden_dim) + ") return " +
               limit_literal(for_hidden_dim(cell, row.hidden_dim)) + ";\n";
    return out + "        break;\n";
}

/// The operation's lookup, for any model or for one of a hidden_dim; `first`: a parameter before the others.
std::string function_head(const Operation& operation, const std::string& first, bool of_model) {
    return std::string("constexpr std::optional<std::uint64_t> ") + operation.name + "(" + first +
           "\n    [[maybe_unused]] int world_size, " + (of_model ? "[[maybe_unused]] std::int64_t hidden_dim, " : "") +
           "[[maybe_unused]] " + operation.keys + ") noexcept {\n";
}

/// A call of it with the parameters' names.
std::string call_of(const Operation& operation, bool of_model) {
    const bool quantized = std::string_view(operation.quant) == "quant";
    return std::string(operation.name) + "(world_size, " + (of_model ? "hidden_dim, " : "") + "distribution, dtype" +
           (quantized ? ", quant" : "") + ")";
}

/// A switch over the cell's key; what has no case goes on to `otherwise`.
std::string key_switch(const Operation& operation, const std::string& cases, const std::string& otherwise) {
    return std::string("    switch (detail::key(world_size, dtype, ") + operation.quant + ", distribution)) {\n" +
           cases + "    default: " + otherwise + ";\n    }\n";
}

} // namespace

std::string moe_header_common(std::span<const Table> tables) { return has_moe(tables) ? kMoeCommon : ""; }

std::string moe_header_functions(const Table& table) {
    if (!has_moe(std::span(&table, 1))) return "";
    std::string out;
    for (const Operation& operation : kOperations) {
        std::string cells, rows;
        for (const Cell& cell : table.cells) {
            if (!operation.is_of(cell.key.pattern)) continue;
            cells += moe_cell_case(cell);
            rows += rows_case(cell);
        }
        out += "\n" + std::string(operation.comment) + function_head(operation, "", false) +
               key_switch(operation, cells, "return std::nullopt") + "}\n" + function_head(operation, "", true) +
               (rows.empty() ? "" : key_switch(operation, rows, "break")) + "    return " + call_of(operation, false) +
               ";\n}\n";
    }
    return out;
}

std::string moe_header_sku_lookups(std::span<const Table> tables, std::span<const std::string> namespaces) {
    if (!has_moe(tables)) return "";
    std::string out;
    for (const Operation& operation : kOperations)
        for (const bool of_model : {false, true}) {
            out += (of_model ? "" : "\n" + std::string(operation.comment)) +
                   function_head(operation, "Sku sku,", of_model) + "    switch (sku) {\n";
            for (std::size_t i = 0; i < tables.size(); ++i)
                if (has_moe(tables.subspan(i, 1)))
                    out += "    case Sku::" + namespaces[i] + ": return " + namespaces[i] +
                           "::" + call_of(operation, of_model) + ";\n";
            out += "    default: return std::nullopt;\n    }\n}\n";
        }
    return out;
}

} // namespace crossover
