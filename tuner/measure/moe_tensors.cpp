#include "kernels/reference.hpp"
#include "tuner/measure/tensors.hpp"

#include <algorithm>

namespace crossover {
namespace {

// Room for rows of dtype, in calls of the largest size: of all ranks a few times, so that small calls rotate; padded to
// the largest rank, Zipf's 2.9 times the mean at 8 ranks and some. One hot rank's 8 times fit at half of that size.
constexpr std::size_t kInputs = 4, kPadded = 4;

/// This rank's output: rows, and their fp4 scales in the larger layout.
struct OutputShape {
    std::int64_t rows;
    std::size_t bytes, scale_bytes;
};

OutputShape output_of(const Point& point, int rank) {
    const TokensPerRank tokens = moe_tokens(point);
    const bool dispatch = is_moe_dispatch(point.cell.pattern);
    const std::int64_t rows = dispatch ? sum_of(tokens) : tokens[static_cast<std::size_t>(rank)];
    const auto elements = static_cast<std::size_t>(rows * point.hidden_dim);
    const Quant quant = point.cell.quant;
    return {rows,
            quant == Quant::none  ? elements * element_size(point.cell.dtype)
            : quant == Quant::fp8 ? elements
                                  : elements / 2,
            quant == Quant::fp4 ? scale_bytes(ScaleLayout::swizzled, rows, point.hidden_dim / kFp4BlockSize) : 0};
}

/// Rows of this rank's input.
std::int64_t input_rows(const Point& point, int rank) {
    const TokensPerRank tokens = moe_tokens(point);
    return is_moe_dispatch(point.cell.pattern) ? tokens[static_cast<std::size_t>(rank)] : sum_of(tokens);
}

/// Bytes of an input, the same on every rank.
std::size_t stride_of(const Point& point) {
    const auto all = static_cast<std::size_t>(message_bytes(point)) * static_cast<std::size_t>(point.cell.world_size);
    return (all + 1023) / 1024 * 1024;
}

} // namespace

MoeTensorArena::MoeTensorArena(Communicator& comm, std::uint64_t max_message_bytes, int ring, ScaleLayout scale_layout)
    : rank_(comm.rank()), ring_(ring), scale_layout_(scale_layout),
      input_(kInputs * (max_message_bytes + 1024) * static_cast<std::size_t>(comm.size())),
      rows_(max_message_bytes * static_cast<std::size_t>(comm.size())),
      padded_(kPadded * max_message_bytes * static_cast<std::size_t>(comm.size())),
      linear_scales_(max_message_bytes / 16 * static_cast<std::size_t>(comm.size())), quant_scale_(1),
      output_(comm, max_message_bytes * static_cast<std::size_t>(comm.size())),
      // Swizzled scales are padded to 128 rows and 4 blocks.
      scales_(comm, max_message_bytes / 16 * static_cast<std::size_t>(comm.size()) + (std::size_t{1} << 20)) {}

CallTensors MoeTensorArena::at(const Point& point, int index) const {
    const auto fitting = static_cast<int>(std::min<std::size_t>(input_.bytes() / stride_of(point), 1u << 30));
    CallTensors tensors;
    tensors.call = {.pattern = point.cell.pattern,
                    .dtype = point.cell.dtype,
                    .quant = point.cell.quant,
                    .scale_layout = scale_layout_,
                    .num_tokens = output_of(point, rank_).rows,
                    .hidden_dim = point.hidden_dim,
                    .input =
                        input_.data() + stride_of(point) * static_cast<std::size_t>(index % std::min(ring_, fitting)),
                    .output = output_.local(),
                    .output_scales = scales_.local(),
                    .quant_scale = quant_scale_.data()};
    tensors.moe.tokens = moe_tokens(point);
    std::copy_n(output_.peers().base, kMaxWorldSize, tensors.moe.outputs.begin());
    std::copy_n(scales_.peers().base, kMaxWorldSize, tensors.moe.output_scales.begin());
    tensors.moe.rows = rows_.data();
    tensors.moe.padded = padded_.data();
    tensors.moe.padded_bytes = padded_.bytes();
    tensors.moe.linear_scales = linear_scales_.data();
    return tensors;
}

void MoeTensorArena::fill(const Point& point, std::uint64_t seed, int rank, cudaStream_t stream) {
    for (int index = 0; index < ring_; ++index) {
        auto* const input = const_cast<void*>(at(point, index).call.input);
        if (index > 0 && input == at(point, 0).call.input) break;
        fill_input(input, point, input_rows(point, rank), seed, rank, stream);
    }
    const float scale = quant_scale_of(point);
    CROSSOVER_CUDA_CHECK(
        cudaMemcpyAsync(quant_scale_.data(), &scale, sizeof scale, cudaMemcpyHostToDevice, stream)); // pageable: copied
}

void MoeTensorArena::poison(const Point& point, cudaStream_t stream) {
    const OutputShape shape = output_of(point, rank_);
    CROSSOVER_CUDA_CHECK(cudaMemsetAsync(output_.local(), 0xA5, shape.bytes, stream));
    CROSSOVER_CUDA_CHECK(cudaMemsetAsync(scales_.local(), 0xA5, shape.scale_bytes, stream));
}

double MoeTensorArena::hash_outputs(const Point& point, cudaStream_t stream) {
    const OutputShape shape = output_of(point, rank_);
    hash_.begin(stream);
    hash_.add(output_.local(), shape.bytes, std::uint64_t{1} << 40, stream);
    hash_.add(scales_.local(), shape.scale_bytes, std::uint64_t{2} << 40, stream);
    return hash_.value(stream);
}

} // namespace crossover
