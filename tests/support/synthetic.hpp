#pragma once
/// Machines that do not exist: latency curves with known crossovers, measured with known noise.
///
///     const auto base = synthetic::alpha_beta(12, 20);
///     synthetic::Machine machine;
///     machine.curves = {{"nccl_fused_norm", base},
///                       {"oneshot", synthetic::crossing(base, {512 * 1024.0})}};
///     const std::vector<Sample> samples = synthetic::measure(machine);

#include "tuner/fit/statistics.hpp"
#include "tuner/launch_name.hpp"
#include "tuner/plan/run_session.hpp"
#include "tuner/plan/stopping_rule.hpp"
#include "tuner/samples/sample.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace crossover::synthetic {

/// µs a call, of message bytes.
using Curve = std::function<double(double bytes)>;

/// alpha + beta · bytes: launch and hop latency, then bandwidth.
inline Curve alpha_beta(double alpha_us, double us_per_mib) {
    return [=](double bytes) { return alpha_us + us_per_mib * bytes / (1 << 20); };
}

/// `curve`, `factor` times as slow from `at_bytes` on: NCCL changing its protocol.
inline Curve stepped(Curve curve, double at_bytes, double factor) {
    return [=](double bytes) { return curve(bytes) * (bytes >= at_bytes ? factor : 1.0); };
}

inline Curve scaled(Curve curve, double factor) {
    return [=](double bytes) { return curve(bytes) * factor; };
}

/// A curve that is faster than `reference` up to the first of the (ascending) sizes, slower up to the second, and so
/// on. Near a crossing the log ratio grows by `slope` an octave; far from all of them it levels off at ±`cap`.
inline Curve crossing(Curve reference, std::vector<double> at_bytes, double slope = 0.3, double cap = 0.8) {
    return [=](double bytes) {
        double nearest = 1e9; // octaves
        for (const double at : at_bytes) nearest = std::min(nearest, std::abs(std::log2(bytes / at)));
        const auto passed = std::count_if(at_bytes.begin(), at_bytes.end(), [&](double at) { return bytes > at; });
        const double sign = passed % 2 == 0 ? -1 : 1;
        return reference(bytes) * std::exp(sign * cap * std::tanh(slope * nearest / cap));
    };
}

/// The size between `low` and `high` where the two curves meet (they must change order once there).
inline double meeting(const Curve& a, const Curve& b, double low, double high) {
    const bool a_first = a(low) < b(low);
    for (int i = 0; i < 200; ++i) {
        const double middle = std::sqrt(low * high);
        ((a(middle) < b(middle)) == a_first ? low : high) = middle;
    }
    return std::sqrt(low * high);
}

/// Of tests that try every sample in turn, the share that sanitizers get, which make them three times as slow.
#ifdef CROSSOVER_SANITIZED
inline constexpr std::size_t kEvery = 7;
#else
inline constexpr std::size_t kEvery = 1;
#endif

struct Noise {
    double session_bias = 0.01;  // a session's factor per algorithm is uniform in 1 ± this
    double sample = 0.005;       // standard deviation of the log of one sample
    double outlier_share = 0.03; // of samples are disturbed: 1.1…2 times as slow
    double replay = 0.004;       // standard deviation of the log of one replay: seen by samples that have fewer
};
inline constexpr Noise kNoNoise{.session_bias = 0, .sample = 0, .outlier_share = 0, .replay = 0};

struct Machine {
    CellKey cell{.world_size = 8};
    std::map<std::string, Curve> curves; // by algorithm, launch variants among them
    std::vector<std::int64_t> hidden_dims{8192};
    std::vector<std::int64_t> num_tokens{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096};
    int sessions = 4;
    Noise noise;
    std::uint64_t seed = 1;
    /// Optional: a factor on the time by algorithm and shape, for machines where bytes do not decide alone.
    std::function<double(const std::string& algorithm, const Point&)> shape_factor;
};

/// The time without noise.
inline double true_latency(const Machine& machine, const std::string& algorithm, const Point& point) {
    const double time = machine.curves.at(algorithm)(static_cast<double>(message_bytes(point)));
    return machine.shape_factor ? time * machine.shape_factor(algorithm, point) : time;
}

/// One sample a session, point and algorithm, of all replays. Same machine, same samples.
inline std::vector<Sample> measure(const Machine& machine) {
    std::mt19937_64 random(machine.seed);
    std::normal_distribution<double> normal;
    std::uniform_real_distribution<double> uniform(0, 1);
    std::vector<Sample> samples;
    for (int session = 0; session < machine.sessions; ++session) {
        std::map<std::string, double> bias;
        for (const auto& [name, curve] : machine.curves)
            bias[name] = 1 + machine.noise.session_bias * (2 * uniform(random) - 1);
        for (const std::int64_t hidden_dim : machine.hidden_dims)
            for (const std::int64_t num_tokens : machine.num_tokens)
                for (const auto& [name, curve] : machine.curves) {
                    Sample sample;
                    sample.session = session;
                    sample.sku = "Synthetic";
                    sample.compute_capability = "9.0";
                    sample.point = {machine.cell, hidden_dim, num_tokens};
                    sample.algorithm = name;
                    double time = true_latency(machine, name, sample.point) * bias[name];
                    time *= std::exp(machine.noise.sample * normal(random));
                    if (uniform(random) < machine.noise.outlier_share) time *= 1.1 + 0.9 * uniform(random);
                    sample.latency_us = time;
                    sample.p10_us = time * (1 - machine.noise.sample);
                    sample.p90_us = time * (1 + 1.5 * machine.noise.sample);
                    sample.replays = 15;
                    sample.rel_error = 0.002;
                    samples.push_back(std::move(sample));
                }
    }
    return samples;
}

/// Gives the samples of measure() as they are asked for: of all replays, or of as many as a rule wants.
class Source : public SampleSource {
  public:
    explicit Source(std::vector<Sample> samples, double replay_noise = 0, ReplayRule rule = {})
        : samples_(std::move(samples)), replay_noise_(replay_noise), rule_(rule) {
        for (const Sample& sample : samples_) index_[{sample.session, sample.point, sample.algorithm}] = &sample;
    }
    std::vector<Sample> measure(int session, std::span<const Trial> trials) override {
        std::vector<Sample> asked;
        for (const Trial& trial : trials) {
            const auto first = asked.size();
            for (const std::string& algorithm : trial.algorithms)
                asked.push_back(*index_.at({session, trial.point, algorithm}));
            if (rule_.precision > 0) replay(std::span(asked).subspan(first));
        }
        return asked;
    }
    std::vector<std::string> launches(std::string_view algorithm, const Point& point) const override {
        std::vector<std::string> names;
        for (auto at = index_.lower_bound({0, point, {}}); at != index_.end() && std::get<1>(at->first) == point; ++at)
            if (const std::string& name = std::get<2>(at->first); is_launch_variant(name) && base_of(name) == algorithm)
                names.push_back(name);
        return names;
    }

  private:
    /// The contenders of one point: the times that fewer replays would have given, where the median of all is known.
    void replay(std::span<Sample> contenders) const {
        std::vector<Sample*> timed;
        std::vector<std::vector<double>> all;
        for (Sample& sample : contenders) {
            if (sample.status != SampleStatus::ok) continue;
            std::mt19937_64 random(static_cast<std::uint64_t>(1e9 * sample.latency_us));
            std::normal_distribution<double> normal;
            std::vector<double> factors;
            for (int i = 0; i < rule_.trials; ++i) factors.push_back(std::exp(replay_noise_ * normal(random)));
            const double to_time = sample.latency_us / median(factors);
            for (double& factor : factors) factor *= to_time;
            timed.push_back(&sample);
            all.push_back(std::move(factors));
        }
        const auto times =
            replay_contenders(timed.size(), rule_, [&](const std::vector<std::size_t>& open, int done, int count) {
                std::vector<std::vector<double>> more;
                for (const std::size_t i : open)
                    more.emplace_back(all[i].begin() + done, all[i].begin() + done + count);
                return more;
            });
        for (std::size_t i = 0; i < timed.size(); ++i) {
            timed[i]->latency_us = median(times[i]);
            timed[i]->replays = static_cast<int>(times[i].size());
        }
    }

    std::vector<Sample> samples_;
    double replay_noise_;
    ReplayRule rule_;
    std::map<std::tuple<int, Point, std::string>, const Sample*> index_;
};

/// The config that measures this machine.
inline Config config_of(const Machine& machine) {
    Config config;
    config.world_sizes = {machine.cell.world_size};
    config.patterns = {machine.cell.pattern};
    config.dtypes = {machine.cell.dtype};
    config.quants = {machine.cell.quant};
    config.hidden_dims = machine.hidden_dims;
    config.num_tokens = machine.num_tokens;
    for (const auto& [name, curve] : machine.curves)
        if (!is_launch_variant(name)) config.algorithms.push_back(name);
    config.sessions = machine.sessions;
    return config;
}

/// What the adaptive search measures of these samples.
inline std::vector<Sample> search(std::vector<Sample> recorded, const Config& config, std::size_t batch = 16,
                                  double replay_noise = 0) {
    Source source(std::move(recorded), replay_noise, {.trials = config.trials, .precision = config.precision});
    const auto plan = make_adaptive_plan(config, batch, launches_of(source));
    std::vector<Sample> samples;
    for (int session = 0; session < config.sessions; ++session)
        run_session(session, *plan, source, samples, [](auto, auto) {});
    return samples;
}
inline std::vector<Sample> search(const Machine& machine, const Config& config, std::size_t batch = 16) {
    return search(measure(machine), config, batch, machine.noise.replay);
}
inline std::vector<Sample> search(const Machine& machine) { return search(machine, config_of(machine)); }

/// Token counts as in configs/default.yaml: the powers of two and the point 1.5x above each.
inline std::vector<std::int64_t> default_num_tokens() {
    std::vector<std::int64_t> counts{1};
    for (std::int64_t power = 2; power <= 16384; power *= 2) {
        counts.push_back(power);
        if (power < 16384) counts.push_back(power / 2 * 3);
    }
    return counts;
}

} // namespace crossover::synthetic
