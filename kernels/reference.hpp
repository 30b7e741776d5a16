#pragma once
/// What one fused all-reduce call must give, in float64 on the CPU, a row at a time: big tensors are checked on sampled
/// rows. No CUDA.
///
///     const ReferenceRow expected = reference_row(call, token);
///     const auto codes = unpack_codes(output_format(call), row_bytes);
///     error.add(dequantized(call, codes, row_scales), expected.output);
///
/// The definitions, of which the kernels compute all but the last rounding in fp32:
///
///     sum  = x_0 + … + x_{n-1}
///     r    = round_dtype(sum + residual)                  the residual output; pattern `allreduce`: the output
///     y    = r / sqrt(mean(r²) + eps) · gamma             the norm reads the rounded r
///     none : output = round_dtype(y)
///     fp8  : code   = e4m3(y / scale)                     value = code · scale
///     fp4  : of 16 consecutive values: sf = e4m3(global_scale · max|y| / 6),
///            code = e2m1(y · global_scale / sf), 0 where sf is 0       value = code · sf / global_scale
///
/// e4m3 and e2m1 saturate.

#include "kernels/number_formats.hpp"
#include "kernels/types.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace crossover {

/// NVFP4 shares one scale among this many consecutive values of a row.
inline constexpr int kFp4BlockSize = 16;

/// One call: its options, and its tensors as functions of the element. Values must be exact in `dtype`.
struct ReferenceCall {
    Pattern pattern = Pattern::allreduce_residual_rmsnorm;
    DType dtype = DType::bfloat16;
    Quant quant = Quant::none; // other than none only with a norm
    int world_size = 0;
    std::int64_t hidden_dim = 0; // with fp4 a multiple of 16
    float eps = 1e-6f;
    float fp8_scale = 1;
    float fp4_global_scale = 1;
    std::function<double(int rank, std::int64_t token, std::int64_t column)> input;
    std::function<double(std::int64_t token, std::int64_t column)> residual; // only with a residual
    std::function<double(std::int64_t column)> gamma;                        // only with a norm
};

/// One row of the results, hidden_dim elements each.
struct ReferenceRow {
    std::vector<double> reduced;      // r
    std::vector<double> normed;       // y, not rounded; empty without a norm
    std::vector<std::uint32_t> codes; // of the output, in output_format()
    std::vector<std::uint8_t> scales; // fp4: the blocks' e4m3 codes, hidden_dim / 16 of them
    std::vector<double> output;       // the values that codes and scales stand for
};

/// @throws std::invalid_argument for a call that has no meaning (see ReferenceCall)
ReferenceRow reference_row(const ReferenceCall& call, std::int64_t token);

/// A rank's row after moe_dispatch: y is its input, as it is. Of `call` the options that quantization needs, and
/// `input`. (A row after moe_combine is `reduced` of the pattern `allreduce`, `token` counted among all ranks' rows.)
ReferenceRow dispatched_row(const ReferenceCall& call, int rank, std::int64_t token);

/// r as the fused kernels' contract has it, bit for bit: contributions added in rank order in fp32, then the residual,
/// then one rounding to dtype. Differs from ReferenceRow::reduced only where fp32 cannot hold a partial sum.
std::vector<double> reduced_in_rank_order(const ReferenceCall& call, std::int64_t token);

/// The format of the output's elements: dtype, e4m3 or e2m1.
NumberFormat output_format(const ReferenceCall& call);

/// The codes that lie in memory: little-endian, 4-bit ones low nibble first.
std::vector<std::uint32_t> unpack_codes(NumberFormat format, std::span<const std::byte> bytes);

/// The values of one row of output; `scales` are the row's e4m3 block scales in block order, empty unless fp4.
std::vector<double> dequantized(const ReferenceCall& call, std::span<const std::uint32_t> codes,
                                std::span<const std::uint8_t> scales);

/// Where the fp4 scale of block `block` of row `row` lies, in bytes. Swizzled: 128×4 tiles of 512 bytes as block-scaled
/// GEMMs read them (cuBLAS: "1D block scaling factors layout").
std::size_t scale_offset(ScaleLayout layout, std::int64_t row, std::int64_t block, std::int64_t blocks_per_row);

/// Bytes of a scale tensor; swizzled ones are padded to whole tiles.
std::size_t scale_bytes(ScaleLayout layout, std::int64_t rows, std::int64_t blocks_per_row);

/// ||out − ref|| / ||ref|| over all rows added. NaN agrees with NaN, an infinity with the same one; any other
/// disagreement of what is not finite makes the error infinite.
class RelativeError {
  public:
    /// @throws std::invalid_argument if the lengths differ
    void add(std::span<const double> out, std::span<const double> ref);
    double value() const;

  private:
    double difference_squared_ = 0;
    double reference_squared_ = 0;
};

} // namespace crossover
