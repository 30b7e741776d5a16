#include "kernels/reference.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace crossover {

namespace {

void require(bool condition, const char* what) {
    if (!condition) throw std::invalid_argument(what);
}

void check_shape(const ReferenceCall& call) {
    require(call.world_size >= 1 && call.hidden_dim >= 1, "reference: world_size and hidden_dim must be positive");
    require(call.input != nullptr, "reference: input is missing");
    require(call.quant != Quant::fp4 || call.hidden_dim % kFp4BlockSize == 0,
            "reference: fp4 needs a hidden_dim that is a multiple of 16");
}

void check(const ReferenceCall& call) {
    check_shape(call);
    require(!is_moe(call.pattern), "reference: the pattern is no all-reduce");
    require(!has_residual(call.pattern) || call.residual, "reference: the pattern needs a residual");
    require(!has_norm(call.pattern) || call.gamma, "reference: the pattern needs gamma");
    require(call.quant == Quant::none || has_norm(call.pattern), "reference: only a normed output is quantized");
}

/// round_dtype(sum of the ranks' inputs + residual), summed in Accumulator.
template <class Accumulator>
std::vector<double> reduce(const ReferenceCall& call, std::int64_t token) {
    check(call);
    std::vector<double> reduced;
    for (std::int64_t column = 0; column < call.hidden_dim; ++column) {
        auto sum = static_cast<Accumulator>(call.input(0, token, column));
        for (int rank = 1; rank < call.world_size; ++rank)
            sum += static_cast<Accumulator>(call.input(rank, token, column));
        if (has_residual(call.pattern)) sum += static_cast<Accumulator>(call.residual(token, column));
        reduced.push_back(rounded(call.dtype, sum));
    }
    return reduced;
}

std::vector<double> rmsnorm(const ReferenceCall& call, std::span<const double> reduced) {
    double sum_of_squares = 0;
    for (const double r : reduced) sum_of_squares += r * r;
    const double rstd = 1 / std::sqrt(sum_of_squares / static_cast<double>(reduced.size()) + double{call.eps});
    std::vector<double> normed;
    for (std::size_t column = 0; column < reduced.size(); ++column)
        normed.push_back(reduced[column] * rstd * call.gamma(static_cast<std::int64_t>(column)));
    return normed;
}

/// Appends one block's scale and codes. A NaN does not count for the maximum, as with the GPU's fmaxf.
void quantize_fp4_block(std::span<const double> values, double global_scale, ReferenceRow& row) {
    double largest = 0;
    for (const double y : values) largest = std::fmax(largest, std::fabs(y));
    const std::uint32_t scale_code = encode(kE4M3, global_scale * largest / 6);
    const double scale = decode(kE4M3, scale_code);
    row.scales.push_back(static_cast<std::uint8_t>(scale_code));
    for (const double y : values) row.codes.push_back(scale == 0 ? 0 : encode(kE2M1, y * global_scale / scale));
}

void quantize(const ReferenceCall& call, std::span<const double> source, ReferenceRow& row) {
    if (call.quant == Quant::fp4) {
        for (std::size_t begin = 0; begin < source.size(); begin += kFp4BlockSize)
            quantize_fp4_block(source.subspan(begin, kFp4BlockSize), call.fp4_global_scale, row);
        return;
    }
    const double divisor = call.quant == Quant::fp8 ? double{call.fp8_scale} : 1.0;
    for (const double value : source) row.codes.push_back(encode(output_format(call), value / divisor));
}

} // namespace

ReferenceRow reference_row(const ReferenceCall& call, std::int64_t token) {
    ReferenceRow row;
    row.reduced = reduce<double>(call, token);
    if (has_norm(call.pattern)) row.normed = rmsnorm(call, row.reduced);
    quantize(call, has_norm(call.pattern) ? row.normed : row.reduced, row);
    row.output = dequantized(call, row.codes, row.scales);
    return row;
}

ReferenceRow dispatched_row(const ReferenceCall& call, int rank, std::int64_t token) {
    check_shape(call);
    ReferenceRow row;
    for (std::int64_t column = 0; column < call.hidden_dim; ++column)
        row.reduced.push_back(call.input(rank, token, column));
    quantize(call, row.reduced, row);
    row.output = dequantized(call, row.codes, row.scales);
    return row;
}

std::vector<double> reduced_in_rank_order(const ReferenceCall& call, std::int64_t token) {
    return reduce<float>(call, token);
}

NumberFormat output_format(const ReferenceCall& call) {
    switch (call.quant) {
    case Quant::none:
        return format_of(call.dtype);
    case Quant::fp8:
        return kE4M3;
    case Quant::fp4:
        break;
    }
    return kE2M1;
}

std::vector<std::uint32_t> unpack_codes(NumberFormat format, std::span<const std::byte> bytes) {
    const int bits = 1 + format.exponent_bits + format.mantissa_bits;
    std::vector<std::uint32_t> codes;
    if (bits == 4) {
        for (const std::byte byte : bytes) {
            codes.push_back(std::to_integer<std::uint32_t>(byte & std::byte{0x0F}));
            codes.push_back(std::to_integer<std::uint32_t>(byte >> 4));
        }
        return codes;
    }
    const auto size = static_cast<std::size_t>(bits / 8);
    require(bytes.size() % size == 0, "unpack_codes: the row ends inside an element");
    for (std::size_t begin = 0; begin < bytes.size(); begin += size) {
        std::uint32_t code = 0;
        for (std::size_t i = size; i-- > 0;) code = code << 8 | std::to_integer<std::uint32_t>(bytes[begin + i]);
        codes.push_back(code);
    }
    return codes;
}

std::vector<double> dequantized(const ReferenceCall& call, std::span<const std::uint32_t> codes,
                                std::span<const std::uint8_t> scales) {
    require(call.quant != Quant::fp4 || scales.size() * kFp4BlockSize == codes.size(),
            "dequantized: fp4 needs one scale for every 16 codes");
    const NumberFormat format = output_format(call);
    std::vector<double> values;
    for (std::size_t i = 0; i < codes.size(); ++i) {
        const double value = decode(format, codes[i]);
        switch (call.quant) {
        case Quant::none:
            values.push_back(value);
            break;
        case Quant::fp8:
            values.push_back(value * call.fp8_scale);
            break;
        case Quant::fp4:
            values.push_back(value * decode(kE4M3, scales[i / kFp4BlockSize]) / call.fp4_global_scale);
            break;
        }
    }
    return values;
}

std::size_t scale_offset(ScaleLayout layout, std::int64_t row, std::int64_t block, std::int64_t blocks_per_row) {
    if (layout == ScaleLayout::linear) return static_cast<std::size_t>(row * blocks_per_row + block);
    const std::int64_t tile = row / 128 * ((blocks_per_row + 3) / 4) + block / 4;
    return static_cast<std::size_t>(tile * 512 + row % 32 * 16 + row % 128 / 32 * 4 + block % 4);
}

std::size_t scale_bytes(ScaleLayout layout, std::int64_t rows, std::int64_t blocks_per_row) {
    if (layout == ScaleLayout::linear) return static_cast<std::size_t>(rows * blocks_per_row);
    return static_cast<std::size_t>((rows + 127) / 128 * ((blocks_per_row + 3) / 4) * 512);
}

void RelativeError::add(std::span<const double> out, std::span<const double> ref) {
    require(out.size() == ref.size(), "RelativeError: rows of different length");
    for (std::size_t i = 0; i < out.size(); ++i) {
        if (out[i] == ref[i] || (std::isnan(out[i]) && std::isnan(ref[i]))) {
            if (std::isfinite(ref[i])) reference_squared_ += ref[i] * ref[i];
        } else if (std::isfinite(out[i]) && std::isfinite(ref[i])) {
            difference_squared_ += (out[i] - ref[i]) * (out[i] - ref[i]);
            reference_squared_ += ref[i] * ref[i];
        } else {
            difference_squared_ = std::numeric_limits<double>::infinity();
        }
    }
}

double RelativeError::value() const {
    return difference_squared_ == 0 ? 0 : std::sqrt(difference_squared_ / reference_squared_);
}

} // namespace crossover
