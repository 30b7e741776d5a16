#pragma once
/// All ranks of a world on an emulated machine: tensors, a workspace and a stream for each. The counterpart of
/// tests/gpu/in_process_world.cuh.

#include "tests/emulation/machine.hpp"
#include "tests/support/fused_calls.hpp"

#include <algorithm>
#include <cstring>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

namespace crossover::testing {

using Bytes = std::vector<std::byte>; // aligned to 16 bytes, as new is

/// [tokens, hidden] with value(token, column), exact in dtype.
template <class Value>
Bytes tensor_of(DType dtype, std::int64_t tokens, std::int64_t hidden, Value value) {
    const std::size_t size = element_size(dtype);
    Bytes bytes(static_cast<std::size_t>(tokens * hidden) * size);
    for (std::int64_t i = 0; i < tokens * hidden; ++i) {
        const std::uint32_t code = encode(format_of(dtype), double{value(i / hidden, i % hidden)});
        std::memcpy(bytes.data() + static_cast<std::size_t>(i) * size, &code, size); // little-endian
    }
    return bytes;
}

/// What a call reads and writes, on every rank. Inputs are input_pattern.hpp's; outputs begin as a pattern that no
/// result has, so that what is not written shows.
struct CallTensors {
    struct OfRank {
        Bytes input, residual_in, gamma, output, residual_out, scales;
        float quant_scale = 1;
        bool operator==(const OfRank&) const = default;
    };
    FusedAllReduce shape;
    std::uint64_t seed;
    std::vector<OfRank> ranks;

    CallTensors(const FusedAllReduce& call, int world, std::uint64_t input_seed) : shape(call), seed(input_seed) {
        constexpr std::byte poison{0xA5};
        for (int rank = 0; rank < world; ++rank) {
            OfRank& of = ranks.emplace_back();
            of.input = tensor_of(call.dtype, call.num_tokens, call.hidden_dim,
                                 [&](std::int64_t t, std::int64_t c) { return input_value(seed, rank, t, c); });
            of.residual_in =
                tensor_of(call.dtype, residual_rows(call.pattern, call.num_tokens, rank, world), call.hidden_dim,
                          [&](std::int64_t row, std::int64_t c) {
                              return residual_value(seed, token_of_residual_row(call.pattern, row, rank, world), c);
                          });
            of.gamma = tensor_of(call.dtype, 1, call.hidden_dim,
                                 [&](std::int64_t, std::int64_t c) { return gamma_value(seed, c); });
            of.output.assign(output_bytes(call), poison);
            of.residual_out.assign(residual_bytes(call, rank, world), poison);
            if (call.quant == Quant::fp4)
                of.scales.assign(scale_bytes(call.scale_layout, call.num_tokens, call.hidden_dim / kFp4BlockSize),
                                 poison);
            of.quant_scale = quant_scale_of(call);
        }
    }

    FusedAllReduce call_of(int rank) {
        OfRank& of = ranks[static_cast<std::size_t>(rank)];
        FusedAllReduce call = shape;
        call.input = of.input.data();
        call.residual_in = of.residual_in.data();
        call.residual_out = of.residual_out.data();
        call.gamma = of.gamma.data();
        call.output = of.output.data();
        call.output_scales = of.scales.data();
        call.quant_scale = &of.quant_scale;
        return call;
    }

    /// Ranks whose results differ from those of `other`, whose outputs are rank 0's, and residuals wherever they are.
    int ranks_that_differ(const CallTensors& other) const {
        int count = 0;
        for (int rank = 0; rank < world(); ++rank) {
            const OfRank &mine = ranks[static_cast<std::size_t>(rank)], &expected = other.ranks[0];
            bool same = mine.output == expected.output && mine.scales == expected.scales;
            const std::int64_t rows = residual_rows(shape.pattern, shape.num_tokens, rank, world());
            for (std::int64_t row = 0; row < rows; ++row)
                same &= std::ranges::equal(row_of(mine.residual_out, row, rows),
                                           other.residual_of(token_of_residual_row(shape.pattern, row, rank, world())));
            count += !same;
        }
        return count;
    }

    /// Rank 0's outputs and the residual against float64.
    void check_against_reference() const { CHECK(relative_error() <= tolerance(shape)); }
    double relative_error() const {
        const ReferenceCall reference = reference_of(shape, world(), seed);
        RelativeError error;
        for (std::int64_t token = 0; token < shape.num_tokens; ++token)
            check_row(shape, reference, token, results_of(token), error);
        return error.value();
    }
    /// The same of kernels that norm and quantize one after the other.
    void check_separate_against_reference() const {
        if (shape.quant == Quant::none) return check_against_reference();
        const ReferenceCall reference = reference_of(shape, world(), seed);
        for (std::int64_t token = 0; token < shape.num_tokens; ++token)
            check_separate_row(shape, reference, token, results_of(token));
    }

  private:
    int world() const { return static_cast<int>(ranks.size()); }

    static std::span<const std::byte> row_of(const Bytes& tensor, std::int64_t row, std::int64_t rows) {
        const std::size_t bytes = tensor.size() / static_cast<std::size_t>(rows);
        return std::span(tensor).subspan(static_cast<std::size_t>(row) * bytes, bytes);
    }
    RowBytes results_of(std::int64_t token) const {
        return {row_of(ranks[0].output, token, shape.num_tokens), residual_of(token), ranks[0].scales};
    }
    /// Empty without one.
    std::span<const std::byte> residual_of(std::int64_t token) const {
        if (!has_residual(shape.pattern)) return {};
        const auto [rank, row] = residual_place(shape, token, world());
        return row_of(ranks[static_cast<std::size_t>(rank)].residual_out, row,
                      residual_rows(shape.pattern, shape.num_tokens, rank, world()));
    }
};

class EmulatedWorld {
  public:
    explicit EmulatedWorld(int world_size, emulation::Options options = {}, std::size_t workspace_size = 2 << 20)
        : machine(std::move(options)), memory_(static_cast<std::size_t>(world_size), Bytes(workspace_size)) {
        Peers peers;
        peers.world_size = world_size;
        for (int rank = 0; rank < world_size; ++rank) peers.base[rank] = memory_[static_cast<std::size_t>(rank)].data();
        for (int rank = 0; rank < world_size; ++rank) {
            peers.rank = rank;
            workspaces.push_back({.peers = peers, .bytes = workspace_size, .timeout_ns = 2'000'000'000});
            streams.emplace_back(machine, rank);
        }
        reset();
    }

    int size() const { return static_cast<int>(workspaces.size()); }

    /// As reset_workspace(), on all ranks.
    void reset() {
        for (Bytes& memory : memory_) {
            std::memset(memory.data(), 0, kControlBytes);
            std::memset(memory.data() + kControlBytes, 0xFF, memory.size() - kControlBytes);
        }
    }

    void enqueue(Fused algorithm, const FusedAllReduce& call, const LaunchParameters& launch, int rank) {
        (algorithm == Fused::oneshot ? oneshot : twoshot)(call, workspaces[static_cast<std::size_t>(rank)], launch,
                                                          &streams[static_cast<std::size_t>(rank)]);
    }
    void enqueue(Fused algorithm, CallTensors& tensors, const LaunchParameters& launch) {
        for (int rank = 0; rank < size(); ++rank) enqueue(algorithm, tensors.call_of(rank), launch, rank);
    }

    /// As read_timeout(): of the first rank that has one.
    std::optional<WaitTimeout> timeout() const {
        for (const Bytes& memory : memory_) {
            device::Control control;
            std::memcpy(&control, memory.data(), sizeof control);
            if (const auto timeout = timeout_of(control)) return timeout;
        }
        return std::nullopt;
    }

    /// One call on all ranks, to its end.
    void run(Fused algorithm, CallTensors& tensors, const LaunchParameters& launch) {
        enqueue(algorithm, tensors, launch);
        machine.run();
        if (const auto waited = timeout()) FAIL(to_string(*waited));
    }

    emulation::Machine machine;
    std::vector<Workspace> workspaces;
    std::deque<emulation::Stream> streams;

  private:
    std::vector<Bytes> memory_;
};

/// What first goes wrong in runs with the seeds 1…count; outcome(options) runs once, and gives nothing if all is well.
template <class Outcome>
std::string first_failure_of(const Outcome& outcome, emulation::Options options, int count) {
    std::string found;
    for (int seed = 1; seed <= count && found.empty(); ++seed) {
        options.seed = static_cast<std::uint64_t>(seed);
        found = outcome(options);
    }
    return found;
}

} // namespace crossover::testing
