#include "tests/support/command.hpp"
#include "tests/support/recordings.hpp"
#include "tuner/config.hpp"
#include "tuner/error.hpp"
#include "tuner/fit/regret.hpp"
#include "tuner/plan/gpu_seconds.hpp"
#include "tuner/plan/run_session.hpp"
#include "tuner/samples/recording.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <tuple>
using namespace crossover;
using test::read_text;
using test::TemporaryFolder;

namespace {

/// The error of opening a recording with this config, without the folder's name before it.
std::string error_of(const std::filesystem::path& folder, const Config& config) {
    try {
        open_recording(folder, config);
    } catch (const InputError& error) {
        const std::string what = error.what();
        CHECK(what.rfind(folder.string(), 0) == 0);
        return what.substr(std::min(what.size(), folder.string().size() + 2));
    }
    return "no error";
}

std::string not_recorded(const std::string& what) { return what + "; ask for these in the config, or measure on GPUs"; }

} // namespace

TEST_CASE("provenance.yaml keeps all of a run's record") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "provenance.yaml";
    RunRecord record = test::small_record(test::small_config());
    record.source = "import";
    record.fingerprint.topology = "nvlink";
    record.fingerprint.multicast = true;
    record.fingerprint.nodes = 2;
    record.provenance.environment["NCCL_ALGO"] = "Ring";
    record.provenance.extra["clocks"] = "1980 MHz";
    write_provenance(path, record);
    CHECK(read_provenance(path) == record);
    record.config.reset();
    write_provenance(path, record);
    CHECK(read_provenance(path) == record);
}

TEST_CASE("provenance.yaml is read strictly") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "provenance.yaml";
    write_provenance(path, test::small_record(test::small_config()));
    const std::string text = read_text(path);
    const auto check = [&](const std::string& from, const std::string& to, const std::string& expected) {
        std::string changed = text;
        const auto at = changed.find(from);
        REQUIRE(at != std::string::npos);
        const std::string bad = folder.write("bad.yaml", changed.replace(at, from.size(), to));
        CHECK_THROWS_WITH_AS(read_provenance(bad), (bad + expected).c_str(), InputError);
    };
    check("source: gpu", "source: gpus", ":2: `source` is `gpus`; write one of gpu, recording, import");
    check("gpus: 4", "gpu: 4", ":8: unknown key `gpu` in the provenance; did you mean `gpus`?");
    check("[2048, 4096]", "[2048, 4097]",
          ":21: `hidden_dims` has 4097, not a multiple of 8 (16-byte vectors); write 4104 or another multiple");
}

TEST_CASE("a replay gives the recorded samples, in the order asked") {
    const TemporaryFolder folder;
    const Config config = test::small_config();
    test::write_recording(folder.path(), config);
    const auto source = open_recording(folder.path(), config);
    std::vector<Sample> samples;
    const auto plan = make_grid_plan(config);
    for (int session = 0; session < config.sessions; ++session)
        run_session(session, *plan, *source, samples, [](auto, auto) {});
    std::vector<Sample> recorded = test::small_samples(config);
    CHECK(samples.size() == recorded.size());
    const auto by_key = [](const Sample& a, const Sample& b) {
        return std::tie(a.session, a.point, a.algorithm) < std::tie(b.session, b.point, b.algorithm);
    };
    std::sort(samples.begin(), samples.end(), by_key);
    std::sort(recorded.begin(), recorded.end(), by_key);
    CHECK(samples == recorded);
}

TEST_CASE("a config that asks for less uses less") {
    const TemporaryFolder folder;
    test::write_recording(folder.path());
    Config config = test::small_config();
    config.world_sizes = {4};
    config.quants = {Quant::fp8};
    config.hidden_dims = {4096};
    config.num_tokens = {16, 64};
    config.algorithms = {"nccl_fused_norm", "twoshot"};
    config.sessions = 1;
    const auto source = open_recording(folder.path(), config);
    std::vector<Sample> samples;
    run_session(0, *make_grid_plan(config), *source, samples, [](auto, auto) {});
    CHECK(samples.size() == 4);
    for (const Sample& sample : samples) CHECK(sample.point.hidden_dim == 4096);
}

TEST_CASE("what was not recorded is named, and what was") {
    const TemporaryFolder folder;
    test::write_recording(folder.path());
    const auto error = [&](auto change) {
        Config config = test::small_config();
        change(config);
        return error_of(folder.path(), config);
    };
    CHECK(error([](Config&) {}) == "no error");
    CHECK(error([](Config& c) {
              c.world_sizes = {2, 4, 16};
          }) == not_recorded("world size 16 was not recorded; recorded: 2, 4"));
    CHECK(error([](Config& c) { c.patterns = {Pattern::allreduce}; }) ==
          not_recorded("pattern allreduce was not recorded; recorded: allreduce_residual_rmsnorm"));
    CHECK(error([](Config& c) { c.dtypes = {DType::float16}; }) ==
          not_recorded("dtype float16 was not recorded; recorded: bfloat16"));
    CHECK(error([](Config& c) { c.quants = {Quant::fp4}; }) ==
          not_recorded("quant fp4 was not recorded; recorded: none, fp8"));
    CHECK(error([](Config& c) {
              c.hidden_dims = {2048, 2880};
          }) == not_recorded("hidden_dim 2880 was not recorded; recorded: 2048, 4096"));
    CHECK(error([](Config& c) { c.num_tokens = {5}; }) ==
          not_recorded("num_tokens 5 was not recorded; recorded: 1, 4, 16, 64, 256, 1024, 4096, 8192"));
    CHECK(error([](Config& c) { c.algorithms.push_back("custom_fused_norm"); }) ==
          not_recorded("pattern allreduce_residual_rmsnorm: algorithm custom_fused_norm was not recorded; "
                       "recorded: nccl_fused_norm, nccl_separate, oneshot, twoshot"));
    CHECK(error([](Config& c) { c.sessions = 3; }) ==
          "3 sessions were not recorded; recorded: 2; "
          "ask for at most these with --sessions or `measurement.sessions`, or measure on GPUs");
    CHECK(error([](Config& c) { c.cache = CacheState::cold; }) ==
          "cache cold was not recorded; recorded: hot; ask for this in the config, or measure on GPUs");
    CHECK(error([](Config& c) { c.scale_layout = ScaleLayout::linear; }) ==
          "scale_layout linear was not recorded; recorded: swizzled; ask for this in the config, or measure on GPUs");
    CHECK(error([](Config& c) { c.workspace_limit_bytes = 1 << 20; }) ==
          "workspace_limit_bytes 1048576 was not recorded; recorded: 67108864; "
          "ask for this in the config, or measure on GPUs");
    // Sizes that the limit drops need not have been recorded.
    CHECK(error([](Config& c) { c.num_tokens.push_back(1 << 20); }) == "no error");
    // How long it was measured is the recording's own.
    CHECK(error([](Config& c) { c.trials = 99; }) == "no error");
}

TEST_CASE("messages beyond the recording's largest are told by its limit") {
    const TemporaryFolder folder;
    Config config = test::small_config();
    config.max_message_bytes /= 2;
    test::write_recording(folder.path(), config);
    CHECK(error_of(folder.path(), config) == "no error");
    config.max_message_bytes += 1; // nothing lies between
    CHECK(error_of(folder.path(), config) == "no error");
    config.max_message_bytes = 64 << 20;
    CHECK(error_of(folder.path(), config) == "max_message_bytes 67108864 was not recorded; recorded: 33554432; "
                                             "ask for this in the config, or measure on GPUs");
}

TEST_CASE("a recording with a hole, with a sample twice, of two machines") {
    const TemporaryFolder folder;
    const Config config = test::small_config();
    test::write_recording(folder.path(), config);
    const auto path = folder.path() / "samples.csv";
    const std::vector<Sample> whole = read_samples(path);

    std::vector<Sample> samples = whole;
    samples.erase(samples.begin() + 10);
    write_samples(path, samples);
    const std::string name = to_string(whole[10].point) + " " + whole[10].algorithm + " in session 0";
    CHECK(error_of(folder.path(), config) == name + " was not recorded, though other combinations were; "
                                                    "leave one of these values out of the config, or measure on GPUs");

    samples = whole;
    samples.push_back(whole[10]);
    write_samples(path, samples);
    CHECK(error_of(folder.path(), config).find("two samples of " + name + ", the other on line 12; keep one") !=
          std::string::npos);

    samples = whole;
    samples[10].sku = "Other";
    write_samples(path, samples);
    CHECK(error_of(folder.path(), config).find("samples of Other, but provenance.yaml says Synthetic") !=
          std::string::npos);
}

TEST_CASE("a run is only continued as what it was") {
    const TemporaryFolder folder;
    const auto out = folder.path() / "a" / "b"; // made with the folders above it
    const RunRecord record = test::small_record(test::small_config());
    const std::vector<Sample> samples = test::small_samples(test::small_config());
    begin_run(out, record, false).append(std::span(samples).first(5));
    CHECK(read_provenance(out / "provenance.yaml") == record);
    CHECK(begin_run(out, record, true).existing().size() == 5);
    CHECK_THROWS_AS(begin_run(out, record, false), InputError);

    const auto error = [&](auto change) -> std::string {
        RunRecord changed = record;
        change(changed);
        try {
            const Journal journal = begin_run(out, changed, true);
            CHECK(journal.existing().size() == 5);
        } catch (const InputError& error) {
            CHECK(read_provenance(out / "provenance.yaml") == record); // nothing was written
            return error.what();
        }
        begin_run(out, record, true);
        return "no error";
    };
    const std::string place = (out / "provenance.yaml").string() + ": cannot resume: ";
    CHECK(error([](RunRecord& r) { r.config->hidden_dims = {4096}; }) ==
          place + "`config.sweep.hidden_dims` was [2048, 4096] in the run that is there and is [4096] now; "
                  "pass the config of that run, or name another folder with --out");
    CHECK(error([](RunRecord& r) { r.provenance.nccl = "2.29.1"; }) ==
          place + "`provenance.nccl` was 2.28.9 in the run that is there and is 2.29.1 now; "
                  "continue on that machine, or name another folder with --out");
    CHECK(error([](RunRecord& r) { r.provenance.environment["NCCL_ALGO"] = "Ring"; }).find("was absent") !=
          std::string::npos);
    CHECK(error([](RunRecord& r) { r.fingerprint.sku = "Other"; }).find("`sku`") != std::string::npos);
    CHECK(error([](RunRecord& r) { r.config->cache = CacheState::cold; }).find("cache") != std::string::npos);
    CHECK(error([](RunRecord& r) { r.config->workspace_limit_bytes = 1 << 20; }).find("`config.fit.workspace_limit") !=
          std::string::npos);
    CHECK(error([](RunRecord& r) { r.source = "recording"; }).find("`source`") != std::string::npos);
    CHECK(error([](RunRecord& r) { r.provenance.extra["recording"] = "another"; }).find("extra.recording") !=
          std::string::npos);
    // More sessions, a budget, other held-out shapes, another fit, another day.
    CHECK(error([](RunRecord& r) {
              r.config->sessions = 9;
              r.provenance.sessions = 9;
              r.provenance.samples = 99;
              r.config->budget_samples = 99;
              r.config->budget_seconds = 9;
              r.config->validation_hidden_dims = {1024};
              r.config->validation_num_tokens = {3};
              r.config->guard_band = 0.1;
              r.provenance.date = "2026-10-01";
              r.provenance.extra["host"] = "b";
          }) == "no error");

    std::filesystem::remove(out / "provenance.yaml");
    const std::string lost = (out / "samples.csv").string() + ": cannot resume without a provenance.yaml beside it; "
                                                              "put it back, or name another folder with --out";
    CHECK_THROWS_WITH_AS(begin_run(out, record, true), lost.c_str(), InputError);
}

TEST_CASE("a replay's samples give way, measured ones do not") {
    const TemporaryFolder folder;
    RunRecord record = test::small_record(test::small_config());
    record.source = "recording";
    const std::vector<Sample> samples = test::small_samples(test::small_config());
    begin_run(folder.path(), record, false).append(std::span(samples).first(5));
    for (const char* const name : kMadeOfSamples) folder.write(name, "of the five");
    begin_run(folder.path(), record, true); // more of the same
    for (const char* const name : kMadeOfSamples) CHECK(std::filesystem::exists(folder.path() / name));
    folder.write("elsewhere.h", "of the five");
    std::filesystem::remove(folder.path() / "oneshot_thresholds.h");
    std::filesystem::create_symlink("elsewhere.h", folder.path() / "oneshot_thresholds.h");
    {
        Journal journal = begin_run(folder.path(), record, false);
        for (const std::string name : kMadeOfSamples) // none of samples that are gone
            CHECK(std::filesystem::exists(folder.path() / name) == (name == "oneshot_thresholds.h"));
        journal.append(std::span(samples).first(3));
        CHECK_THROWS_AS(begin_run(folder.path(), record, false), InputError); // not while they are being written
    }
    CHECK(read_samples(folder.path() / "samples.csv").size() == 3);

    record.source = "gpu";
    begin_run(folder.path(), record, false).append(std::span(samples).first(2));
    CHECK(read_samples(folder.path() / "samples.csv").size() == 2);
    record.source = "recording";
    CHECK_THROWS_AS(begin_run(folder.path(), record, false), InputError);
    CHECK(read_samples(folder.path() / "samples.csv").size() == 2);
}

TEST_CASE("adaptive against exhaustive on the shipped recordings that have the default config's sweep") {
    int replays = 0;
    const std::filesystem::path configs = std::filesystem::path(CROSSOVER_SOURCE_DIR) / "configs";
    for (const auto& entry : std::filesystem::directory_iterator(configs / "recordings")) {
        CAPTURE(entry.path().string());
        const Config config =
            replayable(read_config(configs / "default.yaml"), read_provenance(entry.path() / "provenance.yaml"),
                       {.shapes = true, .sessions = true});
        if (error_of(entry.path(), config) != "no error") continue;
        ++replays;
        const auto source = open_recording(entry.path(), config);
        const auto replayed = [&](const std::unique_ptr<Plan>& plan) {
            std::vector<Sample> samples;
            for (int session = 0; session < config.sessions; ++session)
                run_session(session, *plan, *source, samples, [](auto, auto) {});
            return samples;
        };
        const std::vector<Sample> grid = replayed(make_grid_plan(config)), searched = replayed(make_plan(config));
        const double share = static_cast<double>(searched.size()) / static_cast<double>(grid.size());
        const double time_share = gpu_seconds(searched, config) / gpu_seconds(grid, config);
        const std::vector<Cell> cells = fit_cells(searched, fit_options(config));
        const std::vector<CellKey> keys = cell_keys(config);
        CHECK(cells.size() == keys.size());
        std::vector<Sample> recorded = read_samples(entry.path() / "samples.csv"); // other hidden dims, too
        std::erase_if(recorded, [&](const Sample& sample) { return !std::ranges::count(keys, sample.point.cell); });
        const RegretReport report = regret_report(recorded, choice_of(cells));
        CHECK(report.not_covered + report.not_sampled == 0);
        for (const RegretGroup& group : by_world_size_and_quant(report.points)) {
            if (group.quant) continue;
            MESSAGE("world size " << group.world_size << ": " << (100 * share) << " % of the samples, "
                                  << (100 * time_share) << " % of the GPU time, regret over " << group.regret.points
                                  << " points: mean " << (100 * group.regret.mean) << " %, worst "
                                  << (100 * group.regret.max) << " %");
            CHECK(group.regret.mean <= 0.003);
        }
        CHECK(share <= 0.2);
        CHECK(time_share <= 0.1);
    }
    CHECK(replays > 0);
}
