#pragma once
/// The part of the C++ header that is about MoE operations; all texts are empty for tables without such cells.

#include "tuner/table.hpp"

#include <span>
#include <string>

namespace crossover {

/// Types that all headers share.
std::string moe_header_common(std::span<const Table> tables);
/// One GPU's functions, for inside its namespace.
std::string moe_header_functions(const Table& table);
/// The same taking a Sku. `namespaces`: of each table, in order.
std::string moe_header_sku_lookups(std::span<const Table> tables, std::span<const std::string> namespaces);

} // namespace crossover
