#pragma once
/// What is measured: a point is one shape in one cell; a cell is what gets one row of thresholds.

#include "kernels/types.hpp"

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

namespace crossover {

/// One cell of the table: the calls that share one pair of thresholds.
struct CellKey {
    Pattern pattern = Pattern::allreduce_residual_rmsnorm;
    DType dtype = DType::bfloat16;
    Quant quant = Quant::none;
    int world_size = 0;

    auto operator<=>(const CellKey&) const = default;
};

/// One shape in one cell. num_tokens × hidden_dim is the all-reduce input of one rank.
struct Point {
    CellKey cell;
    std::int64_t hidden_dim = 0;
    std::int64_t num_tokens = 0;

    auto operator<=>(const Point&) const = default;
};

/// Bytes of one rank's input tensor: the axis of every threshold.
constexpr std::uint64_t message_bytes(const Point& point) {
    return static_cast<std::uint64_t>(point.num_tokens) * static_cast<std::uint64_t>(point.hidden_dim) *
           element_size(point.cell.dtype);
}

/// "n=8 allreduce_residual_rmsnorm bfloat16 fp8"
std::string to_string(const CellKey& cell);
/// to_string(cell) + " 16x8192" (num_tokens × hidden_dim)
std::string to_string(const Point& point);

/// Names of algorithms as they stand in samples and tables. The set is open (plugins, imported kernels), so an
/// algorithm is its name; only `oneshot` and `twoshot` are fused, everything else can be a baseline.
namespace algorithm {
inline constexpr std::string_view oneshot = "oneshot";
inline constexpr std::string_view twoshot = "twoshot";
inline constexpr std::string_view nccl = "nccl";           // of pattern allreduce: NCCL and nothing else
inline constexpr std::string_view nccl_symm = "nccl_symm"; // the same on NCCL's symmetric windows
inline constexpr std::string_view nccl_separate = "nccl_separate";
inline constexpr std::string_view nccl_fused_norm = "nccl_fused_norm";
inline constexpr std::string_view nccl_symm_separate = "nccl_symm_separate";
inline constexpr std::string_view nccl_symm_fused_norm = "nccl_symm_fused_norm";
inline constexpr std::string_view custom_fused_norm = "custom_fused_norm";
/// No algorithm but a bound (tuner/fit/floor.hpp): `bench` shows it beside the times, and no fit reads it.
inline constexpr std::string_view floor = "floor";
/// In a table's intervals: sizes beyond what was measured. Never a sample's algorithm.
inline constexpr std::string_view not_measured = "not_measured";

/// Those that a config can name without a library of candidates.
inline constexpr std::array kOwn{
    nccl,    nccl_symm, nccl_separate, nccl_fused_norm, nccl_symm_separate, nccl_symm_fused_norm, custom_fused_norm,
    oneshot, twoshot,   floor};

constexpr bool is_fused(std::string_view name) { return name == oneshot || name == twoshot; }
} // namespace algorithm

} // namespace crossover
