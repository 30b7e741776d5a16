#pragma once
/// Candidates from libraries (kernels/crossover_candidate.h) at work for one group of ranks.

#include "comm/communicator.hpp"
#include "tuner/config.hpp"
#include "tuner/measure/candidate.hpp"
#include "tuner/plugins/session.hpp"

#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

namespace crossover {

/// A candidate said that it could not do what it was asked for.
struct PluginError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// One candidate of a library, set up for one group. The destructor is collective.
class GroupPlugin {
  public:
    GroupPlugin(const crossover_candidate& functions, Communicator& comm, const Config& config,
                const CandidateContext& context, InFlightFile& in_flight);
    GroupPlugin(const GroupPlugin&) = delete;
    GroupPlugin& operator=(const GroupPlugin&) = delete;
    ~GroupPlugin();

    std::optional<std::string> unsupported(const FusedAllReduce& call) const;
    /// Collective, before the first enqueue(); does nothing from the second time on. Why it failed on any rank (one
    /// line), or nothing.
    std::optional<std::string> set_up(const Point& point);
    /// @throws PluginError
    void enqueue(const FusedAllReduce& call, cudaStream_t stream);
    /// Collective, with idle streams: what went wrong on this rank's device since the last time, or nothing.
    std::optional<std::string> device_problem(cudaStream_t stream);

  private:
    static std::int32_t all_gather(void* self, const void* mine, std::size_t bytes, void* all);
    std::string last_error() const;

    const crossover_candidate& functions_;
    Communicator& comm_;
    InFlightFile& in_flight_;
    WorkspaceFit workspace_;
    crossover_candidate_group group_{};
    std::exception_ptr thrown_; // by all_gather: it must not pass through the library
    void* state_ = nullptr;
    std::optional<Point> set_up_at_; // once tried
    std::optional<std::string> set_up_problem_;
};

/// It as a Candidate; `plugin` outlives it.
std::unique_ptr<Candidate> make_candidate(const std::string& name, GroupPlugin& plugin);

} // namespace crossover
