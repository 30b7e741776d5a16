#pragma once
/// The part of the C++ header that is about limits: cell(), choose(), and what callers ask, over these two.

#include "tuner/table.hpp"

#include <span>
#include <string>

namespace crossover {

/// One GPU's functions, for inside its namespace of this name.
std::string limit_header_functions(const Table& table, const std::string& name);
/// The same taking a Sku, or its name. `namespaces`: of each table, in order.
std::string limit_header_sku_lookups(std::span<const std::string> namespaces);

} // namespace crossover
