#include "output/bench_report.hpp"

#include "output/format.hpp"
#include "output/json.hpp"
#include "tuner/launch_name.hpp"
#include "tuner/yaml_writer.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <set>
#include <vector>

namespace crossover {
namespace {

/// The samples of one point: neighbours in the samples' order.
struct Configuration {
    std::span<const Sample> samples;
    const Sample* baseline = nullptr; // plain NCCL, else the fastest unfused; null if none was measured
    const Sample* fastest = nullptr;
    const Sample* floor = nullptr; // the bound; null if it was not measured
};

bool is_ok(const Sample& sample) { return sample.status == SampleStatus::ok; }

/// Whether it cannot be the baseline.
bool is_challenger(const Sample& sample, std::span<const PluginInfo> candidates) {
    return algorithm::is_challenger(base_of(sample.algorithm)) ||
           std::ranges::any_of(candidates, [&](const PluginInfo& candidate) {
               return candidate.name == sample.algorithm && candidate.role != Role::unfused;
           });
}

std::vector<Configuration> configurations(std::span<const Sample> samples, std::span<const PluginInfo> candidates) {
    std::vector<Configuration> result;
    for (std::size_t begin = 0, end = 0; begin < samples.size(); begin = end) {
        while (end < samples.size() && samples[end].point == samples[begin].point) ++end;
        Configuration configuration{.samples = samples.subspan(begin, end - begin)};
        for (const Sample& sample : configuration.samples) {
            if (!is_ok(sample)) continue;
            if (sample.algorithm == algorithm::floor) {
                configuration.floor = &sample;
                continue;
            }
            const auto keep_faster = [&](const Sample*& kept) {
                if (!kept || sample.latency_us < kept->latency_us) kept = &sample;
            };
            keep_faster(configuration.fastest);
            if (!is_challenger(sample, candidates)) keep_faster(configuration.baseline);
        }
        // Communicators are compared with plain NCCL, as in vLLM's benchmark_device_communicators.py.
        for (const Sample& sample : configuration.samples)
            if (is_ok(sample) && sample.algorithm == algorithm::nccl) configuration.baseline = &sample;
        result.push_back(configuration);
    }
    return result;
}

std::string time_of(const Sample& sample) {
    return is_ok(sample) ? fixed(sample.latency_us, 2) : sample.status == SampleStatus::skipped ? "skipped" : "FAILED";
}

std::string speedup_of(const Sample& sample, const Configuration& configuration) {
    if (!is_ok(sample) || !configuration.baseline || &sample == configuration.floor) return "-";
    if (&sample == configuration.baseline) return "baseline";
    return fixed(configuration.baseline->latency_us / sample.latency_us, 2) + "x";
}

std::string over_floor(const Sample& sample, const Configuration& configuration) {
    if (!is_ok(sample) || !configuration.floor || &sample == configuration.floor) return "-";
    return fixed(sample.latency_us / configuration.floor->latency_us, 2) + "x";
}

std::string title(const Point& point) {
    return "num_tokens=" + std::to_string(point.num_tokens) + ", hidden_dim=" + std::to_string(point.hidden_dim) +
           ", world_size=" + std::to_string(point.cell.world_size);
}

std::string subtitle(const Point& point) {
    return "dtype=" + std::string(to_string(point.cell.dtype)) + ", residual=" +
           (is_sharded(point.cell.pattern)     ? "sharded"
            : has_residual(point.cell.pattern) ? "yes"
                                               : "no") +
           ", quant=" + std::string(to_string(point.cell.quant)) +
           ", pattern=" + std::string(to_string(point.cell.pattern)) + ", " + std::to_string(message_bytes(point)) +
           " bytes";
}

/// "oneshot (3.09x)"
std::string fastest_of(const Configuration& configuration) {
    const Sample* const fastest = configuration.fastest;
    if (!fastest) return "none";
    if (!configuration.baseline || fastest == configuration.baseline) return fastest->algorithm;
    return fastest->algorithm + " (" + speedup_of(*fastest, configuration) + ")";
}

/// What the points have of something, each once, in their order.
template <class ToNode>
YAML::Node distinct(std::span<const Sample> samples, ToNode to_node) {
    YAML::Node list(YAML::NodeType::Sequence);
    list.SetStyle(YAML::EmitterStyle::Flow);
    std::set<std::string> seen;
    for (const Sample& sample : samples)
        if (const YAML::Node node = to_node(sample.point); seen.insert(node.Scalar()).second) list.push_back(node);
    return list;
}

std::string padded(std::string text, std::size_t width) {
    text.resize(std::max(text.size(), width), ' ');
    return text;
}

} // namespace

std::vector<Sample> fastest_launches(std::span<const Sample> samples) {
    std::vector<Sample> kept;
    for (const Sample& sample : samples) {
        if (!is_launch_variant(sample.algorithm)) {
            kept.push_back(sample);
            continue;
        }
        if (!is_ok(sample)) continue;
        const auto same = std::find_if(kept.begin(), kept.end(), [&](const Sample& other) {
            return other.point == sample.point && is_launch_variant(other.algorithm) &&
                   base_of(other.algorithm) == base_of(sample.algorithm);
        });
        if (same == kept.end())
            kept.push_back(sample);
        else if (sample.latency_us < same->latency_us)
            *same = sample;
    }
    return kept;
}

std::string bench_text(std::span<const Sample> samples, std::span<const PluginInfo> candidates) {
    std::size_t width = 24;
    for (const Sample& sample : samples) width = std::max(width, sample.algorithm.size() + 2);
    const std::string rule(width + 48, '=');
    const std::string thin(width + 48, '-');
    std::string text;
    for (const Configuration& configuration : configurations(samples, candidates)) {
        const Point& point = configuration.samples.front().point;
        text += "\n" + rule + "\n" + title(point) + "\n" + subtitle(point) + "\n" + rule + "\n";
        text += padded("Algorithm", width) + padded("Time (us)", 12) + padded("Speedup", 12) +
                padded("Over floor", 12) + padded("Rel. error", 12) + "Launch\n" + thin + "\n";
        for (const Sample& sample : configuration.samples) {
            char error[32];
            std::snprintf(error, sizeof error, "%.1e", sample.rel_error);
            text += padded(sample.algorithm, width) + padded(time_of(sample), 12) +
                    padded(speedup_of(sample, configuration), 12) + padded(over_floor(sample, configuration), 12) +
                    padded(is_ok(sample) && &sample != configuration.floor ? error : "-", 12) + sample.note + "\n";
        }
        text += "Fastest: " + fastest_of(configuration) + "\n";
    }
    return text;
}

std::string bench_markdown(std::span<const Sample> samples, std::span<const PluginInfo> candidates) {
    std::string text = "# Fused all-reduce benchmark\n\n";
    if (!samples.empty())
        text += samples.front().sku + ", compute capability " + samples.front().compute_capability +
                ". Times in us: CUDA graphs, the slowest rank, median over replays.\n";
    for (const Configuration& configuration : configurations(samples, candidates)) {
        const Point& point = configuration.samples.front().point;
        text += "\n## Configuration: " + title(point) + "\n\n" + subtitle(point) + "\n\n";
        std::vector<std::vector<std::string>> rows{{"Algorithm", "Time (us)", "Speedup", "Over floor", "Launch"}};
        for (const Sample& sample : configuration.samples)
            rows.push_back({sample.algorithm, time_of(sample), speedup_of(sample, configuration),
                            over_floor(sample, configuration), sample.note});
        text += "Fastest: " + fastest_of(configuration) + "\n\n" + markdown_table(rows);
    }
    return text;
}

std::string bench_json(std::span<const Sample> samples, const BenchSettings& settings,
                       std::span<const PluginInfo> candidates) {
    YAML::Node document;
    if (!samples.empty()) {
        document["sku"] = text_node(samples.front().sku);
        document["world_size"] = number_node(samples.front().point.cell.world_size);
    }
    document["dtypes"] = distinct(samples, [](const Point& point) { return text_node(to_string(point.cell.dtype)); });
    document["hidden_dims"] = distinct(samples, [](const Point& point) { return number_node(point.hidden_dim); });
    document["num_tokens"] = distinct(samples, [](const Point& point) { return number_node(point.num_tokens); });
    document["warmup"] = number_node(settings.warmup);
    document["trials"] = number_node(settings.trials);
    document["graph_calls"] = number_node(settings.graph_calls);
    document["results"] = YAML::Node(YAML::NodeType::Sequence);
    for (const Configuration& configuration : configurations(samples, candidates)) {
        const Point& point = configuration.samples.front().point;
        YAML::Node entry;
        entry["pattern"] = text_node(to_string(point.cell.pattern));
        entry["dtype"] = text_node(to_string(point.cell.dtype));
        entry["quant"] = text_node(to_string(point.cell.quant));
        entry["hidden_dim"] = number_node(point.hidden_dim);
        entry["num_tokens"] = number_node(point.num_tokens);
        entry["message_bytes"] = number_node(message_bytes(point));
        if (configuration.baseline) entry["baseline"] = text_node(configuration.baseline->algorithm);
        if (configuration.fastest) entry["fastest"] = text_node(configuration.fastest->algorithm);
        for (const Sample& sample : configuration.samples) {
            YAML::Node result;
            result["algorithm"] = text_node(sample.algorithm);
            result["status"] = text_node(to_string(sample.status));
            if (is_ok(sample)) {
                result["latency_us"] = number_node(sample.latency_us);
                if (configuration.baseline && &sample != configuration.floor)
                    result["speedup"] =
                        number_node(std::round(1e4 * configuration.baseline->latency_us / sample.latency_us) / 1e4);
            }
            if (!sample.note.empty()) result["note"] = text_node(sample.note);
            entry["results"].push_back(result);
        }
        document["results"].push_back(entry);
    }
    return write_json(document);
}

} // namespace crossover
