#pragma once
/// How a serving engine uses an emitted oneshot_thresholds.h of several GPUs, which are looked up by name: it sizes its
/// workspace once, when a model is loaded, and chooses the kernel for every call. C++17 and no other part of Crossover,
/// as in an engine's own tree.

#include "oneshot_thresholds.h"

#include <cstdint>
#include <string_view>

namespace example_engine {

struct Model {
    int world_size;
    std::int64_t hidden_dim;
    crossover::DType dtype = crossover::DType::bfloat16;
    crossover::Quant quant = crossover::Quant::none;
};

/// Dispatch of "all-reduce, add the residual, RMSNorm, quantize" for one model on one GPU.
class AllReduceNorm {
  public:
    /// @param gpu              as the driver names it
    /// @param workspace_budget bytes the engine can spare; too few, or a need not known, turn the fused kernels off
    AllReduceNorm(std::string_view gpu, const Model& model, std::uint64_t workspace_budget)
        : sku_(crossover::find_sku(gpu)), model_(model) {
        const std::uint64_t needed =
            crossover::workspace_bytes(sku_, model.world_size, model.hidden_dim, model.dtype, model.quant);
        // 0: the table does not know (it was imported). An engine with a rule of its own would ask that instead.
        fused_ = uses_fused() && needed > 0 && needed <= workspace_budget;
        workspace_bytes_ = fused_ ? needed : 0;
    }

    std::uint64_t workspace_bytes() const { return workspace_bytes_; }

    /// Oneshot or twoshot kernel, or the engine's own unfused path.
    crossover::Algorithm choose(std::int64_t num_tokens) const {
        if (!fused_) return crossover::Algorithm::unfused;
        return crossover::select(sku_, model_.world_size, message_bytes(num_tokens), model_.hidden_dim, model_.dtype,
                                 model_.quant);
    }

    /// False where choose() says `unfused` only because nobody measured: worth a line in the engine's log.
    bool is_measured(std::int64_t num_tokens) const {
        return crossover::is_measured(sku_, model_.world_size, message_bytes(num_tokens), model_.hidden_dim,
                                      model_.dtype, model_.quant);
    }

  private:
    std::uint64_t message_bytes(std::int64_t num_tokens) const {
        const std::uint64_t element_size = model_.dtype == crossover::DType::float32 ? 4 : 2;
        return static_cast<std::uint64_t>(num_tokens) * static_cast<std::uint64_t>(model_.hidden_dim) * element_size;
    }

    /// Whether any call of this model is fused: the smallest message is one token.
    bool uses_fused() const {
        const auto limit = [](std::optional<std::uint64_t> bytes) { return bytes.value_or(0); };
        const std::uint64_t oneshot =
            limit(crossover::oneshot_max_bytes(sku_, model_.world_size, model_.hidden_dim, model_.dtype, model_.quant));
        const std::uint64_t twoshot =
            limit(crossover::twoshot_max_bytes(sku_, model_.world_size, model_.hidden_dim, model_.dtype, model_.quant));
        return message_bytes(1) <= (oneshot > twoshot ? oneshot : twoshot);
    }

    crossover::Sku sku_;
    Model model_;
    bool fused_ = false;
    std::uint64_t workspace_bytes_ = 0;
};

} // namespace example_engine
