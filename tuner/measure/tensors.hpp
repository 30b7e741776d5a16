#pragma once
/// The tensors that candidates run on, their contents, and whether a result is right.

#include "comm/communicator.hpp"
#include "kernels/reference.hpp"
#include "tuner/config.hpp"
#include "tuner/measure/candidate.hpp"

#include <cstdint>
#include <optional>
#include <vector>

namespace crossover {

/// One group's tensors for calls up to `max_message_bytes`: a ring of inputs and residuals, one set of outputs.
class TensorArena {
  public:
    /// Collective over `comm` (symmetric buffers).
    TensorArena(Communicator& comm, std::uint64_t max_message_bytes, int ring);

    /// Why there are no NCCL windows; empty if there are.
    const std::string& no_windows() const { return symm_input_.fallback_reason(); }

    /// Tensors of call `index` of a graph at this point.
    CallTensors at(const Point& point, int index) const;
    /// Writes input_pattern.hpp's values for this point and seed into the whole ring. Asynchronous.
    void fill(const Point& point, std::uint64_t seed, int rank, cudaStream_t stream);
    /// Fills the outputs with a pattern that no result has. Asynchronous.
    void poison(const Point& point, cudaStream_t stream);
    /// 48 bits of a hash of all outputs of this point, exact in a double. Blocks.
    double hash_outputs(const Point& point, cudaStream_t stream);
    /// Overwrites more than an L2 holds, so that the ring is cold. Asynchronous.
    void scrub(cudaStream_t stream);

  private:
    std::size_t stride(const Point& point) const;

    int ring_;
    DeviceBuffer<std::byte> input_, residual_in_, residual_out_, output_, scales_, reduced_, normed_, gamma_, scrub_;
    DeviceBuffer<float> quant_scale_;
    DeviceBuffer<unsigned long long> hash_;
    SymmetricBuffer symm_input_, symm_reduced_;
};

/// The float64 reference of one point, on sampled rows.
class Verifier {
  public:
    Verifier(const Point& point, std::uint64_t seed);
    /// ||out − reference|| / ||reference|| over the sampled rows of this rank's outputs. Blocks.
    double relative_error(const CallTensors& tensors, const void* output) const;
    /// What relative_error may be. `bit_exact` algorithms round once; others sum in the tensor's dtype and in their own
    /// order.
    double tolerance(bool bit_exact) const;

  private:
    ReferenceCall call_;
    std::vector<std::int64_t> tokens_;
    std::vector<ReferenceRow> rows_;
};

} // namespace crossover
