// The times of a group's contenders, and of its link. Declared in rank_group.hpp.

#include "tuner/measure/link_probe.hpp"
#include "tuner/measure/rank_group.hpp"
#include "tuner/plan/gpu_seconds.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace crossover {
namespace {

/// To a hundredth of a nanosecond: what is beyond is noise that would only make recordings longer.
double rounded_us(double us) { return std::round(us * 1e5) / 1e5; }

/// Three digits of an error.
double rounded_error(double error) {
    if (!(error > 0)) return 0;
    const double scale = std::pow(10.0, 2 - std::floor(std::log10(error)));
    return std::round(error * scale) / scale;
}

} // namespace

/// Measured when it is first asked for, in the workspace's slots.
const LinkSpeed& RankGroup::link() {
    if (!link_) {
        link_ = probe_link(comm_, slots_.peers(), kControlBytes, slots_.bytes() - kControlBytes, barrier_, timeout_ns(),
                           stream_.get());
        reset_workspace_on_all();
    }
    return *link_;
}

/// Turns the time of the local work into the floor of the call.
void RankGroup::make_floor(Record& record, const Point& point) {
    char text[100];
    std::snprintf(text, sizeof text, "local work %.2f us, hop %.2f us, %.0f GB/s a rank", record.latency_us,
                  link().hop_us, link().bytes_per_us / 1e3);
    const CellKey& cell = point.cell;
    const double gathered = finished_share(cell.dtype, cell.quant); // of a sharded residual
    for (double* const us : {&record.latency_us, &record.p10_us, &record.p90_us})
        *us = rounded_us(is_sharded(cell.pattern)
                             ? twoshot_floor_us(comm_.size(), message_bytes(point), *us, link(), gathered)
                             : floor_us(comm_.size(), message_bytes(point), *us, link()));
    record.set(SampleStatus::ok, text);
}

/// How a contender's graph is replayed at this point.
TimingOptions RankGroup::timing_options(const Point& point) {
    TimingOptions options;
    options.warmup = config_.warmup;
    options.rule = {.trials = config_.trials,
                    .precision = config_.search == Search::adaptive ? config_.precision : 0}; // a grid is a yardstick
    options.calls = calls_per_graph(point, config_.graph_calls);
    options.few_calls = few_calls(options.calls);
    options.timeout_ns = timeout_ns();
    if (config_.cache == CacheState::cold)
        options.before_replay = [this](cudaStream_t stream) { arena_.scrub(stream); };
    return options;
}

/// The graphs of each contender. Of those that cannot be captured the record says so.
RankGroup::Captured RankGroup::capture_calls(const std::vector<Contender*>& block, const Point& point,
                                             const TimingOptions& options, std::vector<Record>& records) {
    const auto graph_of = [&](const Contender& contender, int calls) {
        return GraphExec(capture(stream_.get(), [&] {
            for (int call = 0; call < calls; ++call)
                contender.candidate->enqueue(tensors_of(point).at(point, call), stream_.get());
        }));
    };
    Captured captured;
    for (Contender* const contender : block) {
        std::optional<std::string> problem;
        TimedGraphs graphs;
        try {
            graphs.calls = graph_of(*contender, options.calls);
            if (options.few_calls > 0) graphs.few = graph_of(*contender, options.few_calls);
        } catch (const std::exception& error) {
            if (!contender->candidate->plugin()) throw;
            problem = std::string("cannot be captured: ") + error.what();
        }
        if (contender->candidate->plugin()) problem = agree(problem);
        if (problem) {
            records[contender->algorithm].set(SampleStatus::failed, *problem);
            continue;
        }
        captured.graphs.push_back(std::move(graphs));
        captured.contenders.push_back(contender);
    }
    return captured;
}

/// A block of replays during which a GPU's clock fell is dropped and repeated, twice at most.
std::vector<GraphTime> RankGroup::time_at_full_clock(const std::vector<TimedGraphs>& graphs,
                                                     const TimingOptions& options) {
    for (int repetition = 0;; ++repetition) {
        std::vector<GraphTime> times = time_interleaved(graphs, comm_, barrier_, options, stream_.get());
        const unsigned clock = clock_.read().value_or(ClockReading{}).sm_mhz;
        fastest_clock_ = std::max(fastest_clock_, clock);
        if (repetition < 2 && comm_.any(clock < 0.97 * fastest_clock_)) continue;
        clock_.keep(clock);
        return times;
    }
}

/// Times of contenders that take turns, into their records.
void RankGroup::time(const std::vector<Contender*>& block, const Point& point, std::vector<Record>& records) {
    std::vector<std::string> foreign; // candidates of libraries, which may fail where ours do not
    for (const Contender* const contender : block)
        if (contender->candidate->plugin()) foreign.emplace_back(contender->candidate->algorithm());
    const InFlightFile::Scope scope(session_.in_flight, Phase::timing, point, foreign);

    const TimingOptions options = timing_options(point);
    const Captured captured = capture_calls(block, point, options, records);
    if (captured.contenders.empty()) return;
    const std::vector<GraphTime> times = time_at_full_clock(captured.graphs, options);
    const auto timeout = agree_on_timeout();
    // Who is to blame is not known. One of a library that keeps a GPU longer than our kernels wait for each other is
    // not to take them with it, nor one of ours the others.
    const bool ours_again = timeout && captured.contenders.size() > 1;
    std::vector<Contender*> ours;
    for (std::size_t i = 0; i < times.size(); ++i) {
        Contender& contender = *captured.contenders[i];
        Record& record = records[contender.algorithm];
        GroupPlugin* const plugin = contender.candidate->plugin();
        auto problem = plugin ? agree(plugin->device_problem(stream_.get())) : std::nullopt;
        if (!problem) problem = timeout;
        if (ours_again && !plugin) {
            ours.push_back(&contender);
        } else if (problem) {
            record.set(SampleStatus::timeout, *problem);
        } else if (record.gives_way_to(times[i].median_us)) {
            record.latency_us = rounded_us(times[i].median_us);
            record.p10_us = rounded_us(times[i].p10_us);
            record.p90_us = rounded_us(times[i].p90_us);
            record.replays = times[i].replays;
            record.rel_error = rounded_error(contender.rel_error);
            record.set(SampleStatus::ok, contender.candidate->detail(tensors_of(point).at(point, 0)));
            for (Contender* const variant : captured.contenders)
                if (variant->algorithm == contender.algorithm) variant->timed = variant == &contender;
            if (!contender.candidate->is_whole()) make_floor(record, point);
        } else if (record.status != SampleStatus::ok) {
            record.set(SampleStatus::failed, "takes less than the starts of graphs differ by");
        }
    }
    if (!foreign.empty() && !ours.empty()) return time(ours, point, records);
    for (Contender* const contender : ours) time({contender}, point, records);
}

} // namespace crossover
