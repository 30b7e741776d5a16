/// From samples and the record of their run to a table: what is noted, how much workspace.
#include "kernels/workspace.hpp"
#include "tests/support/written_samples.hpp"
#include "tuner/make_table.hpp"
#include "tuner/plan/plan.hpp"

#include <doctest/doctest.h>

using namespace crossover;
using namespace crossover::written;

namespace {

Config config_of(std::vector<int> world_sizes) {
    Config config;
    config.world_sizes = std::move(world_sizes);
    config.patterns = {Pattern::allreduce_residual_rmsnorm};
    config.dtypes = {DType::bfloat16};
    config.quants = {Quant::none};
    config.hidden_dims = {4096};
    config.num_tokens = {1, 4, 16};
    config.algorithms = {"nccl_fused_norm", "oneshot"};
    config.sessions = 3;
    return config;
}

RunRecord record_of(const Config& config, int gpus = 8) {
    RunRecord record;
    record.fingerprint = {.sku = "Synthetic", .compute_capability = "9.0"};
    record.gpus = gpus;
    record.config = config;
    return record;
}

/// oneshot is twice as fast.
std::vector<Sample> samples_of(const Config& config) {
    std::vector<Sample> samples;
    for (int session = 0; session < config.sessions; ++session)
        for (const std::int64_t count : config.num_tokens)
            add(samples, session, point(count), {{"nccl_fused_norm", 20}, {"oneshot", 10}});
    for (Sample& sample : samples) {
        sample.sku = "Synthetic";
        sample.compute_capability = "9.0";
    }
    return samples;
}

Table table_of(const Config& config, const std::vector<Sample>& samples, const RunRecord& record) {
    return make_table(samples, record, fit_options(config)).table;
}

} // namespace

TEST_CASE("a cell without samples says why, if that is known") {
    const Config config = config_of({2, 4, 8});
    const auto note = [&](int gpus, int world_size) {
        const Table table = table_of(config, samples_of(config), record_of(config, gpus));
        const Cell* cell = find_cell(table, {.world_size = world_size});
        REQUIRE(cell != nullptr);
        CHECK(cell->status == (world_size == 8 ? CellStatus::measured : CellStatus::not_measured));
        return cell->note;
    };
    CHECK(note(2, 4) == "world size 4 needs as many GPUs, there were 2");
    CHECK(note(2, 2).empty());
    CHECK(note(0, 4).empty()); // how many there were is not known
}

TEST_CASE("a budget that was enough for the worlds that the machine could have cut nothing") {
    Config config = config_of({4, 8});
    std::vector<Sample> samples = samples_of(config_of({8}));
    for (Sample& sample : samples) sample.point.cell.world_size = 4;
    std::erase_if(samples, [](const Sample& sample) { return sample.session > 0; });
    config.sessions = 1;
    config.search = Search::adaptive;
    config.budget_samples = std::ssize(samples);
    for (const int gpus : {4, 8}) {
        const Table table = table_of(config, samples, record_of(config, gpus));
        const Cell* cell = find_cell(table, {.world_size = 8});
        REQUIRE(cell != nullptr);
        CHECK((cell->note.find("budget") != std::string::npos) == (gpus == 8));
    }
}

TEST_CASE("held-out shapes that lose are told once two sessions say so") {
    Config config = config_of({8});
    config.validation_hidden_dims = {4096};
    config.validation_num_tokens = {2};
    std::vector<Sample> samples = samples_of(config);
    const auto held_out = [&](int session) {
        std::vector<Sample> more;
        add(more, session, point(2), {{"nccl_fused_norm", 10}, {"oneshot", 10.3}});
        for (Sample& sample : more) {
            sample.sku = "Synthetic";
            sample.compute_capability = "9.0";
            samples.push_back(sample);
        }
        return table_of(config, samples, record_of(config)).cells.front();
    };
    const Cell once = held_out(0);
    CHECK(once.regret->max == doctest::Approx(0.03));
    CHECK(once.note.empty());
    CHECK(held_out(1).note.find("lose more than the guard band, whenever measured: 2x4096 (+3.0 %)") !=
          std::string::npos);
}

TEST_CASE("a table's workspace is what its fused algorithms ran within") {
    Config config = config_of({8});
    const auto bytes = [&](std::uint64_t message) {
        return fit_options(config).workspace_bytes({.world_size = 8}, message);
    };
    CHECK(bytes(1 << 20) == workspace_bytes(8, 1 << 20));
    config.workspace_limit_bytes = 8 << 20;
    CHECK(bytes(1 << 20) == 8 << 20);
    // Of an engine's kernels what they were set up with, not of its unfused ones.
    PluginInfo theirs, plain;
    theirs.role = Role::oneshot;
    theirs.workspace_bytes = {{8, 9 << 20}};
    plain.role = Role::unfused;
    plain.workspace_bytes = {{8, 10 << 20}};
    config.candidates = {theirs, plain};
    CHECK(bytes(1 << 20) == 9 << 20);
    config.candidates = {plain};
    CHECK(bytes(1 << 20) == 8 << 20);
}
