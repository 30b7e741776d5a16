// Kernels that are not ours, in the config, the search, the table and the commands. The same machine is measured twice,
// once with names of ours and once with those of an engine's candidates: the tables must be equal.

#include "tests/support/command.hpp"
#include "tests/support/recordings.hpp"
#include "tuner/error.hpp"
#include "tuner/plan/validation.hpp"
#include "tuner/roles.hpp"
#include "tuner/samples/recording.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace crossover;
using test::CommandResult;
using test::read_text;
using test::TemporaryFolder;

namespace {

PluginInfo candidate(const std::string& name, Role role) {
    return {.name = name,
            .role = role,
            .library = "/opt/acme/libacme.so",
            .version = "1.4.2",
            .checksum = "0123456789abcdef",
            .workspace_bytes = {{2, 5 << 20}, {4, 7 << 20}}};
}
const PluginInfo kOneshot = candidate("acme_one", Role::oneshot);
const PluginInfo kTwoshot = candidate("acme_two", Role::twoshot);
const PluginInfo kUnfused = candidate("acme_plain", Role::unfused);

Config with(Config config, std::vector<PluginInfo> candidates) {
    take_candidates(config, candidates);
    return config;
}

/// As if the kernels that were measured had been the engine's.
std::vector<Sample> renamed(std::vector<Sample> samples) {
    for (Sample& sample : samples) {
        if (sample.algorithm == "oneshot") sample.algorithm = kOneshot.name;
        if (sample.algorithm == "twoshot") sample.algorithm = kTwoshot.name;
        if (sample.algorithm == "nccl_fused_norm") sample.algorithm = kUnfused.name;
    }
    return samples;
}

std::string message_of(const std::function<void()>& call) {
    try {
        call();
    } catch (const InputError& error) {
        return error.what();
    }
    return {};
}

} // namespace

TEST_CASE("a candidate takes the place of ours, an unfused one stands beside") {
    Config config = test::small_config();
    config.algorithms = {"nccl_fused_norm", "oneshot[cluster=2,clusters=1,threads=64,ahead=1,behind=1]", "twoshot"};
    CHECK(with(config, {kOneshot, kUnfused}).algorithms ==
          std::vector<std::string>{"nccl_fused_norm", "twoshot", "acme_one", "acme_plain"});
    CHECK(in_roles(with(config, {kTwoshot})).algorithms.back() == "twoshot");
    CHECK(in_roles(with(config, {kTwoshot})).candidates.empty());
    const Config both = with(config, {kTwoshot, kOneshot});
    CHECK(name_in_samples("oneshot", both) == "acme_one");
    CHECK(name_in_samples("nccl", both) == "nccl");

    Config beside = config;
    add_candidates(beside, std::vector{kOneshot});
    CHECK(beside.algorithms.size() == config.algorithms.size() + 1);
}

TEST_CASE("two candidates for one place, or of one name, are refused") {
    const Config config = test::small_config();
    PluginInfo second = kOneshot;
    CHECK(message_of([&] {
              with(config, {kOneshot, second});
          }).find("both have a candidate `acme_one`; rename one") != std::string::npos);
    second.name = "acme_other";
    CHECK(message_of([&] {
              with(config, {kOneshot, second});
          }).find("both have the role oneshot") != std::string::npos);
    CHECK_NOTHROW(with(config, {kUnfused, candidate("acme_plainer", Role::unfused)}));
}

TEST_CASE("a config with candidates comes back from YAML, one with a wrong candidate does not") {
    const TemporaryFolder folder;
    const Config config = with(test::small_config(), {kOneshot, kTwoshot, kUnfused});
    CHECK(read_config(folder.write("config.yaml", to_yaml(config))) == config);
    const auto refusal = [&](const std::string& from, const std::string& to) {
        std::string text = to_yaml(config);
        text.replace(text.find(from), from.size(), to);
        const std::string file = folder.write("wrong.yaml", text);
        return message_of([&] { read_config(file); });
    };
    CHECK(refusal("name: acme_one", "name: oneshot").find("which is an algorithm of Crossover") != std::string::npos);
    CHECK(refusal("role: oneshot", "role: threeshot").find("`role` is `threeshot`") != std::string::npos);
    CHECK(refusal("name: acme_plain", "name: acme_plane").find("unknown `acme_plain`") != std::string::npos);
    CHECK(refusal("version: \"1.4.2\"", "vresion: \"1.4.2\"").find("`vresion`") != std::string::npos);
}

TEST_CASE("the table is that of the roles, and tells whose kernels they are") {
    const Config config = test::small_config();
    const std::vector<Sample> samples = test::small_samples(config);
    const RunRecord ours = test::small_record(config);
    RunRecord theirs = ours;
    theirs.config = with(config, {kOneshot, kTwoshot, kUnfused});
    const Table own = make_table(samples, ours, fit_options(*ours.config)).table;
    const Table table = make_table(renamed(samples), theirs, fit_options(*theirs.config)).table;
    REQUIRE(table.cells.size() == own.cells.size());
    for (std::size_t i = 0; i < own.cells.size(); ++i) {
        Cell expected = own.cells[i];
        CAPTURE(to_string(expected.key));
        REQUIRE(expected.oneshot);
        CHECK(table.cells[i].oneshot == expected.oneshot);
        CHECK(table.cells[i].twoshot == expected.twoshot);
        CHECK(expected.baseline == "nccl_fused_norm");
        CHECK(table.cells[i].baseline == "acme_plain");
        CHECK(table.cells[i].workspace_bytes == kOneshot.workspace_bytes.at(expected.key.world_size));
    }
    CHECK(table.provenance.extra.at("candidate acme_one") == "oneshot, version 1.4.2, libacme.so 0123456789abcdef");
    CHECK_FALSE(std::ranges::any_of(own.provenance.extra,
                                    [](const auto& entry) { return entry.first.starts_with(kCandidatePrefix); }));
}

TEST_CASE("the adaptive search of candidates is that of ours, by their names") {
    synthetic::Machine machine;
    const auto base = synthetic::alpha_beta(12, 20);
    machine.curves = {{"nccl_fused_norm", base}, {"oneshot", synthetic::crossing(base, {512 * 1024.0})}};
    Config config = synthetic::config_of(machine);
    config.precision = 0; // all replays
    const Config theirs = with(config, {kOneshot});
    const std::vector<Sample> ours = synthetic::search(machine, config);

    std::vector<Sample> samples = synthetic::measure(machine);
    for (Sample& sample : samples) sample.algorithm = name_in_samples(sample.algorithm, theirs);
    synthetic::Source source(samples);
    const auto plan = make_adaptive_plan(theirs);
    std::vector<Sample> found;
    for (int session = 0; session < theirs.sessions; ++session)
        run_session(session, *plan, source, found, [](auto, auto) {});
    CHECK(std::ranges::count(found, kOneshot.name, &Sample::algorithm) > 0);
    CHECK(std::ranges::count(found, "oneshot", &Sample::algorithm) == 0);
    CHECK(in_roles(found, theirs) == ours);
    CHECK(in_roles(found, theirs).size() < synthetic::measure(machine).size());

    Config held_out = theirs;
    held_out.validation_hidden_dims = {8192};
    held_out.validation_num_tokens = {48};
    const Point point{machine.cell, 8192, 48};
    CHECK(make_validation_plan(held_out)->next(theirs.sessions - 1, found) ==
          std::vector<Trial>{{point, theirs.algorithms}});
}

TEST_CASE("commands: a run with candidates is replayed, evaluated and compared without its library") {
    const TemporaryFolder folder;
    const auto run = [&](const std::string& arguments) { return folder.run(CROSSOVER_BINARY " " + arguments); };
    const Config config = test::small_config();
    test::write_recording(folder.path() / "ours", config);
    RunRecord record = test::small_record(config);
    record.config = with(config, {kOneshot, kTwoshot});
    std::vector<Sample> samples = test::small_samples(config);
    for (Sample& sample : samples) sample.algorithm = name_in_samples(sample.algorithm, *record.config);
    std::filesystem::create_directories(folder.path() / "theirs");
    write_provenance(folder.path() / "theirs" / "provenance.yaml", record);
    write_samples(folder.path() / "theirs" / "samples.csv", samples);
    folder.write("small.yaml", to_yaml(config));
    CHECK(choose_recording({folder.path() / "theirs"}, config, {}) == folder.path() / "theirs");

    const CommandResult replay = run("tune --recording theirs --config small.yaml --out o");
    CAPTURE(replay.output);
    REQUIRE(replay.status == 0);
    CHECK(replay.output.find("\ncandidate acme_one: oneshot, version 1.4.2, libacme.so ") != std::string::npos);
    CHECK(read_text(folder.path() / "o/samples.csv").find(",acme_one,") != std::string::npos);
    const std::string table = read_text(folder.path() / "o/table.yaml");
    CHECK(table.find("candidate acme_two: \"twoshot, version 1.4.2, libacme.so 0123456789abcdef\"") !=
          std::string::npos);
    CHECK(read_text(folder.path() / "o/oneshot_thresholds.h").find("candidate acme_one: oneshot") != std::string::npos);
    CHECK(run("fit --samples o/samples.csv").output == table);

    const CommandResult evaluated = run("evaluate --table o/table.yaml --samples o/samples.csv");
    CHECK(evaluated.status == 0);
    CHECK(evaluated.output.find("no sample of it") == std::string::npos);
    REQUIRE(run("tune --recording ours --config small.yaml --out p").status == 0);
    const CommandResult compared = run("compare p o");
    CAPTURE(compared.output);
    CHECK(compared.status == 0);
    CHECK(compared.output.find("candidate acme_one: not recorded") != std::string::npos);
}

TEST_CASE("commands: --candidate is refused in one line where it cannot be used") {
    const TemporaryFolder folder;
    const auto run = [&](const std::string& arguments) { return folder.run(CROSSOVER_BINARY " " + arguments); };
    test::write_recording(folder.path() / "rec");
    folder.write("small.yaml", to_yaml(test::small_config()));
    folder.write("theirs.yaml", to_yaml(with(test::small_config(), {kOneshot})));
    const std::string library = CROSSOVER_PLUGIN_DIR "/";
    const std::string tune = "tune --recording rec --config small.yaml --candidate ";
    check_refused(run(tune + library + "good.so"), "--candidate: a recording runs no kernels; ");
    check_refused(run(tune + library + "other_major.so"), library + "other_major.so: candidate 0 speaks version 2.0");
    check_refused(run(tune + library + "crashes.so"), library + "crashes.so: was killed by signal 6");
    check_refused(run(tune + "none.so"), "none.so: ");
    check_refused(run(tune + library + "good.so --candidate " + library + "good.so"), "--candidate: ");
    check_refused(run("tune --recording rec --config theirs.yaml"), "theirs.yaml: `candidates` is not for configs; ");
    check_refused(run("bench --candidate " + library + "no_symbol.so"), library + "no_symbol.so: has no function");
    CHECK_FALSE(std::filesystem::exists(folder.path() / "out"));

    const CommandResult printed = run("bench --print-config --candidate " + library + "pair.so");
    CHECK(printed.status == 0);
    CHECK(printed.output.find("name: acme_twoshot") != std::string::npos);
    CHECK(printed.output.find("oneshot, twoshot, floor, acme_oneshot, acme_twoshot") != std::string::npos);
}
