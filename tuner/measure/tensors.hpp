#pragma once
/// The tensors that candidates run on, their contents, and whether a result is right.

#include "comm/communicator.hpp"
#include "kernels/reference.hpp"
#include "tuner/config.hpp"
#include "tuner/measure/candidate.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

namespace crossover {

/// A hash of tensors, added up on the device.
class OutputHash {
  public:
    void begin(cudaStream_t stream);
    /// `salt` tells tensors apart. Asynchronous.
    void add(const void* tensor, std::size_t bytes, std::uint64_t salt, cudaStream_t stream);
    /// 48 bits, exact in a double. Blocks.
    double value(cudaStream_t stream) const;

  private:
    DeviceBuffer<unsigned long long> sum_{1};
};

/// Tokens of each rank at a point of a MoE pattern.
inline TokensPerRank moe_tokens(const Point& point) {
    return tokens_of(distribution_of(point.cell.pattern), point.cell.world_size, point.num_tokens);
}
/// Writes a rank's [tokens, hidden_dim] input, input_pattern.hpp's values of its tokens from 0. Asynchronous.
void fill_input(void* tensor, const Point& point, std::int64_t tokens, std::uint64_t seed, int rank,
                cudaStream_t stream);
/// The scale that the point's outputs are quantized with.
float quant_scale_of(const Point& point);

/// Tensors of the calls of some patterns: a ring of inputs, one set of outputs.
class Tensors {
  public:
    virtual ~Tensors() = default;
    /// Of call `index` of a graph at this point.
    virtual CallTensors at(const Point& point, int index) const = 0;
    /// Writes input_pattern.hpp's values for this point and seed into the whole ring. Asynchronous.
    virtual void fill(const Point& point, std::uint64_t seed, int rank, cudaStream_t stream) = 0;
    /// Fills the outputs with a pattern that no result has. Asynchronous.
    virtual void poison(const Point& point, cudaStream_t stream) = 0;
    /// 48 bits of a hash of the outputs of this point (no shard of a residual, which ranks do not share), exact in a
    /// double. Blocks.
    virtual double hash_outputs(const Point& point, cudaStream_t stream) = 0;
};

/// One group's tensors for all-reduce patterns, for calls up to `max_message_bytes`.
class TensorArena : public Tensors {
  public:
    /// Collective over `comm` (symmetric buffers).
    TensorArena(Communicator& comm, std::uint64_t max_message_bytes, int ring, ScaleLayout scale_layout);

    /// Why there are no NCCL windows; empty if there are.
    const std::string& no_windows() const { return symm_input_.fallback_reason(); }

    CallTensors at(const Point& point, int index) const override;
    void fill(const Point& point, std::uint64_t seed, int rank, cudaStream_t stream) override;
    void poison(const Point& point, cudaStream_t stream) override;
    double hash_outputs(const Point& point, cudaStream_t stream) override;
    /// Overwrites more than an L2 holds, so that the ring is cold. Asynchronous.
    void scrub(cudaStream_t stream);

  private:
    std::size_t stride(const Point& point) const;

    int ring_;
    ScaleLayout scale_layout_;
    DeviceBuffer<std::byte> input_, residual_in_, residual_out_, output_, scales_, reduced_, normed_, gamma_, scrub_;
    DeviceBuffer<float> quant_scale_;
    OutputHash hash_;
    SymmetricBuffer symm_input_, symm_reduced_;
};

/// One group's tensors for MoE patterns, for calls up to `max_message_bytes` a rank, the mean over ranks.
class MoeTensorArena : public Tensors {
  public:
    /// Collective over `comm` (symmetric buffers).
    MoeTensorArena(Communicator& comm, std::uint64_t max_message_bytes, int ring, ScaleLayout scale_layout);

    CallTensors at(const Point& point, int index) const override;
    void fill(const Point& point, std::uint64_t seed, int rank, cudaStream_t stream) override;
    void poison(const Point& point, cudaStream_t stream) override;
    double hash_outputs(const Point& point, cudaStream_t stream) override;

  private:
    int rank_, ring_;
    ScaleLayout scale_layout_;
    DeviceBuffer<std::byte> input_, rows_, padded_, linear_scales_;
    DeviceBuffer<float> quant_scale_;
    OutputHash hash_;
    SymmetricBuffer output_, scales_;
};

/// The float64 reference of one point, on sampled rows.
class Verifier {
  public:
    /// On this rank: the MoE patterns' outputs, or their number of rows, differ between ranks.
    Verifier(const Point& point, std::uint64_t seed, int rank);
    /// ||out − reference|| / ||reference|| over the sampled rows of this rank's outputs. `residual_row`: where in
    /// residual_out a token's is, if this rank has it. Blocks.
    double relative_error(const CallTensors& tensors, const void* output,
                          const std::function<std::optional<std::int64_t>(std::int64_t token)>& residual_row) const;
    /// What relative_error may be. `bit_exact` algorithms round once; others sum in the tensor's dtype and in their own
    /// order.
    double tolerance(bool bit_exact) const;

  private:
    void sample_moe_rows(const Point& point, std::uint64_t seed, int rank);

    ReferenceCall call_;
    std::vector<std::int64_t> tokens_;
    std::vector<ReferenceRow> rows_;
};

} // namespace crossover
