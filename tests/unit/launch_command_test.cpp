/// Launch parameters from a recording to table, header and reports, and back through the other commands.
#include "output/emit.hpp"
#include "tests/support/command.hpp"
#include "tests/support/recordings.hpp"

#include <doctest/doctest.h>

using namespace crossover;
using test::CommandResult;
using test::read_text;
using test::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

const LaunchParameters kFast{.cluster_size = 8, .clusters = 66, .threads = 128};
const LaunchParameters kSlow{.cluster_size = 1, .clusters = 132, .threads = 512, .push_ahead = 2};

/// The small recording (two sessions) with two launches more of oneshot: one 12 % faster at hidden_dim 4096, one 20 %
/// slower.
struct Workplace {
    TemporaryFolder folder;
    Config config = test::small_config();

    Workplace() {
        config.quants = {Quant::none};
        config.world_sizes = {4};
        test::write_recording(folder.path() / "rec", config);
        std::vector<Sample> samples = read_samples(folder.path() / "rec/samples.csv");
        for (std::size_t i = 0, measured = samples.size(); i < measured; ++i) {
            if (samples[i].algorithm != "oneshot") continue;
            for (const auto& [launch, factor] :
                 {std::pair(kFast, samples[i].point.hidden_dim == 4096 ? 1 / 1.12 : 1.2), std::pair(kSlow, 1.2)}) {
                Sample sample = samples[i];
                sample.algorithm = launched_name("oneshot", launch);
                sample.latency_us *= factor;
                samples.push_back(sample);
            }
        }
        write_samples(folder.path() / "rec/samples.csv", samples);
        write_config("grid.yaml");
        config.launches = LaunchChoice::standard;
        write_config("default.yaml");
        config.launches = LaunchChoice::tuned;
        config.search = Search::adaptive;
        write_config("small.yaml");
    }
    void write_config(const std::string& name) const { folder.write(name, to_yaml(config)); }
    CommandResult run(const std::string& arguments) const {
        CommandResult result = folder.run(CROSSOVER_BINARY " " + arguments);
        CAPTURE(result.output);
        CHECK(result.status == 0);
        return result;
    }
    fs::path path(const std::string& name) const { return folder.path() / name; }
};

} // namespace

TEST_CASE("tune finds the launches of a recording, and every file says them") {
    const Workplace place;
    for (const std::string name : {"small", "grid"}) {
        CAPTURE(name);
        place.run("tune --recording rec --config " + name + ".yaml --out " + name);
        const Table table = read_table(place.path(name + "/table.yaml"));
        REQUIRE(table.cells.size() == 1);
        REQUIRE(table.cells[0].launches.size() == 1);
        const LaunchRow& row = table.cells[0].launches[0];
        CHECK(row.algorithm == "oneshot");
        CHECK(row.hidden_dim == 4096);
        CHECK(row.min_bytes == 0);
        CHECK(row.max_bytes >= table.cells[0].oneshot->max_bytes);
        CHECK(row.launch == kFast);
        CHECK(read_text(place.path(name + "/oneshot_thresholds.h")).find("LaunchParameters{8, 66, 128, 1, 1}") !=
              std::string::npos);
        CHECK(read_text(place.path(name + "/report.md"))
                  .find("launched with cluster=8,clusters=66,threads=128,ahead=1,behind=1") != std::string::npos);
    }
    place.run("tune --recording rec --config default.yaml --out default");
    CHECK(read_table(place.path("default/table.yaml")).cells.at(0).launches.empty());
    CHECK(read_text(place.path("default/samples.csv")).find("oneshot[") == std::string::npos);
    // A faster oneshot serves larger messages.
    CHECK(read_table(place.path("grid/table.yaml")).cells.at(0).oneshot->max_bytes >
          read_table(place.path("default/table.yaml")).cells.at(0).oneshot->max_bytes);
}

TEST_CASE("after an interruption the same samples, and the same table") {
    const Workplace place;
    place.run("tune --recording rec --config small.yaml --out whole");
    const std::string table = read_text(place.path("whole/table.yaml"));
    std::vector<Sample> samples = read_samples(place.path("whole/samples.csv"));
    fs::create_directory(place.path("cut"));
    fs::copy_file(place.path("whole/provenance.yaml"), place.path("cut/provenance.yaml"));
    samples.resize(samples.size() / 3);
    write_samples(place.path("cut/samples.csv"), samples);
    place.run("tune --recording rec --config small.yaml --out cut --resume");
    CHECK(read_text(place.path("cut/samples.csv")) == read_text(place.path("whole/samples.csv")));
    CHECK(read_text(place.path("cut/table.yaml")) == table);
}

TEST_CASE("fit, evaluate and compare know launches") {
    const Workplace place;
    place.run("tune --recording rec --config grid.yaml --out tuned");
    place.run("tune --recording rec --config default.yaml --out default");
    place.run("fit --samples tuned/samples.csv --out again.yaml");
    CHECK(read_table(place.path("again.yaml")).cells == read_table(place.path("tuned/table.yaml")).cells);

    const std::string regret = place.run("evaluate --table tuned/table.yaml --samples tuned/samples.csv").output;
    CHECK(regret.find("where there is no sample") == std::string::npos);

    // Another launch is no regression: it counts by its time alone.
    const CommandResult faster = place.run("compare default tuned");
    CHECK(faster.output.find("launch parameters") != std::string::npos);
    Table changed = read_table(place.path("tuned/table.yaml"));
    changed.cells[0].launches[0].launch.clusters = 33;
    place.folder.write("changed.yaml", emit_yaml(changed));
    CHECK(place.run("compare tuned/table.yaml changed.yaml").output.find("worse") == std::string::npos);
}
