/// README's examples for CI do what they say: their shell lines run here, on tables that got worse and that did not.
/// And its numbers are those of the shipped recordings.

#include "output/emit.hpp"
#include "tests/support/command.hpp"
#include "tests/support/tables.hpp"

#include <doctest/doctest.h>
#include <yaml-cpp/yaml.h>

using namespace crossover;

namespace {

/// The YAML of README that holds this key at its top.
YAML::Node example_with(const std::string& key) {
    const std::string readme = test::read_text(CROSSOVER_SOURCE_DIR "/README.md");
    const std::string fence = "```yaml\n";
    for (std::size_t at = readme.find(fence); at != std::string::npos; at = readme.find(fence, at)) {
        at += fence.size();
        const YAML::Node example = YAML::Load(readme.substr(at, readme.find("```", at) - at));
        if (example[key]) return example;
    }
    throw std::runtime_error("README has no example with `" + key + "`");
}

/// oneshot up to `bytes`, by a steep crossing.
std::string table_with(std::uint64_t bytes, const std::string& driver = "580.159") {
    Table table = test::empty_table("NVIDIA H200", "9.0");
    table.provenance.driver = driver;
    table.cells = {test::measured_cell(8, bytes, 16 << 20)};
    for (auto* limit : {&table.cells[0].oneshot, &table.cells[0].twoshot}) {
        (*limit)->gain_at_edge = 0.15;
        (*limit)->ci95 = {(*limit)->max_bytes * 94 / 100, (*limit)->max_bytes * 106 / 100};
    }
    return emit_yaml(table);
}

/// A folder in which `crossover` is the one built here.
struct Workplace {
    test::TemporaryFolder folder;
    test::CommandResult run(const std::string& script) const {
        const std::string binary = CROSSOVER_BINARY;
        folder.write("script.sh", "export PATH=" + binary.substr(0, binary.rfind('/')) + ":$PATH\n" + script + "\n");
        return folder.run("bash -e script.sh");
    }
};

} // namespace

TEST_CASE("the pre-commit hook") {
    if (!test::has("git --version", "git")) return;
    const std::string entry = example_with("repos")["repos"][0]["hooks"][0]["entry"].as<std::string>();
    const Workplace place;
    std::filesystem::create_directories(place.folder.path() / "tables/h200");
    place.folder.write("tables/h200/table.yaml", table_with(131072));
    REQUIRE(place
                .run("git init -q . && git add tables && "
                     "git -c user.name=n -c user.email=n@example.org commit -q --no-verify -m tables")
                .status == 0);
    // pre-commit puts the names of the files that changed behind the entry.
    const auto hook = [&] { return place.run(entry + " tables/h200/table.yaml tables/new/table.yaml"); };
    const auto same = hook();
    CHECK_MESSAGE(same.status == 0, same.output);
    CHECK(same.output.find("1 same") != std::string::npos);
    place.folder.write("tables/h200/table.yaml", table_with(196608));
    CHECK(hook().status == 0);
    place.folder.write("tables/h200/table.yaml", table_with(65536));
    CHECK(hook().status == 1);
    place.folder.write("tables/h200/table.yaml", table_with(0, "590.1")); // whatever its limits, of another driver
    CHECK(hook().status == 1);
    place.folder.write("tables/h200/table.yaml", "no table");
    CHECK(hook().status == 1);
}

TEST_CASE("the GitHub Actions job") {
    const YAML::Node steps = example_with("jobs")["jobs"]["compare"]["steps"];
    std::string measure, compare;
    for (const YAML::Node& step : steps) {
        if (!step["run"]) continue;
        (step["name"].as<std::string>() == "Measure" ? measure : compare) = step["run"].as<std::string>();
    }
    CHECK(measure.rfind("crossover tune ", 0) == 0);
    CHECK(measure.find("--out new") != std::string::npos);

    const auto status_of = [&](const std::string& new_table) {
        const Workplace place;
        for (const char* run : {"tables/h200", "new"}) std::filesystem::create_directories(place.folder.path() / run);
        place.folder.write("tables/h200/table.yaml", table_with(131072));
        place.folder.write("new/table.yaml", new_table);
        const auto result = place.run("export GITHUB_STEP_SUMMARY=summary.md\n" + compare);
        CAPTURE(result.output);
        if (result.status != 2) {
            CHECK(test::read_text(place.folder.path() / "summary.md").rfind("## ", 0) == 0);
            CHECK(test::read_text(place.folder.path() / "compare.xml").rfind("<?xml", 0) == 0);
        }
        return result.status;
    };
    CHECK(status_of(table_with(131072)) == 0);
    CHECK(status_of(table_with(196608)) == 0);
    CHECK(status_of(table_with(65536)) == 1);
    CHECK(status_of(table_with(131072, "999")) == 1); // another driver, --strict
    CHECK(status_of("no table") == 2);
}

TEST_CASE("numbers are those of the shipped recordings") {
    if (!test::has("python3 --version", "python3")) return;
    const auto result =
        test::run_command("python3 " CROSSOVER_SOURCE_DIR "/tests/readme/recorded_numbers.py " CROSSOVER_BINARY);
    CHECK_MESSAGE(result.status == 0, result.output);
}
