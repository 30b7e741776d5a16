#pragma once
/// libcrossover_kernels for engines in C++17: its C API with failures as exceptions and a workspace that destroys
/// itself. It shares no name with an emitted oneshot_thresholds.h, so that one file may include both:
///
///     kernels::Workspace workspace(comm, crossover_workspace_bytes(world_size, largest_message));
///     std::optional<crossover_launch> launch; // the kernels' own
///     if (const auto row = launch_parameters(world_size, Algorithm::oneshot, bytes, call.hidden_dim))
///         launch = kernels::launch_of(*row);
///     workspace.fused_allreduce(CROSSOVER_ONESHOT, call, stream, launch);
///
/// Shapes, units and what ranks must do together: crossover_kernels.h.

#include "crossover_kernels.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <vector>

namespace crossover::kernels {

/// A call that did not return CROSSOVER_OK; what() is crossover_last_error().
class Error : public std::runtime_error {
  public:
    explicit Error(crossover_status status) : std::runtime_error(crossover_last_error()), status_(status) {}
    crossover_status status() const noexcept { return status_; }

  private:
    crossover_status status_;
};

/// A row of an emitted header, as its launch_parameters() returns it. Rows were measured with dependent launches.
template <class LaunchParameters>
constexpr crossover_launch launch_of(const LaunchParameters& row) {
    return {row.cluster_size, row.clusters, row.threads, row.push_ahead, row.consume_behind, 1};
}

/// This rank's end of the receive buffers. All that fails throws Error.
class Workspace {
  public:
    /// crossover_workspace_create()
    Workspace(ncclComm_t comm, std::size_t bytes) {
        crossover_workspace* made = nullptr;
        check(crossover_workspace_create(comm, bytes, &made));
        workspace_.reset(made);
    }
    /// crossover_workspace_from_pointers() of a world of base.size() ranks
    Workspace(int rank, const std::vector<void*>& base, std::size_t bytes) {
        crossover_workspace* made = nullptr;
        check(crossover_workspace_from_pointers(rank, static_cast<int>(base.size()), base.data(), bytes, &made));
        workspace_.reset(made);
    }

    void fused_allreduce(crossover_algorithm algorithm, const crossover_call& call, cudaStream_t stream,
                         const std::optional<crossover_launch>& launch = std::nullopt) {
        check(crossover_fused_allreduce(get(), algorithm, &call, launch ? &*launch : nullptr, stream));
    }
    crossover_launch default_launch(crossover_algorithm algorithm, const crossover_call& call) const {
        crossover_launch launch{};
        check(crossover_default_launch(get(), algorithm, &call, &launch));
        return launch;
    }
    /// Around the experts of a MoE: crossover_moe_dispatch() and crossover_moe_combine().
    void moe_dispatch(const crossover_moe_dispatch_call& call, cudaStream_t stream,
                      const std::optional<crossover_moe_launch>& launch = std::nullopt) {
        check(crossover_moe_dispatch(get(), &call, launch ? &*launch : nullptr, stream));
    }
    void moe_combine(const crossover_moe_combine_call& call, cudaStream_t stream,
                     const std::optional<crossover_moe_launch>& launch = std::nullopt) {
        check(crossover_moe_combine(get(), &call, launch ? &*launch : nullptr, stream));
    }
    /// crossover_check(): waits for the stream; an Error of CROSSOVER_TIMEOUT if a rank was waited for in vain
    void check_waits(cudaStream_t stream) const { check(crossover_check(get(), stream)); }
    void reset(cudaStream_t stream) { check(crossover_workspace_reset(get(), stream)); }
    void set_timeout(std::uint64_t timeout_ns) { check(crossover_workspace_set_timeout(get(), timeout_ns)); }

    crossover_workspace* get() const noexcept { return workspace_.get(); }

  private:
    static void check(crossover_status status) {
        if (status != CROSSOVER_OK) throw Error(status);
    }
    struct Destroy {
        void operator()(crossover_workspace* workspace) const { crossover_workspace_destroy(workspace); }
    };
    std::unique_ptr<crossover_workspace, Destroy> workspace_;
};

} // namespace crossover::kernels
