#include "kernels/device/arguments.hpp"
#include "kernels/input_pattern.hpp"
#include "tuner/measure/tensors.hpp"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <set>

namespace crossover {
namespace {

constexpr float kFp8Scale = 1.0f / 64;    // values to 7, the largest of a normed row of 8192 is about 5
constexpr float kFp4GlobalScale = 448.0f; // e4m3 block scales up to 448 · 5/6
constexpr std::size_t kScrubBytes = std::size_t{256} << 20; // more than any L2 today

struct InputValue {
    std::uint64_t seed;
    int rank;
    __device__ float operator()(std::int64_t token, std::int64_t column) const {
        return input_value(seed, rank, token, column);
    }
};
struct ResidualValue {
    std::uint64_t seed;
    std::int64_t first = 0, step = 1; // tokens of the rows
    __device__ float operator()(std::int64_t row, std::int64_t column) const {
        return residual_value(seed, first + row * step, column);
    }
};
struct GammaValue {
    std::uint64_t seed;
    __device__ float operator()(std::int64_t, std::int64_t column) const { return gamma_value(seed, column); }
};

template <class Value>
__global__ void fill_kernel(void* tensor, DType dtype, std::int64_t elements, std::int64_t hidden, Value value) {
    const std::int64_t stride = std::int64_t{gridDim.x} * blockDim.x;
    for (std::int64_t i = blockIdx.x * std::int64_t{blockDim.x} + threadIdx.x; i < elements; i += stride) {
        const float x = value(i / hidden, i % hidden); // exact in every dtype
        if (dtype == DType::bfloat16) static_cast<__nv_bfloat16*>(tensor)[i] = __float2bfloat16_rn(x);
        if (dtype == DType::float16) static_cast<__half*>(tensor)[i] = __float2half_rn(x);
        if (dtype == DType::float32) static_cast<float*>(tensor)[i] = x;
    }
}

/// Adds a hash of every word and its place; any order of the sum gives the same.
__global__ void hash_kernel(const unsigned* words, std::size_t count, std::uint64_t salt, unsigned long long* sum) {
    unsigned long long mine = 0;
    for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < count;
         i += std::size_t{gridDim.x} * blockDim.x)
        mine += detail::mix(detail::mix(salt + i) + words[i]);
    atomicAdd(sum, mine);
}

std::size_t round_up(std::size_t bytes, std::size_t grain) { return (bytes + grain - 1) / grain * grain; }

std::size_t output_bytes(const Point& point) {
    const auto elements = static_cast<std::size_t>(point.num_tokens * point.hidden_dim);
    if (point.cell.quant == Quant::fp8) return elements;
    if (point.cell.quant == Quant::fp4) return elements / 2;
    return elements * element_size(point.cell.dtype);
}

/// First, last and middle, and one that moves with the seed.
std::vector<std::int64_t> sampled(std::int64_t tokens, std::uint64_t seed) {
    if (tokens == 0) return {};
    const auto any = static_cast<std::int64_t>(detail::mix(seed) % static_cast<std::uint64_t>(tokens));
    const std::set<std::int64_t> sampled{0, tokens / 2, tokens - 1, any};
    return {sampled.begin(), sampled.end()};
}

/// Rows of each rank if tokens are cut into equal blocks for a sharded residual.
std::int64_t block_rows(const Point& point) {
    return residual_rows(point.cell.pattern, point.num_tokens, 0, point.cell.world_size);
}

/// Tokens with the padding that equal blocks need.
std::int64_t padded_tokens(const Point& point) {
    return is_sharded(point.cell.pattern) ? block_rows(point) * point.cell.world_size : point.num_tokens;
}

std::size_t row_bytes(const Point& point) {
    return static_cast<std::size_t>(point.hidden_dim) * element_size(point.cell.dtype);
}
std::size_t padded_bytes(const Point& point) {
    return static_cast<std::size_t>(padded_tokens(point)) * row_bytes(point);
}

/// Room for the padding of rows as long as the kernels take.
constexpr std::size_t kPaddingBytes = std::size_t{kMaxWorldSize - 1} * device::kMaxUnitsPerRow * device::kUnitBytes;

/// Of the larger layout: what the other leaves alone stays poison, on all ranks.
std::size_t fp4_scale_bytes(const Point& point) {
    if (point.cell.quant != Quant::fp4) return 0;
    return scale_bytes(ScaleLayout::swizzled, point.num_tokens, point.hidden_dim / kFp4BlockSize);
}

} // namespace

void OutputHash::begin(cudaStream_t stream) {
    CROSSOVER_CUDA_CHECK(cudaMemsetAsync(sum_.data(), 0, sum_.bytes(), stream));
}

void OutputHash::add(const void* tensor, std::size_t bytes, std::uint64_t salt, cudaStream_t stream) {
    if (bytes == 0) return;
    hash_kernel<<<512, 256, 0, stream>>>(static_cast<const unsigned*>(tensor), bytes / 4, salt, sum_.data());
    CROSSOVER_CUDA_CHECK(cudaGetLastError());
}

double OutputHash::value(cudaStream_t stream) const {
    unsigned long long hash = 0;
    CROSSOVER_CUDA_CHECK(cudaMemcpyAsync(&hash, sum_.data(), sizeof hash, cudaMemcpyDeviceToHost, stream));
    CROSSOVER_CUDA_CHECK(cudaStreamSynchronize(stream));
    return static_cast<double>(hash >> 16);
}

void fill_input(void* tensor, const Point& point, std::int64_t tokens, std::uint64_t seed, int rank,
                cudaStream_t stream) {
    if (tokens == 0) return;
    fill_kernel<<<1024, 256, 0, stream>>>(tensor, point.cell.dtype, tokens * point.hidden_dim, point.hidden_dim,
                                          InputValue{seed, rank});
    CROSSOVER_CUDA_CHECK(cudaGetLastError());
}

float quant_scale_of(const Point& point) { return point.cell.quant == Quant::fp4 ? kFp4GlobalScale : kFp8Scale; }

TensorArena::TensorArena(Communicator& comm, std::uint64_t max_message_bytes, int ring, ScaleLayout scale_layout)
    : ring_(ring), scale_layout_(scale_layout),
      input_((max_message_bytes + kPaddingBytes) * static_cast<std::size_t>(ring)), residual_in_(input_.bytes()),
      residual_out_(max_message_bytes), output_(max_message_bytes + kPaddingBytes),
      scales_(max_message_bytes / 8 + (std::size_t{1} << 20)), reduced_(max_message_bytes), normed_(max_message_bytes),
      gamma_(std::size_t{1} << 20), scrub_(kScrubBytes), quant_scale_(1), symm_input_(comm, input_.bytes()),
      symm_reduced_(comm, max_message_bytes) {}

std::size_t TensorArena::stride(const Point& point) const {
    const std::size_t bytes = round_up(padded_bytes(point), 1024);
    return std::min(bytes, input_.bytes() / static_cast<std::size_t>(ring_) / 1024 * 1024);
}

CallTensors TensorArena::at(const Point& point, int index) const {
    const std::size_t offset = stride(point) * static_cast<std::size_t>(index % ring_);
    CallTensors tensors;
    tensors.call = {.pattern = point.cell.pattern,
                    .dtype = point.cell.dtype,
                    .quant = point.cell.quant,
                    .scale_layout = scale_layout_,
                    .num_tokens = point.num_tokens,
                    .hidden_dim = point.hidden_dim,
                    .input = input_.data() + offset,
                    .residual_in = residual_in_.data() + offset,
                    .residual_out = residual_out_.data(),
                    .gamma = gamma_.data(),
                    .output = output_.data(),
                    .output_scales = scales_.data(),
                    .quant_scale = quant_scale_.data()};
    tensors.reduced = reduced_.data();
    tensors.normed = normed_.data();
    if (is_sharded(point.cell.pattern))
        tensors.block_residual_in =
            residual_in_.data() + offset + static_cast<std::size_t>(block_rows(point)) * row_bytes(point);
    tensors.symm_input = static_cast<const std::byte*>(symm_input_.local()) + offset;
    tensors.symm_reduced = symm_reduced_.local();
    return tensors;
}

void TensorArena::fill(const Point& point, std::uint64_t seed, int rank, cudaStream_t stream) {
    const auto fill = [&](void* tensor, std::int64_t tokens, auto value) {
        fill_kernel<<<1024, 256, 0, stream>>>(tensor, point.cell.dtype, tokens * point.hidden_dim, point.hidden_dim,
                                              value);
        CROSSOVER_CUDA_CHECK(cudaGetLastError());
    };
    fill_input(input_.data(), point, padded_tokens(point), seed, rank, stream);
    if (is_sharded(point.cell.pattern)) { // the two ways to own tokens
        const std::int64_t rows = block_rows(point);
        fill(residual_in_.data(), rows, ResidualValue{seed, rank, point.cell.world_size});
        fill(residual_in_.data() + static_cast<std::size_t>(rows) * row_bytes(point), rows,
             ResidualValue{seed, rank * rows});
    } else {
        fill(residual_in_.data(), point.num_tokens, ResidualValue{seed});
    }
    fill(gamma_.data(), 1, GammaValue{seed});
    const std::size_t bytes = padded_bytes(point);
    const auto copy = [&](void* to, const void* from) {
        CROSSOVER_CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream));
    };
    for (int index = 0; index < ring_; ++index) {
        const std::size_t offset = stride(point) * static_cast<std::size_t>(index);
        if (index > 0) copy(input_.data() + offset, input_.data());
        if (index > 0) copy(residual_in_.data() + offset, residual_in_.data());
        copy(static_cast<std::byte*>(symm_input_.local()) + offset, input_.data());
    }
    const float scale = quant_scale_of(point);
    CROSSOVER_CUDA_CHECK(
        cudaMemcpyAsync(quant_scale_.data(), &scale, sizeof scale, cudaMemcpyHostToDevice, stream)); // pageable: copied
}

void TensorArena::poison(const Point& point, cudaStream_t stream) {
    CROSSOVER_CUDA_CHECK(cudaMemsetAsync(output_.data(), 0xA5, output_bytes(point), stream));
    CROSSOVER_CUDA_CHECK(cudaMemsetAsync(symm_reduced_.local(), 0xA5, message_bytes(point), stream));
    if (has_residual(point.cell.pattern))
        CROSSOVER_CUDA_CHECK(cudaMemsetAsync(residual_out_.data(), 0xA5,
                                             static_cast<std::size_t>(block_rows(point)) * row_bytes(point), stream));
    if (const std::size_t bytes = fp4_scale_bytes(point))
        CROSSOVER_CUDA_CHECK(cudaMemsetAsync(scales_.data(), 0xA5, bytes, stream));
}

double TensorArena::hash_outputs(const Point& point, cudaStream_t stream) {
    hash_.begin(stream);
    hash_.add(output_.data(), output_bytes(point), std::uint64_t{1} << 40, stream);
    hash_.add(scales_.data(), fp4_scale_bytes(point), std::uint64_t{2} << 40, stream);
    if (has_residual(point.cell.pattern) && !is_sharded(point.cell.pattern))
        hash_.add(residual_out_.data(), message_bytes(point), std::uint64_t{3} << 40, stream);
    return hash_.value(stream);
}

void TensorArena::scrub(cudaStream_t stream) {
    CROSSOVER_CUDA_CHECK(cudaMemsetAsync(scrub_.data(), 0, scrub_.bytes(), stream));
}

Verifier::Verifier(const Point& point, std::uint64_t seed, int rank) {
    call_ = {.pattern = point.cell.pattern,
             .dtype = point.cell.dtype,
             .quant = point.cell.quant,
             .world_size = point.cell.world_size,
             .hidden_dim = point.hidden_dim,
             .eps = FusedAllReduce{}.eps,
             .fp8_scale = kFp8Scale,
             .fp4_global_scale = kFp4GlobalScale,
             .input = [=](int rank, std::int64_t t, std::int64_t c) { return input_value(seed, rank, t, c); },
             .residual = [=](std::int64_t t, std::int64_t c) { return residual_value(seed, t, c); },
             .gamma = [=](std::int64_t c) { return gamma_value(seed, c); }};
    if (is_moe(point.cell.pattern)) {
        sample_moe_rows(point, seed, rank);
        return;
    }
    tokens_ = sampled(point.num_tokens, seed);
    for (const std::int64_t token : tokens_) rows_.push_back(reference_row(call_, token));
}

void Verifier::sample_moe_rows(const Point& point, std::uint64_t seed, int rank) {
    const TokensPerRank tokens = moe_tokens(point);
    if (is_moe_dispatch(point.cell.pattern)) { // the rows of all ranks are here, each quantized
        for (int owner = 0; owner < point.cell.world_size; ++owner)
            for (const std::int64_t token : sampled(tokens[static_cast<std::size_t>(owner)], seed)) {
                tokens_.push_back(offset_of(tokens, owner) + token);
                rows_.push_back(dispatched_row(call_, owner, token));
            }
        return;
    }
    tokens_ = sampled(tokens[static_cast<std::size_t>(rank)], seed);
    call_.pattern = Pattern::allreduce; // of the rows that this rank owns
    for (const std::int64_t token : tokens_) rows_.push_back(reference_row(call_, offset_of(tokens, rank) + token));
}

double
Verifier::relative_error(const CallTensors& tensors, const void* output,
                         const std::function<std::optional<std::int64_t>(std::int64_t token)>& residual_row) const {
    const auto download = [](const void* device, std::size_t bytes) {
        std::vector<std::byte> host(bytes);
        CROSSOVER_CUDA_CHECK(cudaMemcpy(host.data(), device, bytes, cudaMemcpyDeviceToHost));
        return host;
    };
    const FusedAllReduce& call = tensors.call;
    const Point point{{call.pattern, call.dtype, call.quant, call_.world_size}, call.hidden_dim, call.num_tokens};
    const std::size_t row_bytes = output_bytes({point.cell, point.hidden_dim, 1});
    const std::int64_t blocks = call.hidden_dim / kFp4BlockSize;
    const std::vector<std::byte> scales = download(tensors.call.output_scales, fp4_scale_bytes(point));
    const std::size_t residual_bytes = static_cast<std::size_t>(call.hidden_dim) * element_size(call.dtype);

    RelativeError error, residual_error;
    for (std::size_t i = 0; i < tokens_.size(); ++i) {
        const auto token = static_cast<std::size_t>(tokens_[i]);
        const auto codes = unpack_codes(output_format(call_),
                                        download(static_cast<const std::byte*>(output) + token * row_bytes, row_bytes));
        std::vector<std::uint8_t> row_scales;
        if (!scales.empty())
            for (std::int64_t block = 0; block < blocks; ++block)
                row_scales.push_back(
                    static_cast<std::uint8_t>(scales[scale_offset(call.scale_layout, tokens_[i], block, blocks)]));
        error.add(dequantized(call_, codes, row_scales), rows_[i].output);
        const auto row = has_residual(call.pattern) ? residual_row(tokens_[i]) : std::nullopt;
        if (!row) continue;
        const auto residual =
            unpack_codes(format_of(call.dtype), download(static_cast<const std::byte*>(call.residual_out) +
                                                             static_cast<std::size_t>(*row) * residual_bytes,
                                                         residual_bytes));
        std::vector<double> values;
        for (const std::uint32_t code : residual) values.push_back(decode(format_of(call.dtype), code));
        residual_error.add(values, rows_[i].reduced);
    }
    return std::max(error.value(), has_residual(call.pattern) ? residual_error.value() : 0.0);
}

// What is not bit_exact may be off by is told to libraries' authors in kernels/crossover_candidate.h, too.
double Verifier::tolerance(bool bit_exact) const {
    const double unit = call_.dtype == DType::float32   ? 1e-6
                        : call_.dtype == DType::float16 ? 1e-3
                                                        : 8e-3;    // 2^-11, 2^-8 and some
    if (call_.quant == Quant::fp4) return bit_exact ? 1e-2 : 0.15; // a neighbouring code is 17 % or more away
    if (call_.quant == Quant::fp8) return bit_exact ? 5e-3 : 0.06; // 6 %
    return bit_exact ? unit / 8 : 2 * unit;
}

} // namespace crossover
