#pragma once
/// Samples from GPUs: the measuring half of one rank process.

#include "comm/communicator.hpp"
#include "comm/topology.hpp"
#include "tuner/config.hpp"
#include "tuner/samples/sample_source.hpp"

#include <functional>
#include <map>
#include <memory>

namespace crossover {

class RankGroup;
struct PluginSession;

/// Measures on the ranks of `world`; SPMD: all ranks make the same calls and get the same samples, bit for bit. The
/// trials of a batch are shared out to the disjoint groups of their world size, which run side by side; unless they
/// were seen to disturb each other when a world size was first measured: then one group measures alone.
class GpuSource : public SampleSource {
  public:
    /// Collective. `progress` is called after every trial of this rank; `session` outlives the source.
    GpuSource(Communicator& world, const Config& config, const Topology& topology, PluginSession& session,
              std::function<void()> progress);
    ~GpuSource() override;

    std::vector<Sample> measure(int session, std::span<const Trial> trials) override;
    std::vector<std::string> launches(std::string_view algorithm, const Point& point) const override;
    Fingerprint fingerprint() const override { return fingerprint_; }
    Provenance provenance() const override { return provenance_; }

  private:
    RankGroup& group_of(int world_size);
    /// Groups that measure at the same time.
    int groups_side_by_side(const Trial& first, int session);
    double disturbance(const Trial& trial, int groups, int session);

    Communicator& world_;
    Config config_;
    PluginSession& session_;
    std::function<void()> progress_;
    Fingerprint fingerprint_;
    Provenance provenance_;
    ClockWatch clock_;
    int multiprocessors_ = 0;
    std::map<int, std::unique_ptr<RankGroup>> groups_; // by world size
    std::map<int, int> side_by_side_;                  // how many of them, by world size
};

/// Fingerprint and provenance of this machine (the part that needs no communicator).
Fingerprint fingerprint_of(const Topology& topology, int nodes);
Provenance provenance_of(const Topology& topology, const Config& config);

} // namespace crossover
