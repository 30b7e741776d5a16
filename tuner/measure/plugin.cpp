#include "tuner/measure/plugin.hpp"

#include "comm/cuda_check.hpp"
#include "tuner/one_line.hpp"

#include <array>
#include <cstdio>
#include <cstring>

namespace crossover {
namespace {

static_assert(static_cast<int>(DType::bfloat16) == CROSSOVER_CANDIDATE_BFLOAT16 &&
              static_cast<int>(DType::float16) == CROSSOVER_CANDIDATE_FLOAT16 &&
              static_cast<int>(DType::float32) == CROSSOVER_CANDIDATE_FLOAT32);
static_assert(static_cast<int>(Quant::none) == CROSSOVER_CANDIDATE_QUANT_NONE &&
              static_cast<int>(Quant::fp8) == CROSSOVER_CANDIDATE_QUANT_FP8 &&
              static_cast<int>(Quant::fp4) == CROSSOVER_CANDIDATE_QUANT_FP4);
static_assert(static_cast<int>(ScaleLayout::swizzled) == CROSSOVER_CANDIDATE_SCALES_SWIZZLED &&
              static_cast<int>(ScaleLayout::linear) == CROSSOVER_CANDIDATE_SCALES_LINEAR);

std::optional<std::int32_t> pattern_code(Pattern pattern) {
    if (pattern == Pattern::allreduce) return CROSSOVER_CANDIDATE_ALLREDUCE;
    if (pattern == Pattern::allreduce_rmsnorm) return CROSSOVER_CANDIDATE_ALLREDUCE_RMSNORM;
    if (pattern == Pattern::allreduce_residual_rmsnorm) return CROSSOVER_CANDIDATE_ALLREDUCE_RESIDUAL_RMSNORM;
    return std::nullopt;
}

crossover_candidate_call call_of(const FusedAllReduce& call) {
    return {.struct_size = sizeof(crossover_candidate_call),
            .pattern = pattern_code(call.pattern).value_or(-1),
            .dtype = static_cast<std::int32_t>(call.dtype),
            .quant = static_cast<std::int32_t>(call.quant),
            .scale_layout = static_cast<std::int32_t>(call.scale_layout),
            .eps = call.eps,
            .num_tokens = call.num_tokens,
            .hidden_dim = call.hidden_dim,
            .input = call.input,
            .residual_in = call.residual_in,
            .residual_out = call.residual_out,
            .gamma = call.gamma,
            .output = call.output,
            .output_scales = call.output_scales,
            .quant_scale = call.quant_scale};
}

/// 90 for 9.0
int compute_capability(int device) {
    int major = 0, minor = 0;
    CROSSOVER_CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
    CROSSOVER_CUDA_CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device));
    return 10 * major + minor;
}

WorkspaceFit workspace_of(const crossover_candidate& functions, int world_size, const Config& config,
                          InFlightFile& in_flight) {
    const InFlightFile::Scope scope(in_flight, Phase::load, {}, std::array{std::string(functions.name)});
    return fit_workspace(functions, world_size, config.max_message_bytes, config.workspace_limit_bytes);
}

class PluginCandidate : public Candidate {
  public:
    PluginCandidate(std::string name, GroupPlugin& plugin) : name_(std::move(name)), plugin_(plugin) {}

    std::string_view algorithm() const override { return name_; }
    std::optional<std::string> unsupported(const CallTensors& tensors) const override {
        return plugin_.unsupported(tensors.call);
    }
    void enqueue(const CallTensors& tensors, cudaStream_t stream) override { plugin_.enqueue(tensors.call, stream); }
    GroupPlugin* plugin() override { return &plugin_; }

  private:
    std::string name_;
    GroupPlugin& plugin_;
};

} // namespace

GroupPlugin::GroupPlugin(const crossover_candidate& functions, Communicator& comm, const Config& config,
                         const CandidateContext& context, InFlightFile& in_flight)
    : functions_(functions), comm_(comm), in_flight_(in_flight),
      workspace_(workspace_of(functions, comm.size(), config, in_flight)) {
    group_ = {.struct_size = sizeof group_,
              .rank = comm.rank(),
              .world_size = comm.size(),
              .device = comm.device(),
              .compute_capability = compute_capability(comm.device()),
              .multiprocessors = context.multiprocessors,
              .max_message_bytes = workspace_.max_message_bytes,
              .timeout_ns = context.workspace.timeout_ns,
              .all_gather = &GroupPlugin::all_gather,
              .context = this};
}

GroupPlugin::~GroupPlugin() {
    // While an exception is on its way the other ranks may not come, and this process is about to end.
    if (!state_ || std::uncaught_exceptions() > 0) return;
    try {
        const InFlightFile::Scope scope(in_flight_, Phase::tear_down, *set_up_at_,
                                        std::array{std::string(functions_.name)});
        comm_.barrier(); // all have waited for their streams before
        functions_.destroy(state_);
        if (thrown_) std::rethrow_exception(thrown_);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "crossover: warning: tear-down of %s: %s\n", functions_.name, error.what());
    }
}

std::int32_t GroupPlugin::all_gather(void* self, const void* mine, std::size_t bytes, void* all) {
    auto& plugin = *static_cast<GroupPlugin*>(self);
    try {
        const std::vector<std::byte> gathered =
            plugin.comm_.all_gather_bytes({static_cast<const std::byte*>(mine), bytes});
        std::memcpy(all, gathered.data(), gathered.size());
        return 0;
    } catch (...) {
        plugin.thrown_ = std::current_exception();
        return 1;
    }
}

std::string GroupPlugin::last_error() const {
    const char* const text = functions_.last_error();
    return one_line(text ? text : "it did not say why");
}

std::optional<std::string> GroupPlugin::unsupported(const FusedAllReduce& call) const {
    if (!pattern_code(call.pattern))
        return "the candidate interface has no pattern " + std::string(to_string(call.pattern));
    const std::uint64_t bytes =
        static_cast<std::uint64_t>(call.num_tokens * call.hidden_dim) * element_size(call.dtype);
    if (bytes > workspace_.max_message_bytes)
        return "its workspace is above workspace_limit_bytes for more than " +
               std::to_string(workspace_.max_message_bytes) + " bytes";
    crossover_candidate_call asked = call_of(call);
    const char* const reason = functions_.unsupported(&group_, &asked);
    return reason ? std::optional(one_line(reason)) : std::nullopt;
}

std::optional<std::string> GroupPlugin::set_up(const Point& point) {
    if (set_up_at_) return set_up_problem_;
    set_up_at_ = point;
    const InFlightFile::Scope scope(in_flight_, Phase::set_up, point, std::array{std::string(functions_.name)});
    const std::int32_t code = functions_.create(&group_, &state_);
    if (thrown_) std::rethrow_exception(thrown_);
    if (code != 0) state_ = nullptr;
    if (comm_.any(code != 0)) set_up_problem_ = code != 0 ? "set-up: " + last_error() : "set-up failed on another rank";
    return set_up_problem_;
}

void GroupPlugin::enqueue(const FusedAllReduce& call, cudaStream_t stream) {
    const crossover_candidate_call asked = call_of(call);
    if (functions_.enqueue(state_, &asked, stream) != 0) throw PluginError("enqueue: " + last_error());
}

std::optional<std::string> GroupPlugin::device_problem(cudaStream_t stream) {
    if (!functions_.check || functions_.check(state_, stream) == 0) return std::nullopt;
    return last_error();
}

std::unique_ptr<Candidate> make_candidate(const std::string& name, GroupPlugin& plugin) {
    return std::make_unique<PluginCandidate>(name, plugin);
}

} // namespace crossover
