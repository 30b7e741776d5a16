// The candidate of the MoE patterns that is ours: moe_dispatch() and moe_combine().

#include "tuner/measure/candidate.hpp"
#include "tuner/workload.hpp"

namespace crossover {
namespace {

MoeDispatch dispatch_of(const CallTensors& tensors) {
    const FusedAllReduce& call = tensors.call;
    return {.dtype = call.dtype,
            .quant = call.quant,
            .scale_layout = call.scale_layout,
            .hidden_dim = call.hidden_dim,
            .tokens = tensors.moe.tokens,
            .input = call.input,
            .output = tensors.moe.outputs,
            .output_scales = tensors.moe.output_scales,
            .quant_scale = call.quant_scale};
}

MoeCombine combine_of(const CallTensors& tensors) {
    const FusedAllReduce& call = tensors.call;
    return {.dtype = call.dtype,
            .hidden_dim = call.hidden_dim,
            .tokens = tensors.moe.tokens,
            .input = call.input,
            .output = call.output};
}

class Push : public Candidate {
  public:
    explicit Push(const CandidateContext& context) : context_(context) {}

    std::string_view algorithm() const override { return algorithm::push; }
    bool bit_exact() const override { return true; }
    std::optional<std::string> unsupported(const CallTensors& tensors) const override {
        const MoeLaunch launch = launch_for(tensors);
        return is_moe_dispatch(tensors.call.pattern)
                   ? crossover::unsupported(dispatch_of(tensors), context_.workspace, launch)
                   : crossover::unsupported(combine_of(tensors), context_.workspace, launch);
    }
    void enqueue(const CallTensors& tensors, cudaStream_t stream) override {
        const MoeLaunch launch = launch_for(tensors);
        if (is_moe_dispatch(tensors.call.pattern))
            moe_dispatch(dispatch_of(tensors), context_.workspace, launch, stream);
        else
            moe_combine(combine_of(tensors), context_.workspace, launch, stream);
    }
    std::string detail(const CallTensors& tensors) const override {
        const MoeLaunch launch = launch_for(tensors);
        return "ctas=" + std::to_string(launch.ctas) + ",threads=" + std::to_string(launch.threads) +
               (launch.relays ? ",relays" : "") + "; " + multiprocessors_used(launch.ctas, context_);
    }

  private:
    MoeLaunch launch_for(const CallTensors& tensors) const {
        return is_moe_dispatch(tensors.call.pattern)
                   ? default_launch(dispatch_of(tensors), context_.workspace, context_.multiprocessors)
                   : default_launch(combine_of(tensors), context_.workspace, context_.multiprocessors);
    }

    CandidateContext context_;
};

} // namespace

std::unique_ptr<Candidate> make_moe_push(const CandidateContext& context) { return std::make_unique<Push>(context); }

} // namespace crossover
