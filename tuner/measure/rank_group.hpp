#pragma once
/// The ranks of one world, and what they measure with: checks, graphs, interleaved times.

#include "comm/communicator.hpp"
#include "comm/symmetric_buffer.hpp"
#include "comm/topology.hpp"
#include "tuner/config.hpp"
#include "tuner/fit/floor.hpp"
#include "tuner/measure/candidate.hpp"
#include "tuner/measure/plugin.hpp"
#include "tuner/measure/record.hpp"
#include "tuner/measure/tensors.hpp"
#include "tuner/measure/timing.hpp"
#include "tuner/plan/plan.hpp"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace crossover {

/// The ranks of one smaller world that this rank belongs to, and all that they measure with.
class RankGroup {
  public:
    /// @param session  of this process; outlives the group
    RankGroup(Communicator comm, const Config& config, int multiprocessors, int compute_capability_major,
              ClockWatch& clock, PluginSession& session);

    /// One record per algorithm of the trial; collective over the group.
    std::vector<Record> measure(const Trial& trial, int session);

  private:
    static constexpr int kHotRing = 4; // inputs in turn: what a layer's GEMM wrote last is in L2

    struct Contender {
        std::size_t algorithm; // index in the trial
        std::unique_ptr<Candidate> candidate;
        double rel_error = 0;
        double hash = 0;
        bool timed = false; // its time is the record's
    };

    struct Captured { // in the same order
        std::vector<Contender*> contenders;
        std::vector<TimedGraphs> graphs;
    };

    std::uint64_t timeout_ns() const { return static_cast<std::uint64_t>(1e6 * config_.timeout_ms); }
    /// Of the point's pattern.
    Tensors& tensors_of(const Point& point) {
        return is_moe(point.cell.pattern) ? static_cast<Tensors&>(*moe_arena_) : arena_;
    }
    void reset_workspace_on_all();
    std::optional<std::string> check(Contender& contender, const Point& point, const Verifier& verifier,
                                     SampleStatus& status);
    std::optional<std::string> agree_on_timeout();
    std::optional<std::string> agree(const std::optional<std::string>& mine);
    std::vector<std::unique_ptr<Candidate>> candidates_of(const std::string& algorithm);
    const LinkSpeed& link();
    void make_floor(Record& record, const Point& point);
    void add_contenders(const Trial& trial, std::size_t index, const Verifier& verifier,
                        std::vector<Contender>& contenders, Record& record);
    void check_again(Contender& contender, const Trial& trial, const Verifier& verifier, Record& record);
    TimingOptions timing_options(const Point& point);
    Captured capture_calls(const std::vector<Contender*>& block, const Point& point, const TimingOptions& options,
                           std::vector<Record>& records);
    std::vector<GraphTime> time_at_full_clock(const std::vector<TimedGraphs>& graphs, const TimingOptions& options);
    void time(const std::vector<Contender*>& block, const Point& point, std::vector<Record>& records);

    Communicator comm_;
    const Config& config_;
    ClockWatch& clock_;
    Stream stream_;
    TensorArena arena_;
    std::optional<MoeTensorArena> moe_arena_; // where the config has such patterns
    SymmetricBuffer slots_;
    DeviceBarrier barrier_;
    CandidateContext context_;
    unsigned fastest_clock_ = 0; // MHz seen so far
    std::optional<LinkSpeed> link_;
    PluginSession& session_;
    std::map<std::string, std::unique_ptr<GroupPlugin>> plugins_; // by name; they go first
};

} // namespace crossover
