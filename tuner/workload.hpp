#pragma once
/// What is measured: a point is one shape in one cell; a cell is what gets one row of thresholds.

#include "kernels/types.hpp"

#include <algorithm>
#include <array>
#include <cmath>
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

/// One shape in one cell. num_tokens × hidden_dim is the all-reduce input of one rank; of a MoE pattern, num_tokens is
/// the mean over the ranks.
struct Point {
    CellKey cell;
    std::int64_t hidden_dim = 0;
    std::int64_t num_tokens = 0;

    auto operator<=>(const Point&) const = default;
};

/// Bytes of one rank's input tensor (MoE patterns: the mean over the ranks): the axis of every threshold.
constexpr std::uint64_t message_bytes(const Point& point) {
    return static_cast<std::uint64_t>(point.num_tokens) * static_cast<std::uint64_t>(point.hidden_dim) *
           element_size(point.cell.dtype);
}

/// Sizes are compared in octaves; none counts as a byte.
inline double log2_bytes(std::uint64_t bytes) {
    return std::log2(static_cast<double>(std::max<std::uint64_t>(bytes, 1)));
}
inline double log2_bytes(const Point& point) { return log2_bytes(message_bytes(point)); }

/// "n=8 allreduce_residual_rmsnorm bfloat16 fp8"
std::string to_string(const CellKey& cell);
/// to_string(cell) + " 16x8192" (num_tokens × hidden_dim)
std::string to_string(const Point& point);

/// Names of algorithms as they stand in samples and tables. The set is open (plugins, imported kernels), so an
/// algorithm is its name. Some are challengers, which must win by the guard band: of the all-reduce patterns `oneshot`
/// and `twoshot`, the fused ones. Everything else can be a baseline.
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
// A sharded residual: NCCL reduce-scatter, one norm kernel on the own rows, NCCL all-gather of its quantized output.
inline constexpr std::string_view nccl_sharded_norm = "nccl_sharded_norm";
// moe_dispatch: every rank gets all ranks' tokens, quantized.
inline constexpr std::string_view nccl_allreduce_quantize = "nccl_allreduce_quantize"; // padded to the largest rank
inline constexpr std::string_view nccl_allgather_quantize = "nccl_allgather_quantize"; // bf16 travels
inline constexpr std::string_view quantize_nccl_allgather = "quantize_nccl_allgather"; // values and scales travel
// moe_combine: every rank gets the sum over ranks of its own tokens.
inline constexpr std::string_view nccl_allreduce_slice = "nccl_allreduce_slice"; // padded to the largest rank
inline constexpr std::string_view nccl_reduce_scatter = "nccl_reduce_scatter";
inline constexpr std::string_view push = "push"; // our kernel, of either
/// No algorithm but a bound (tuner/fit/floor.hpp): `bench` shows it beside the times, and no fit reads it.
inline constexpr std::string_view floor = "floor";
/// In a table's intervals: sizes beyond what was measured. Never a sample's algorithm.
inline constexpr std::string_view not_measured = "not_measured";

/// Those that a config can name without a library of candidates.
inline constexpr std::array kOwn{nccl,
                                 nccl_symm,
                                 nccl_separate,
                                 nccl_fused_norm,
                                 nccl_symm_separate,
                                 nccl_symm_fused_norm,
                                 custom_fused_norm,
                                 oneshot,
                                 twoshot,
                                 nccl_sharded_norm,
                                 nccl_allreduce_quantize,
                                 nccl_allgather_quantize,
                                 quantize_nccl_allgather,
                                 nccl_allreduce_slice,
                                 nccl_reduce_scatter,
                                 push,
                                 floor};

constexpr bool is_fused(std::string_view name) { return name == oneshot || name == twoshot; }
/// What displaces a baseline only where it wins by the guard band: oneshot and twoshot, what quantizes before the
/// gather, what scatters instead of reducing everything everywhere.
constexpr bool is_challenger(std::string_view name) {
    return is_fused(name) || name == quantize_nccl_allgather || name == nccl_reduce_scatter || name == push;
}
constexpr bool is_of_moe_dispatch(std::string_view name) {
    return name == nccl_allreduce_quantize || name == nccl_allgather_quantize || name == quantize_nccl_allgather ||
           name == push;
}
constexpr bool is_of_moe_combine(std::string_view name) {
    return name == nccl_allreduce_slice || name == nccl_reduce_scatter || name == push;
}
/// Whether the algorithm does this pattern at all.
constexpr bool does(std::string_view name, Pattern pattern) {
    if (is_moe_dispatch(pattern)) return is_of_moe_dispatch(name);
    if (is_moe_combine(pattern)) return is_of_moe_combine(name);
    const bool sharded = name == nccl_sharded_norm;
    if (is_sharded(pattern)) return sharded || name == floor || name.substr(0, name.find('[')) == twoshot;
    if (sharded || is_of_moe_dispatch(name) || is_of_moe_combine(name)) return false;
    if (has_norm(pattern)) return name != nccl && name != nccl_symm;
    return name != nccl_separate && name != nccl_symm_separate && name != custom_fused_norm;
}
} // namespace algorithm

} // namespace crossover
