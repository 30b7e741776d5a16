#pragma once
/// Samples from GPUs: the measuring half of one rank process.

#include "comm/communicator.hpp"
#include "comm/topology.hpp"
#include "tuner/config.hpp"
#include "tuner/samples/sample_source.hpp"

#include <filesystem>
#include <functional>
#include <map>
#include <memory>

namespace crossover {

class RankGroup;
struct PluginSession;

/// Measures on the ranks of `world`; SPMD: all ranks make the same calls and get the same samples, bit for bit. The
/// trials of a batch are shared out to the disjoint groups of their world size, which run side by side; unless they
/// were seen to disturb each other when the run first measured a world size: then one group measures alone. After each
/// round, of one trial a group, which is what measure() takes of a batch, all ranks tell each other: those that have
/// nothing to measure get on with the others.
class GpuSource : public SampleSource {
  public:
    /// Collective.
    /// @param session     of this process; outlives the source
    /// @param run_folder  where rank 0 keeps what the run's later sessions need not find out again
    /// @param progress    called on every rank after every trial of any: a supervisor may see one rank alone
    GpuSource(Communicator& world, const Config& config, const Topology& topology, PluginSession& session,
              std::filesystem::path run_folder, std::function<void()> progress);
    ~GpuSource() override;

    std::vector<Sample> measure(int session, std::span<const Trial> trials) override;
    std::vector<std::string> launches(std::string_view algorithm, const Point& point) const override;
    /// Of all GPUs, at which samples were taken. Collective.
    ClockRange clocks() const;

  private:
    RankGroup* group_of(int world_size);
    int groups_at_a_time(const Trial& first, int session);
    double disturbance(const Trial& trial, int groups, int session);
    std::vector<Sample> measure_round(int session, std::span<const Trial> trials);

    Communicator& world_;
    Config config_;
    PluginSession& session_;
    std::filesystem::path run_folder_;
    std::function<void()> progress_;
    GpuInfo first_gpu_; // what samples are named after
    ClockWatch clock_;
    int multiprocessors_ = 0;
    std::map<int, std::unique_ptr<RankGroup>> groups_; // by world size
    std::map<int, int> at_a_time_;                     // how many of them measure, by world size
};

/// Fingerprint and provenance of this machine (the part that needs no communicator).
Fingerprint fingerprint_of(const Topology& topology, int nodes);
Provenance provenance_of(const Topology& topology, const Config& config);

} // namespace crossover
