#pragma once
/// The part of the C++ header that is about launch parameters.

#include "tuner/table.hpp"

#include <span>
#include <string>

namespace crossover {

/// launch_parameters() of one GPU, for inside its namespace; for host code: that is where launches are made.
std::string launch_header_functions(const Table& table);
/// The same taking a Sku, or its name. `namespaces`: of each table, in order.
std::string launch_header_sku_lookups(std::span<const Table> tables, std::span<const std::string> namespaces);

} // namespace crossover
