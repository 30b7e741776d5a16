#pragma once
/// What the files that write the C++ header share.

#include "tuner/table.hpp"

#include <cstdint>
#include <string>

namespace crossover {

/// The parameters that a lookup's arguments end with.
inline constexpr const char* kKeyDefaults = "DType dtype = DType::bfloat16, Quant quant = Quant::none,\n"
                                            "    Pattern pattern = Pattern::allreduce_residual_rmsnorm";

inline std::string case_label(const CellKey& key) {
    std::string out = "    case detail::key(" + std::to_string(key.world_size);
    out.append(", DType::").append(to_string(key.dtype));
    out.append(", Quant::").append(to_string(key.quant));
    out.append(", Pattern::").append(to_string(key.pattern));
    return out + "):";
}

inline std::string bytes_literal(std::uint64_t bytes) { return std::to_string(bytes) + "ull"; }

} // namespace crossover
