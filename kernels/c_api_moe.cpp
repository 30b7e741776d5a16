// The C API's MoE operations in terms of the C++ ones: copies structs.

#include "kernels/c_api.hpp"
#include "kernels/moe.hpp"

#include <array>

using namespace crossover;
using namespace crossover::c_api;

namespace {

static_assert(kMaxWorldSize == CROSSOVER_MAX_WORLD_SIZE);

MoeDispatch moe_call_of(const crossover_moe_dispatch_call& call) {
    return {.dtype = dtype_of(call.dtype),
            .quant = quant_of(call.quant),
            .scale_layout = scale_layout_of(call.scale_layout),
            .hidden_dim = call.hidden_dim,
            .tokens = std::to_array(call.tokens),
            .input = call.input,
            .output = std::to_array(call.output),
            .output_scales = std::to_array(call.output_scales),
            .quant_scale = call.quant_scale};
}

MoeCombine moe_call_of(const crossover_moe_combine_call& call) {
    return {.dtype = dtype_of(call.dtype),
            .hidden_dim = call.hidden_dim,
            .tokens = std::to_array(call.tokens),
            .input = call.input,
            .output = call.output};
}

/// Calls `use` with the C++ call and its launch, by default the kernels' own, if they can be run.
template <class Call, class Use>
crossover_status with_launch(const crossover_workspace* workspace, const Call* call, const crossover_moe_launch* launch,
                             Use&& use) {
    return guarded([&] {
        require(workspace, "workspace");
        require(call, "call");
        const auto request = moe_call_of(*call);
        const MoeLaunch chosen = launch ? MoeLaunch{.ctas = launch->ctas,
                                                    .threads = launch->threads,
                                                    .pdl = launch->pdl != 0,
                                                    .relays = launch->relays != 0}
                                        : default_launch(request, workspace->workspace, workspace->multiprocessors);
        if (const auto reason = unsupported(request, workspace->workspace, chosen))
            return failure(CROSSOVER_UNSUPPORTED, *reason);
        use(request, chosen);
        return CROSSOVER_OK;
    });
}

template <class Call>
crossover_status tell_default_launch(const crossover_workspace* workspace, const Call* call,
                                     crossover_moe_launch* launch) {
    return with_launch(workspace, call, nullptr, [&](const auto&, const MoeLaunch& chosen) {
        require(launch, "launch");
        *launch = {
            .ctas = chosen.ctas, .threads = chosen.threads, .pdl = chosen.pdl ? 1 : 0, .relays = chosen.relays ? 1 : 0};
    });
}

} // namespace

crossover_status crossover_moe_dispatch_default_launch(const crossover_workspace* workspace,
                                                       const crossover_moe_dispatch_call* call,
                                                       crossover_moe_launch* launch) {
    return tell_default_launch(workspace, call, launch);
}

crossover_status crossover_moe_combine_default_launch(const crossover_workspace* workspace,
                                                      const crossover_moe_combine_call* call,
                                                      crossover_moe_launch* launch) {
    return tell_default_launch(workspace, call, launch);
}

crossover_status crossover_moe_dispatch(const crossover_workspace* workspace, const crossover_moe_dispatch_call* call,
                                        const crossover_moe_launch* launch, cudaStream_t stream) {
    return with_launch(workspace, call, launch, [&](const MoeDispatch& request, const MoeLaunch& chosen) {
        moe_dispatch(request, workspace->workspace, chosen, stream);
    });
}

crossover_status crossover_moe_combine(const crossover_workspace* workspace, const crossover_moe_combine_call* call,
                                       const crossover_moe_launch* launch, cudaStream_t stream) {
    return with_launch(workspace, call, launch, [&](const MoeCombine& request, const MoeLaunch& chosen) {
        moe_combine(request, workspace->workspace, chosen, stream);
    });
}
