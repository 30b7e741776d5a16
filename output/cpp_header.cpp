#include "output/cpp_header_launches.hpp"
#include "output/cpp_header_limits.hpp"
#include "output/cpp_header_moe.hpp"
#include "output/emit.hpp"
#include "output/format.hpp"
#include "tuner/content_hash.hpp"
#include "tuner/error.hpp"

#include <array>
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

/// One cell of the table. workspace_bytes: what the fused algorithms need up to their limits; 0 = nothing, or
/// not known.
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

std::string sku_namespace(const Table& table, bool only_one) {
    const std::string name = identifier_of(table.fingerprint.sku);
    return (only_one ? "inline " : "") + std::string("namespace ") + name + " {\n\n" +
           limit_header_functions(table, name) + "\n" + launch_header_functions(table) + moe_header_functions(table) +
           "\n} // namespace " + name + "\n";
}

/// Sku, find_sku() and the lookups that take a Sku or its name.
std::string sku_lookups(std::span<const Table> tables) {
    std::string enumerators, names;
    std::vector<std::string> namespaces;
    for (const Table& table : tables) {
        const std::string& name = namespaces.emplace_back(identifier_of(table.fingerprint.sku));
        enumerators += ", " + name;
        names += "    if (name == " + literal(table.fingerprint.sku) + ") return Sku::" + name + ";\n";
    }
    return "enum class Sku { unknown" + enumerators +
           " };\n\n"
           "/// By the name the driver gives (cudaDeviceProp::name, nvidia-smi). Sku::unknown: not in this header.\n"
           "constexpr Sku find_sku(std::string_view name) noexcept {\n" +
           names + "    return Sku::unknown;\n}\n\n" + limit_header_sku_lookups(namespaces) + "\n" +
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
        "all else\n// is for host and device.\n"
        "// NCCL sums in the tensor's dtype and in an order of its own: where a limit to `unfused` moves, results\n"
        "// change in their last bits.\n";

    std::string body = std::string("\n#include <cstdint>\n#include <optional>\n") +
                       (only_one ? "" : "#include <string_view>\n") + "\n" + kCommon + "\n" +
                       moe_header_common(tables) + "namespace crossover {\n\n";
    for (const Table& table : tables) body += sku_namespace(table, only_one) + "\n";
    if (!only_one) body += sku_lookups(tables) + "\n";
    body += "} // namespace crossover\n";

    // A guard by content: including one header twice, or copies of it, is harmless; two headers of one GPU that differ
    // do not compile. It is as stable as the tables.
    std::array<char, 17> hash;
    std::snprintf(hash.data(), hash.size(), "%016llX", static_cast<unsigned long long>(content_hash(comment + body)));
    const std::string guard = std::string("CROSSOVER_ONESHOT_THRESHOLDS_") + hash.data();
    return comment + "#ifndef " + guard + "\n#define " + guard + "\n" + body + "#endif // " + guard + "\n";
}

} // namespace crossover
