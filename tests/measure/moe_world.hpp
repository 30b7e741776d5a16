#pragma once
/// All ranks of a MoE collective on an emulated machine, with stand-ins for NCCL.

#include "tests/emulation/emulated_world.hpp"
#include "tests/measure/fake_nccl.hpp"
#include "tests/support/moe_calls.hpp"
#include "tuner/measure/candidate.hpp"
#include "tuner/workload.hpp"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

namespace crossover::testing {

/// One rank's tensors; poison in outputs and scratch.
struct RankTensors {
    Bytes input, output, scales, rows, padded, linear_scales;
    float quant_scale;
};

struct MoeWorld {
    EmulatedWorld emulated;
    FakeNccl nccl;
    std::vector<RankTensors> ranks;
    std::vector<crossover::CallTensors> tensors;

    MoeWorld(Pattern pattern, DType dtype, Quant quant, ScaleLayout layout, std::int64_t hidden,
             const TokensPerRank& tokens, int size, std::uint64_t seed)
        : emulated(size, {.seed = seed}), nccl(size), ranks(static_cast<std::size_t>(size)),
          tensors(static_cast<std::size_t>(size)) {
        const bool dispatch = is_moe_dispatch(pattern);
        const std::size_t row = static_cast<std::size_t>(hidden) * element_size(dtype);
        const auto most = static_cast<std::size_t>(*std::max_element(tokens.begin(), tokens.end()));
        for (int rank = 0; rank < size; ++rank) {
            RankTensors& memory = ranks[static_cast<std::size_t>(rank)];
            const std::int64_t all = sum_of(tokens), own = tokens[static_cast<std::size_t>(rank)];
            const std::int64_t in = dispatch ? own : all, out = dispatch ? all : own;
            FusedAllReduce& call = tensors[static_cast<std::size_t>(rank)].call;
            call = {.pattern = pattern,
                    .dtype = dtype,
                    .quant = quant,
                    .scale_layout = layout,
                    .num_tokens = out,
                    .hidden_dim = hidden};
            constexpr std::byte poison{0xA5};
            memory.input = tensor_of(dtype, in, hidden,
                                     [&](std::int64_t t, std::int64_t c) { return input_value(seed, rank, t, c); });
            memory.output.assign(output_bytes(call), poison);
            if (quant == Quant::fp4) memory.scales.assign(scale_bytes(layout, out, hidden / kFp4BlockSize), poison);
            memory.rows.assign(static_cast<std::size_t>(all) * row, poison);
            memory.padded.assign(most * static_cast<std::size_t>(size) * row, poison);
            memory.linear_scales.assign(static_cast<std::size_t>(all * hidden / kFp4BlockSize), poison);
            memory.quant_scale = quant_scale_of(call);
        }
        for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
            FusedAllReduce& call = tensors[rank].call;
            call.input = ranks[rank].input.data();
            call.output = ranks[rank].output.data();
            call.output_scales = ranks[rank].scales.data();
            call.quant_scale = &ranks[rank].quant_scale;
            MoeTensors& moe = tensors[rank].moe;
            moe.tokens = tokens;
            for (std::size_t peer = 0; peer < ranks.size(); ++peer) {
                moe.outputs[peer] = ranks[peer].output.data();
                moe.output_scales[peer] = ranks[peer].scales.data();
            }
            moe.rows = ranks[rank].rows.data();
            moe.padded = ranks[rank].padded.data();
            moe.padded_bytes = ranks[rank].padded.size();
            moe.linear_scales = ranks[rank].linear_scales.data();
        }
    }

    /// Runs the `variant`-th candidate of this name on all ranks; false if it says that it cannot, or there is none.
    bool run(std::string_view name, std::size_t variant) {
        std::set<std::string> refusals;
        for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
            const auto candidates = make_moe_candidates(name, {.comm = nccl.comm_of(static_cast<int>(rank)),
                                                               .workspace = emulated.workspaces[rank],
                                                               .multiprocessors = 2,
                                                               .compute_capability_major = 9,
                                                               .no_windows = {}});
            if (variant >= candidates.size()) return false;
            CHECK(candidates[variant]->algorithm() == name);
            refusals.insert(candidates[variant]->unsupported(tensors[rank]).value_or(""));
            if (refusals == std::set<std::string>{""})
                candidates[variant]->enqueue(tensors[rank], &emulated.streams[rank]);
        }
        REQUIRE(refusals.size() == 1); // all ranks agree
        emulated.machine.run();
        REQUIRE_FALSE(emulated.timeout().has_value());
        return refusals.begin()->empty();
    }
};

} // namespace crossover::testing
