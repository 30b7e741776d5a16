#pragma once
/// Vocabulary of one fused all-reduce call, shared by the kernels, the tuner and the emitters. No CUDA.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace crossover {

/// Element type of the all-reduce input, the residual, gamma and the un-quantized output.
enum class DType : std::uint8_t { bfloat16, float16, float32 };

/// What is done. The all-reduce patterns name what is fused with it, in the order it is applied. The MoE patterns name
/// the operation of a data-parallel mixture of experts (kernels/moe.hpp) and how tokens lie over the ranks
/// (kernels/token_distribution.hpp), which decides as much as their number. In `..._sharded` each rank holds
/// the residual of the tokens it owns only; the output is the same.
enum class Pattern : std::uint8_t {
    allreduce,
    allreduce_rmsnorm,
    allreduce_residual_rmsnorm,
    allreduce_residual_rmsnorm_sharded,
    moe_dispatch_even,
    moe_dispatch_one_hot,
    moe_dispatch_zipf,
    moe_combine_even,
    moe_combine_one_hot,
    moe_combine_zipf
};

/// Quantization of the normalised output: `fp8` is e4m3 with one static scale per tensor, `fp4` is NVFP4
/// (e2m1 values, one e4m3 scale per 16 values, one fp32 global scale).
enum class Quant : std::uint8_t { none, fp8, fp4 };

/// Where the NVFP4 block scales lie: row-major, or the 128×4 tiles that block-scaled GEMMs read.
enum class ScaleLayout : std::uint8_t { swizzled, linear };

template <class E>
struct Named {
    E value;
    std::string_view name;
};

inline constexpr std::array kDTypes{Named<DType>{DType::bfloat16, "bfloat16"}, Named<DType>{DType::float16, "float16"},
                                    Named<DType>{DType::float32, "float32"}};
inline constexpr std::array kAllReducePatterns{
    Named<Pattern>{Pattern::allreduce, "allreduce"}, Named<Pattern>{Pattern::allreduce_rmsnorm, "allreduce_rmsnorm"},
    Named<Pattern>{Pattern::allreduce_residual_rmsnorm, "allreduce_residual_rmsnorm"},
    Named<Pattern>{Pattern::allreduce_residual_rmsnorm_sharded, "allreduce_residual_rmsnorm_sharded"}};
inline constexpr std::array kMoePatterns{Named<Pattern>{Pattern::moe_dispatch_even, "moe_dispatch_even"},
                                         Named<Pattern>{Pattern::moe_dispatch_one_hot, "moe_dispatch_one_hot"},
                                         Named<Pattern>{Pattern::moe_dispatch_zipf, "moe_dispatch_zipf"},
                                         Named<Pattern>{Pattern::moe_combine_even, "moe_combine_even"},
                                         Named<Pattern>{Pattern::moe_combine_one_hot, "moe_combine_one_hot"},
                                         Named<Pattern>{Pattern::moe_combine_zipf, "moe_combine_zipf"}};
inline constexpr std::array kQuants{Named<Quant>{Quant::none, "none"}, Named<Quant>{Quant::fp8, "fp8"},
                                    Named<Quant>{Quant::fp4, "fp4"}};

namespace detail {
template <class T, std::size_t A, std::size_t B>
constexpr std::array<T, A + B> joined(const std::array<T, A>& first, const std::array<T, B>& second) {
    std::array<T, A + B> all{};
    for (std::size_t i = 0; i < A + B; ++i) all[i] = i < A ? first[i] : second[i - A];
    return all;
}
template <class Table, class E>
constexpr std::string_view name_in(const Table& table, E value) {
    for (const auto& entry : table)
        if (entry.value == value) return entry.name;
    return "?";
}
template <class E, class Table>
constexpr std::optional<E> value_in(const Table& table, std::string_view name) {
    for (const auto& entry : table)
        if (entry.name == name) return entry.value;
    return std::nullopt;
}
} // namespace detail

inline constexpr auto kPatterns = detail::joined(kAllReducePatterns, kMoePatterns);

constexpr std::string_view to_string(DType value) { return detail::name_in(kDTypes, value); }
constexpr std::string_view to_string(Pattern value) { return detail::name_in(kPatterns, value); }
constexpr std::string_view to_string(Quant value) { return detail::name_in(kQuants, value); }

/// The value with this exact name, or nothing.
constexpr std::optional<DType> parse_dtype(std::string_view name) { return detail::value_in<DType>(kDTypes, name); }
constexpr std::optional<Pattern> parse_pattern(std::string_view name) {
    return detail::value_in<Pattern>(kPatterns, name);
}
constexpr std::optional<Quant> parse_quant(std::string_view name) { return detail::value_in<Quant>(kQuants, name); }

/// Bytes of one element.
constexpr std::size_t element_size(DType dtype) { return dtype == DType::float32 ? 4 : 2; }

constexpr bool is_sharded(Pattern pattern) { return pattern == Pattern::allreduce_residual_rmsnorm_sharded; }
constexpr bool has_residual(Pattern pattern) {
    return pattern == Pattern::allreduce_residual_rmsnorm || is_sharded(pattern);
}
constexpr bool is_moe_dispatch(Pattern pattern) {
    return pattern >= Pattern::moe_dispatch_even && pattern <= Pattern::moe_dispatch_zipf;
}
constexpr bool is_moe_combine(Pattern pattern) {
    return pattern >= Pattern::moe_combine_even && pattern <= Pattern::moe_combine_zipf;
}
constexpr bool is_moe(Pattern pattern) { return is_moe_dispatch(pattern) || is_moe_combine(pattern); }
constexpr bool has_norm(Pattern pattern) { return pattern != Pattern::allreduce && !is_moe(pattern); }
/// Whether a quant mode other than none means something.
constexpr bool is_quantized(Pattern pattern) { return has_norm(pattern) || is_moe_dispatch(pattern); }

/// Rows of a rank's residual tensors. Sharded: token t is owned by rank t mod world_size, in row t / world_size.
constexpr std::int64_t residual_rows(Pattern pattern, std::int64_t num_tokens, int rank, int world_size) {
    if (!has_residual(pattern)) return 0;
    return is_sharded(pattern) ? (num_tokens - rank + world_size - 1) / world_size : num_tokens;
}

} // namespace crossover
