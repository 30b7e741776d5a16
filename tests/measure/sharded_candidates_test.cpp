// What a sharded residual is measured against gives what twoshot gives, up to NCCL's roundings, at any number of
// tokens.

#include "tests/emulation/emulated_world.hpp"
#include "tests/measure/fake_nccl.hpp"
#include "tuner/measure/candidate.hpp"
#include "tuner/workload.hpp"

#include <doctest/doctest.h>

using namespace crossover;
using testing::Bytes;

namespace {

/// nccl_sharded_norm on all ranks. In the tensors' residuals, each rank's rows are those of its block of tokens.
struct World {
    testing::EmulatedWorld emulated;
    testing::FakeNccl nccl;
    testing::CallTensors tensors;
    std::vector<Bytes> reduced, normed;
    std::int64_t rows; // of a block

    World(const FusedAllReduce& shape, int size, std::uint64_t seed)
        : emulated(size, {.seed = seed}), nccl(size), tensors(shape, size, seed),
          rows(residual_rows(shape.pattern, shape.num_tokens, 0, size)) {
        const std::size_t row = static_cast<std::size_t>(shape.hidden_dim) * element_size(shape.dtype);
        const std::size_t padded = static_cast<std::size_t>(rows * size) * row;
        for (int rank = 0; rank < size; ++rank) {
            auto& of = tensors.ranks[static_cast<std::size_t>(rank)];
            of.input.resize(padded);
            of.output.resize(padded);
            of.scales.resize(std::max(of.scales.size(), padded / kFp4BlockSize));
            of.residual_in =
                testing::tensor_of(shape.dtype, rows, shape.hidden_dim, [&](std::int64_t t, std::int64_t c) {
                    return residual_value(seed, rank * rows + t, c);
                });
            of.residual_out.resize(of.residual_in.size());
            reduced.emplace_back(padded);
            normed.emplace_back(padded);
        }
    }

    void run() {
        for (int rank = 0; rank < emulated.size(); ++rank) {
            const auto at = static_cast<std::size_t>(rank);
            const auto candidates =
                make_candidates(std::string(algorithm::nccl_sharded_norm), {.comm = nccl.comm_of(rank),
                                                                            .workspace = emulated.workspaces[at],
                                                                            .multiprocessors = 2,
                                                                            .compute_capability_major = 9,
                                                                            .no_windows = {}});
            REQUIRE(candidates.size() == 1);
            CallTensors call;
            call.call = tensors.call_of(rank);
            call.block_residual_in = call.call.residual_in;
            call.call.residual_in = nullptr; // not every world_size-th token's
            call.reduced = reduced[at].data();
            call.normed = normed[at].data();
            CHECK_FALSE(candidates[0]->unsupported(call));
            candidates[0]->enqueue(call, &emulated.streams[at]);
            for (std::int64_t token = 0; token < call.call.num_tokens; ++token)
                CHECK(candidates[0]->residual_row(call.call, token).has_value() == (token / rows == rank));
        }
        emulated.machine.run();
    }
};

} // namespace

TEST_CASE("nccl_sharded_norm agrees with float64 on every rank, tokens that do not divide included") {
    std::uint64_t seed = 0;
    for (const int size : {2, 4})
        for (const std::int64_t tokens : {1, 5, 8})
            for (const auto& dtype : kDTypes)
                for (const auto& quant : kQuants) {
                    FusedAllReduce shape;
                    shape.pattern = Pattern::allreduce_residual_rmsnorm_sharded;
                    shape.dtype = dtype.value;
                    shape.quant = quant.value;
                    shape.scale_layout = seed % 2 ? ScaleLayout::linear : ScaleLayout::swizzled;
                    shape.num_tokens = tokens;
                    shape.hidden_dim = 80; // quantized rows are not multiples of 16 bytes
                    INFO(testing::describe(Fused::twoshot, shape, size));
                    World world(shape, size, ++seed);
                    world.run();
                    const ReferenceCall reference = testing::reference_of(shape, size, seed);
                    const std::size_t row = testing::output_bytes(shape) / static_cast<std::size_t>(tokens);
                    const std::size_t residual_row =
                        world.tensors.ranks[0].residual_in.size() / static_cast<std::size_t>(world.rows);
                    RelativeError error, residual_error;
                    for (int rank = 0; rank < size; ++rank) {
                        const auto& of = world.tensors.ranks[static_cast<std::size_t>(rank)];
                        for (std::int64_t token = 0; token < tokens; ++token) {
                            const ReferenceRow expected = reference_row(reference, token);
                            const auto bytes = std::span(of.output).subspan(static_cast<std::size_t>(token) * row, row);
                            std::vector<std::uint8_t> scales;
                            for (std::int64_t block = 0; quant.value == Quant::fp4 && block < 5; ++block)
                                scales.push_back(static_cast<std::uint8_t>(
                                    of.scales[scale_offset(shape.scale_layout, token, block, 5)]));
                            error.add(dequantized(reference, unpack_codes(output_format(reference), bytes), scales),
                                      expected.output);
                            if (token / world.rows != rank) continue;
                            std::vector<double> residual;
                            for (const std::uint32_t code :
                                 unpack_codes(format_of(shape.dtype),
                                              std::span(of.residual_out)
                                                  .subspan(static_cast<std::size_t>(token % world.rows) * residual_row,
                                                           residual_row)))
                                residual.push_back(decode(format_of(shape.dtype), code));
                            residual_error.add(residual, expected.reduced);
                        }
                    }
                    CHECK(residual_error.value() <= (dtype.value == DType::bfloat16 ? 1e-2 : 1e-3));
                    CHECK(error.value() <= (quant.value == Quant::fp4   ? 0.15
                                            : quant.value == Quant::fp8 ? 0.06
                                                                        : 2e-2)); // as the tuner allows
                }
}
