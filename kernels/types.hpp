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

/// What is fused with the all-reduce, in the order it is applied.
enum class Pattern : std::uint8_t { allreduce, allreduce_rmsnorm, allreduce_residual_rmsnorm };

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
inline constexpr std::array kPatterns{
    Named<Pattern>{Pattern::allreduce, "allreduce"}, Named<Pattern>{Pattern::allreduce_rmsnorm, "allreduce_rmsnorm"},
    Named<Pattern>{Pattern::allreduce_residual_rmsnorm, "allreduce_residual_rmsnorm"}};
inline constexpr std::array kQuants{Named<Quant>{Quant::none, "none"}, Named<Quant>{Quant::fp8, "fp8"},
                                    Named<Quant>{Quant::fp4, "fp4"}};

namespace detail {
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

constexpr bool has_residual(Pattern pattern) { return pattern == Pattern::allreduce_residual_rmsnorm; }
constexpr bool has_norm(Pattern pattern) { return pattern != Pattern::allreduce; }

} // namespace crossover
