#include "output/cpp_header_launches.hpp"

#include "output/cpp_header_parts.hpp"

namespace crossover {
namespace {

std::string launches_case(const Cell& cell) {
    if (cell.launches.empty()) return "";
    std::string out = case_label(cell.key) + "\n";
    for (const LaunchRow& row : cell.launches) {
        out += "        if (algorithm == Algorithm::" + row.algorithm +
               " && hidden_dim == " + std::to_string(row.hidden_dim);
        if (row.min_bytes > 0) out += " && message_bytes >= " + bytes_literal(row.min_bytes);
        out += " && message_bytes <= " + bytes_literal(row.max_bytes) + ") return LaunchParameters{";
        for (const int LaunchParameters::*field :
             {&LaunchParameters::cluster_size, &LaunchParameters::clusters, &LaunchParameters::threads,
              &LaunchParameters::push_ahead, &LaunchParameters::consume_behind})
            out += (out.back() == '{' ? "" : ", ") + std::to_string(row.launch.*field);
        out += "};\n";
    }
    return out + "        break;\n";
}

constexpr const char* kLaunchArguments =
    "int world_size, Algorithm algorithm, std::uint64_t message_bytes, std::int64_t hidden_dim,\n    ";

} // namespace

std::string launch_header_functions(const Table& table) {
    std::string cases;
    for (const Cell& cell : table.cells) cases += launches_case(cell);
    std::string out = "// How to launch our kernels for this shape, by programmatic dependent launch (pdl);\n"
                      "// std::nullopt: as they would by themselves.\n"
                      "constexpr std::optional<LaunchParameters> launch_parameters(";
    if (cases.empty()) { // the arguments decide nothing
        out += "int, Algorithm, std::uint64_t, std::int64_t, DType = DType::bfloat16,\n    Quant = Quant::none, "
               "Pattern = Pattern::allreduce_residual_rmsnorm) noexcept {\n";
        return out + "    return std::nullopt;\n}\n";
    }
    return out + kLaunchArguments + kKeyDefaults +
           ") noexcept {\n    switch (detail::key(world_size, dtype, quant, pattern)) {\n" + cases +
           "    default: break;\n    }\n    return std::nullopt;\n}\n";
}

std::string launch_header_sku_lookups(std::span<const Table> tables, std::span<const std::string> namespaces) {
    const std::string head = "constexpr std::optional<LaunchParameters> launch_parameters(";
    const std::string keys = std::string(kLaunchArguments) + kKeyDefaults + ") noexcept {\n    ";
    const std::string pass = "world_size, algorithm, message_bytes, hidden_dim, dtype, quant, pattern);\n";
    std::string cases;
    for (std::size_t i = 0; i < tables.size(); ++i)
        cases += "    case Sku::" + namespaces[i] + ": return " + namespaces[i] + "::launch_parameters(" + pass;
    return head + "Sku sku, " + keys + "switch (sku) {\n" + cases +
           "    case Sku::unknown: break;\n    }\n    return std::nullopt;\n}\n" + head + "std::string_view sku, " +
           keys + "return launch_parameters(find_sku(sku), " + pass + "}\n";
}

} // namespace crossover
