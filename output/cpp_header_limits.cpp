#include "output/cpp_header_limits.hpp"

#include "output/cpp_header_parts.hpp"
#include "output/format.hpp"
#include "output/limits.hpp"

namespace crossover {
namespace {

std::string limit_literal(const std::optional<std::uint64_t>& limit) {
    return limit ? "{true, " + bytes_literal(*limit) + "}" : "{false, 0}";
}

std::string cell_literal(const Cell& cell) {
    return "{Status::" + std::string(to_string(cell.status)) + ", " + limit_literal(oneshot_limit(cell)) + ", " +
           limit_literal(twoshot_limit(cell)) + ", " + bytes_literal(cell.workspace_bytes) + "}";
}

std::string cell_case(const Cell& cell) {
    std::string out = case_label(cell.key);
    if (!cell.baseline.empty()) out += " // against " + comment_line(cell.baseline);
    if (is_never_fused(cell) && cell.measured_min_bytes > 0)
        out += "\n        // never fused from " + size_text(cell.measured_min_bytes) + " on; not measured below";
    if (!cell.note.empty()) out += "\n        // " + comment_line(cell.note);
    return out + "\n        return " + cell_literal(cell) + ";\n";
}

/// The choice that an algorithm's name in the table means to an engine.
std::string choice_literal(std::string_view name) {
    if (name == algorithm::not_measured) return "{Algorithm::unfused, false}";
    return "{Algorithm::" + std::string(algorithm::is_fused(name) ? name : "unfused") + ", true}";
}

/// The lines that compare message_bytes with the cell's limits, each behind `indent`.
std::string choice_lines(const Cell& cell, const std::string& indent) {
    std::string out;
    const std::string last = choice_literal(select_algorithm(cell, UINT64_MAX));
    if (cell.status == CellStatus::measured)
        for (std::size_t i = 0; i + 1 < cell.intervals.size(); ++i) {
            const Interval& interval = cell.intervals[i];
            const std::string choice = choice_literal(interval.algorithm);
            if (choice == choice_literal(cell.intervals[i + 1].algorithm)) continue; // two baselines side by side
            out += indent + "if (message_bytes <= " + bytes_literal(*interval.max_bytes) + ") return " + choice +
                   "; // " + human_bytes(*interval.max_bytes) + "\n";
        }
    return out + indent + "return " + last + ";\n";
}

std::string choice_case(const Cell& cell) { return case_label(cell.key) + "\n" + choice_lines(cell, "        "); }

/// The rows of single hidden_dims; nothing for a cell without.
std::string cell_rows_case(const Cell& cell) {
    if (cell.hidden_dims.empty()) return "";
    std::string out = case_label(cell.key) + "\n";
    for (const HiddenDimRow& row : cell.hidden_dims)
        out += "        if (hidden_dim == " + std::to_string(row.hidden_dim) + ") return " +
               cell_literal(for_hidden_dim(cell, row.hidden_dim)) + ";\n";
    return out + "        break;\n";
}

std::string choice_rows_case(const Cell& cell) {
    if (cell.hidden_dims.empty()) return "";
    std::string out = case_label(cell.key) + "\n";
    for (const HiddenDimRow& row : cell.hidden_dims)
        out += "        if (hidden_dim == " + std::to_string(row.hidden_dim) + ") {\n" +
               choice_lines(for_hidden_dim(cell, row.hidden_dim), "            ") + "        }\n";
    return out + "        break;\n";
}

/// A switch over the cell's key; what is not in the table falls through to `otherwise`.
std::string keyed_function(const std::string& head, const std::string& cases, const std::string& otherwise) {
    return "CROSSOVER_HOST_DEVICE constexpr " + head + " noexcept {\n" +
           "    switch (detail::key(world_size, dtype, quant, pattern)) {\n" + cases + "    default: return " +
           otherwise + ";\n    }\n}\n";
}

/// The same for one model: its rows, and else the function without hidden_dim.
std::string model_function(const std::string& head, const std::string& cases, const std::string& otherwise) {
    const std::string rows = cases.empty() ? ""
                                           : "    switch (detail::key(world_size, dtype, quant, pattern)) {\n" + cases +
                                                 "    default: break;\n    }\n";
    return "CROSSOVER_HOST_DEVICE constexpr " + head + " noexcept {\n" + rows + "    return " + otherwise + ";\n}\n";
}

/// The lookups that callers use, over cell() and choose(). With `by`, each takes that parameter first; `device`:
/// whether device code may call them. Each comes twice: for any model, and for one of this hidden_dim.
std::string lookups(const std::string& in, const std::string& by, const std::string& by_name, bool device) {
    const std::string first = by.empty() ? "" : by + " " + by_name + ", ";
    const std::string hd = device ? "CROSSOVER_HOST_DEVICE " : "";
    std::string out;
    for (const bool of_model : {false, true}) {
        const std::string model = std::string(of_model ? " std::int64_t hidden_dim," : "") + "\n    ";
        const std::string pass_model = of_model ? "hidden_dim, " : "";
        const std::string pass = (by.empty() ? "" : by_name + ", ") + std::string("world_size, ");
        const std::string end = model + kKeyDefaults + ") noexcept {\n    return ";
        const std::string keys = "int world_size," + end;
        const std::string sized_keys = "int world_size, std::uint64_t message_bytes," + end;
        const std::string cell = in + "::cell(" + pass + pass_model + "dtype, quant, pattern)";
        const std::string choose = in + "::choose(" + pass + "message_bytes, " + pass_model + "dtype, quant, pattern)";
        for (const std::string name : {"oneshot", "twoshot"})
            out += "constexpr std::optional<std::uint64_t> " + name + "_max_bytes(" + first + keys +
                   "detail::to_optional(" + cell + "." + name + ");\n}\n";
        out += hd + "constexpr Algorithm select(" + first + sized_keys + choose + ".algorithm;\n}\n";
        out += hd + "constexpr bool is_measured(" + first + sized_keys + choose + ".measured;\n}\n";
        out += hd + "constexpr std::uint64_t workspace_bytes(" + first + keys + cell + ".workspace_bytes;\n}\n";
    }
    return out;
}

} // namespace

std::string limit_header_functions(const Table& table, const std::string& name) {
    std::string cells, choices, cell_rows, choice_rows;
    for (const Cell& cell : table.cells) {
        if (is_moe(cell.key.pattern)) continue; // they have functions of their own
        cells += cell_case(cell);
        choices += choice_case(cell);
        cell_rows += cell_rows_case(cell);
        choice_rows += choice_rows_case(cell);
    }
    const std::string keys = "\n    " + std::string(kKeyDefaults) + ")";
    const std::string bytes = " [[maybe_unused]] std::uint64_t message_bytes,";
    const std::string model = " [[maybe_unused]] std::int64_t hidden_dim,";
    return keyed_function("Cell cell(int world_size," + keys, cells,
                          "{Status::not_measured, {false, 0}, {false, 0}, 0}") +
           "\n" +
           keyed_function("Choice choose(int world_size," + bytes + keys, choices, "{Algorithm::unfused, false}") +
           "\n// A model's own limits, where one pair for all hidden_dims costs over 1 %; else those above.\n" +
           model_function("Cell cell(int world_size," + model + keys, cell_rows,
                          name + "::cell(world_size, dtype, quant, pattern)") +
           model_function("Choice choose(int world_size," + bytes + model + keys, choice_rows,
                          name + "::choose(world_size, message_bytes, dtype, quant, pattern)") +
           "\n" + lookups(name, "", "", true);
}

std::string limit_header_sku_lookups(std::span<const std::string> namespaces) {
    std::string out, by_name;
    for (const bool of_model : {false, true}) {
        const std::string model = std::string(of_model ? " std::int64_t hidden_dim," : "") + "\n    ";
        const std::string pass = std::string(of_model ? "hidden_dim, " : "") + "dtype, quant, pattern)";
        const std::string cell_keys = "int world_size," + model + kKeyDefaults + ") noexcept {\n    ";
        const std::string choice_keys =
            "int world_size, std::uint64_t message_bytes," + model + kKeyDefaults + ") noexcept {\n    ";
        std::string cell_cases, choice_cases;
        for (const std::string& name : namespaces) {
            cell_cases += "    case Sku::" + name + ": return " + name + "::cell(world_size, " + pass + ";\n";
            choice_cases +=
                "    case Sku::" + name + ": return " + name + "::choose(world_size, message_bytes, " + pass + ";\n";
        }
        out +=
            "CROSSOVER_HOST_DEVICE constexpr Cell cell(Sku sku, " + cell_keys + "switch (sku) {\n" + cell_cases +
            "    case Sku::unknown: break;\n    }\n    return {Status::not_measured, {false, 0}, {false, 0}, 0};\n}\n" +
            "CROSSOVER_HOST_DEVICE constexpr Choice choose(Sku sku, " + choice_keys + "switch (sku) {\n" +
            choice_cases + "    case Sku::unknown: break;\n    }\n    return {Algorithm::unfused, false};\n}\n\n";
        by_name += "constexpr Cell cell(std::string_view sku, " + cell_keys +
                   "return cell(find_sku(sku), world_size, " + pass + ";\n}\n" +
                   "constexpr Choice choose(std::string_view sku, " + choice_keys +
                   "return choose(find_sku(sku), world_size, message_bytes, " + pass + ";\n}\n";
    }
    return out + lookups("crossover", "Sku", "sku", true) + "\n" + by_name +
           lookups("crossover", "std::string_view", "sku", false);
}

} // namespace crossover
