#pragma once
/// Small recordings of machines that do not exist, written as run folders.

#include "tests/support/synthetic.hpp"
#include "tuner/make_table.hpp"
#include "tuner/samples/run_record.hpp"

#include <filesystem>
#include <utility>

namespace crossover::test {

/// What the small recordings hold: two cells a world size, 2 × 8 shapes, 2 sessions.
inline Config small_config() {
    Config config;
    config.world_sizes = {2, 4};
    config.patterns = {Pattern::allreduce_residual_rmsnorm};
    config.dtypes = {DType::bfloat16};
    config.quants = {Quant::none, Quant::fp8};
    config.hidden_dims = {2048, 4096};
    config.num_tokens = {1, 4, 16, 64, 256, 1024, 4096, 8192};
    config.algorithms = {"nccl_separate", "nccl_fused_norm", "oneshot", "twoshot"};
    config.search = Search::grid; // so that how many samples there are is known
    config.sessions = 2;
    return config;
}

/// Where oneshot and twoshot stop to pay on that machine.
constexpr std::uint64_t planted_oneshot_bytes(int world_size) { return (2ull << 20) / world_size; }
constexpr std::uint64_t planted_twoshot_bytes(int world_size) { return (32ull << 20) / world_size; }

inline RunRecord small_record(const Config& config) {
    RunRecord record;
    record.fingerprint = {.sku = "Synthetic", .compute_capability = "9.0"};
    record.gpus = 4;
    record.provenance.driver = "580.159";
    record.provenance.nccl = "2.28.9";
    record.provenance.date = "2026-09-01";
    record.provenance.sessions = config.sessions;
    record.config = config;
    return record;
}

/// A sample of each session, point and algorithm of the config.
inline std::vector<Sample> small_samples(const Config& config) {
    std::vector<Sample> samples;
    std::uint64_t seed = 1;
    for (const CellKey& cell : cell_keys(config)) {
        synthetic::Machine machine;
        machine.cell = cell;
        machine.hidden_dims = config.hidden_dims;
        machine.num_tokens = config.num_tokens;
        machine.sessions = config.sessions;
        machine.seed = seed++;
        const synthetic::Curve base = synthetic::alpha_beta(12, 20);
        // At most 1.35 times as fast as the next best: a guard band above that leaves nothing.
        const auto faster_up_to = [](const synthetic::Curve& reference, std::uint64_t bytes) {
            return synthetic::crossing(reference, {static_cast<double>(bytes)}, 0.3, 0.3);
        };
        const auto twoshot = faster_up_to(base, planted_twoshot_bytes(cell.world_size));
        machine.curves = {{"nccl_fused_norm", base},
                          {"nccl_separate", synthetic::scaled(base, 1.3)},
                          {"twoshot", twoshot},
                          {"oneshot", faster_up_to(twoshot, planted_oneshot_bytes(cell.world_size))}};
        const std::vector<Sample> measured = synthetic::measure(machine);
        samples.insert(samples.end(), measured.begin(), measured.end());
    }
    std::erase_if(samples, [&](const Sample& s) { return message_bytes(s.point) > config.max_message_bytes; });
    return samples;
}

/// The run folder of it all.
inline void write_recording(const std::filesystem::path& folder, const Config& config = small_config()) {
    std::filesystem::create_directories(folder);
    write_provenance(folder / "provenance.yaml", small_record(config));
    write_samples(folder / "samples.csv", small_samples(config));
}

} // namespace crossover::test
