#include "output/cpp_header_launches.hpp"
#include "output/cpp_header_moe.hpp"
#include "output/cpp_header_parts.hpp"
#include "output/emit.hpp"
#include "output/format.hpp"
#include "output/limits.hpp"
#include "tuner/error.hpp"

#include <cctype>
#include <cstdio>
#include <set>

namespace crossover {
namespace {

/// What every emitted header shares. Whoever changes it raises the number, so that headers of two kinds in one program
/// are a compile error and not a silent mixture. Only switches and plain structs: device code may not index a host
/// array.
constexpr const char* kCommon = R"(#ifndef CROSSOVER_HOST_DEVICE
#ifdef __CUDACC__
#define CROSSOVER_HOST_DEVICE __host__ __device__
#else
#define CROSSOVER_HOST_DEVICE
#endif
#endif

#ifndef CROSSOVER_ONESHOT_THRESHOLDS_COMMON_2
#define CROSSOVER_ONESHOT_THRESHOLDS_COMMON_2
namespace crossover {

enum class Algorithm { unfused, oneshot, twoshot };
enum class DType { bfloat16, float16, float32 };
enum class Quant { none, fp8, fp4 };
enum class Pattern { allreduce, allreduce_rmsnorm, allreduce_residual_rmsnorm, allreduce_residual_rmsnorm_sharded };
/// tie: measured, and no fused algorithm wins by more than the guard band. not_measured says nothing about who is faster.
enum class Status { not_measured, unsupported, tie, measured };

/// Largest message of an algorithm, if known. known and 0: never use it.
struct Limit {
    bool known;
    std::uint64_t max_bytes;
};

/// One cell of the table. workspace_bytes: what the fused algorithms need up to their limits; 0 = unknown.
struct Cell {
    Status status;
    Limit oneshot;
    Limit twoshot;
    std::uint64_t workspace_bytes;
};

/// What to run for one size. Not measured: `unfused` for want of evidence, not because it won.
struct Choice {
    Algorithm algorithm;
    bool measured;
};

/// How a fused kernel is cut up; the same on all ranks. Names as in crossover_kernels.h.
struct LaunchParameters {
    int cluster_size;
    int clusters;
    int threads;
    int push_ahead;
    int consume_behind;
};

namespace detail {
CROSSOVER_HOST_DEVICE constexpr std::uint64_t key(int world_size, DType dtype, Quant quant, Pattern pattern) noexcept {
    return static_cast<std::uint64_t>(world_size) << 12 | static_cast<std::uint64_t>(dtype) << 8 |
           static_cast<std::uint64_t>(quant) << 4 | static_cast<std::uint64_t>(pattern);
}
constexpr std::optional<std::uint64_t> to_optional(Limit limit) noexcept {
    if (limit.known) return limit.max_bytes;
    return std::nullopt;
}
} // namespace detail

} // namespace crossover
#endif // CROSSOVER_ONESHOT_THRESHOLDS_COMMON_2
)";

/// "NVIDIA H200" → "nvidia_h200"
std::string identifier_of(const std::string& sku) {
    std::string name;
    for (const char c : sku)
        if (std::isalnum(static_cast<unsigned char>(c)))
            name += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
        else if (!name.empty() && name.back() != '_')
            name += '_';
    if (!name.empty() && name.back() == '_') name.pop_back();
    return name.empty() || std::isdigit(static_cast<unsigned char>(name[0])) ? "gpu_" + name : name;
}

/// A narrow string literal; anything but plain ASCII as octal escapes, which end after three digits.
std::string literal(const std::string& text) {
    std::string out = "\"";
    for (const char c : text) {
        std::array<char, 8> octal;
        std::snprintf(octal.data(), octal.size(), "\\%03o", static_cast<unsigned char>(c));
        out += c < 0x20 || c > 0x7e || c == '"' || c == '\\' || c == '?' ? octal.data() : std::string(1, c);
    }
    return out + "\"";
}

std::string provenance_comment(const Table& table) {
    std::vector<std::string> lines{machine_text(table.fingerprint), origin_text(table)};
    for (const auto& [key, value] : table.provenance.environment) lines.push_back(key + "=" + value);
    for (const auto& [key, value] : table.provenance.extra) lines.push_back(key + ": " + value);

    std::string out = "// " + identifier_of(table.fingerprint.sku) + "\n";
    for (const std::string& line : lines) out += "//   " + comment_line(line) + "\n";
    return out;
}

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

std::string sku_namespace(const Table& table, bool only_one) {
    std::string cells, choices, cell_rows, choice_rows;
    for (const Cell& cell : table.cells) {
        if (is_moe(cell.key.pattern)) continue; // they have functions of their own
        cells += cell_case(cell);
        choices += choice_case(cell);
        cell_rows += cell_rows_case(cell);
        choice_rows += choice_rows_case(cell);
    }
    const std::string name = identifier_of(table.fingerprint.sku);
    const std::string keys = "\n    " + std::string(kKeyDefaults) + ")";
    const std::string bytes = " [[maybe_unused]] std::uint64_t message_bytes,";
    const std::string model = " [[maybe_unused]] std::int64_t hidden_dim,";
    return (only_one ? "inline " : "") + std::string("namespace ") + name + " {\n\n" +
           keyed_function("Cell cell(int world_size," + keys, cells,
                          "{Status::not_measured, {false, 0}, {false, 0}, 0}") +
           "\n" +
           keyed_function("Choice choose(int world_size," + bytes + keys, choices, "{Algorithm::unfused, false}") +
           "\n// A model's own limits, where one pair for all hidden_dims costs over 1 %; else those above.\n" +
           model_function("Cell cell(int world_size," + model + keys, cell_rows,
                          name + "::cell(world_size, dtype, quant, pattern)") +
           model_function("Choice choose(int world_size," + bytes + model + keys, choice_rows,
                          name + "::choose(world_size, message_bytes, dtype, quant, pattern)") +
           "\n" + lookups(name, "", "", true) + "\n" + launch_header_functions(table) + moe_header_functions(table) +
           "\n} // namespace " + name + "\n";
}

/// Sku, find_sku() and the lookups that take a Sku or its name.
std::string sku_lookups(std::span<const Table> tables) {
    std::string enumerators, names;
    for (const Table& table : tables) {
        const std::string name = identifier_of(table.fingerprint.sku);
        enumerators += ", " + name;
        names += "    if (name == " + literal(table.fingerprint.sku) + ") return Sku::" + name + ";\n";
    }
    std::vector<std::string> namespaces;
    for (const Table& table : tables) namespaces.push_back(identifier_of(table.fingerprint.sku));
    std::string out = "enum class Sku { unknown" + enumerators +
                      " };\n\n"
                      "/// By the name the driver gives (cudaDeviceProp::name, nvidia-smi). Sku::unknown: not in this "
                      "header.\n"
                      "constexpr Sku find_sku(std::string_view name) noexcept {\n" +
                      names + "    return Sku::unknown;\n}\n\n";
    std::string by_name;
    for (const bool of_model : {false, true}) {
        const std::string model = std::string(of_model ? " std::int64_t hidden_dim," : "") + "\n    ";
        const std::string pass = std::string(of_model ? "hidden_dim, " : "") + "dtype, quant, pattern)";
        const std::string cell_keys = "int world_size," + model + kKeyDefaults + ") noexcept {\n    ";
        const std::string choice_keys =
            "int world_size, std::uint64_t message_bytes," + model + kKeyDefaults + ") noexcept {\n    ";
        std::string cell_cases, choice_cases;
        for (const Table& table : tables) {
            const std::string name = identifier_of(table.fingerprint.sku);
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
           lookups("crossover", "std::string_view", "sku", false) + "\n" +
           launch_header_sku_lookups(tables, namespaces) + moe_header_sku_lookups(tables, namespaces);
}

void check_skus(std::span<const Table> tables) {
    if (tables.empty()) throw InputError("emit cpp", "no table", "name at least one table.yaml");
    std::set<std::string> seen;
    for (const Table& table : tables)
        if (!seen.insert(identifier_of(table.fingerprint.sku)).second)
            throw InputError("emit cpp", "two tables for `" + table.fingerprint.sku + "` in one header",
                             "emit them to headers of their own");
}

/// FNV-1a: the same on every machine, so the include guard is as stable as the tables.
std::string content_hash(std::string_view text) {
    std::uint64_t hash = 0xcbf29ce484222325u;
    for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    std::array<char, 17> hex;
    std::snprintf(hex.data(), hex.size(), "%016llX", static_cast<unsigned long long>(hash));
    return hex.data();
}

} // namespace

std::string emit_cpp_header(std::span<const Table> tables) {
    check_skus(tables);
    const bool only_one = tables.size() == 1;

    std::string comment =
        "// When to use which all-reduce, measured. Written by `crossover emit cpp`: emit it again, do not "
        "edit it.\n//\n";
    for (const Table& table : tables) comment += provenance_comment(table) + "//\n";
    comment +=
        "// message_bytes is one rank's input tensor: tokens x hidden_dim x element size. Limits are inclusive.\n"
        "// std::nullopt means not measured or not supported; 0 means never. The optional limits are for host code; "
        "all else\n// is for host and device.\n";

    std::string body = std::string("\n#include <cstdint>\n#include <optional>\n") +
                       (only_one ? "" : "#include <string_view>\n") + "\n" + kCommon + "\n" +
                       moe_header_common(tables) + "namespace crossover {\n\n";
    for (const Table& table : tables) body += sku_namespace(table, only_one) + "\n";
    if (!only_one) body += sku_lookups(tables) + "\n";
    body += "} // namespace crossover\n";

    // A guard by content: including one header twice, or copies of it, is harmless; two headers of one GPU that differ
    // do not compile.
    const std::string guard = "CROSSOVER_ONESHOT_THRESHOLDS_" + content_hash(comment + body);
    return comment + "#ifndef " + guard + "\n#define " + guard + "\n" + body + "#endif // " + guard + "\n";
}

} // namespace crossover
