#include "tests/support/command.hpp"
#include "tests/support/recordings.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace crossover;
using test::check_only_refused;
using test::CommandResult;
using test::read_text;
namespace fs = std::filesystem;

namespace {

/// A run `o`, tuned from a small recording.
struct Run {
    test::TemporaryFolder folder;
    Run() {
        test::write_recording(folder.path() / "rec");
        folder.write("small.yaml", to_yaml(test::small_config()));
        REQUIRE(run("tune --recording rec --config small.yaml --out o").status == 0);
    }
    CommandResult run(const std::string& arguments) const { return folder.run(CROSSOVER_BINARY " " + arguments); }
    fs::path path(const std::string& name) const { return folder.path() / name; }
};

} // namespace

TEST_CASE("report draws again what tune wrote") {
    const Run run;
    const std::string tuned = read_text(run.path("o/report.html"));
    CHECK(tuned.size() > 20000);
    fs::remove(run.path("o/report.html"));
    const CommandResult result = run.run("report o");
    CHECK(result.status == 0);
    CHECK(result.output == "Written to o/report.html\n");
    CHECK(read_text(run.path("o/report.html")) == tuned);
    CHECK(run.run("report o --out elsewhere.html").status == 0);
    CHECK(read_text(run.path("elsewhere.html")) == tuned);
    CHECK(run.run("report --table o/table.yaml --samples o/samples.csv").output == tuned);
    CHECK(run.run("report --help").status == 0);

    const std::string rules = (fs::path(CROSSOVER_SOURCE_DIR) / "configs" / "incumbents").string();
    CHECK(run.run("report o --against " + rules + " --against o").status == 0); // a run stands for its table
    const std::string beside = read_text(run.path("o/report.html"));
    for (const char* row : {"<tr><td>vLLM</td>", "<tr><td>o/table.yaml</td>", "<tr><td>this table</td>"})
        CHECK_MESSAGE(beside.find(row) != std::string::npos, row);
    CHECK(run.run("report o --against /dev/stdin < o/table.yaml").status == 0);
}

TEST_CASE("report judges by the table's guard band, whatever the config of the run says") {
    const Run run;
    const std::string narrow = "guard band: +2.0 % either way", wide = "guard band: +20.0 % either way";
    CHECK(read_text(run.path("o/report.html")).find(narrow) != std::string::npos);
    REQUIRE(run.run("fit --samples o/samples.csv --guard-band 20% --out o/table.yaml").status == 0);
    REQUIRE(run.run("report o").status == 0);
    const std::string again = read_text(run.path("o/report.html"));
    CHECK(again.find(wide) != std::string::npos);
    CHECK(again.find(narrow) == std::string::npos);
    CHECK(again.find("<dt>guard_band</dt><dd>0.2</dd>") != std::string::npos);

    // A table of a former Crossover does not tell it: the run's does.
    std::string table = read_text(run.path("o/table.yaml"));
    const std::string line = "    guard_band: \"0.2\"\n";
    REQUIRE(table.find(line) != std::string::npos);
    run.folder.write("o/table.yaml", table.erase(table.find(line), line.size()));
    REQUIRE(run.run("report o").status == 0);
    CHECK(read_text(run.path("o/report.html")).find(narrow) != std::string::npos);
}

TEST_CASE("report of input that cannot be used") {
    const Run run;
    fs::remove(run.path("o/report.html"));
    check_only_refused(run.run("report"), "report: it draws one run, or one table with its samples; ");
    check_only_refused(run.run("report o o"), "report: it draws one run, ");
    check_only_refused(run.run("report o --table o/table.yaml --samples o/samples.csv"), "report: it draws one run, ");
    check_only_refused(run.run("report --table o/table.yaml"), "report: it draws one run, ");
    check_only_refused(run.run("report none"), "none: no such folder; ");
    check_only_refused(run.run("report o --agianst x"),
                       "report: unknown option `--agianst`; did you mean `--against`?");
    check_only_refused(run.run("report o --against none.yaml"), "none.yaml: ");
    check_only_refused(run.run("report o --out none/report.html"), "none");
    check_only_refused(run.run("report rec"), "rec/table.yaml: ");

    const std::string samples = read_text(run.path("o/samples.csv"));
    run.folder.write("o/samples.csv", samples.substr(0, samples.size() - 20));
    check_only_refused(run.run("report o"), "o/samples.csv:");
    run.folder.write("o/samples.csv", samples.substr(0, samples.find('\n') + 1));
    check_only_refused(run.run("report o"), "o/samples.csv: holds no samples; ");
    std::string others = samples;
    for (auto at = others.find("Synthetic"); at != std::string::npos; at = others.find("Synthetic", at))
        others.replace(at, 9, "Other");
    run.folder.write("o/samples.csv", others);
    check_only_refused(run.run("report o"),
                       "o/samples.csv:2: a sample of `Other` (9.0), but the table is of `Synthetic` (9.0); ");
    std::string moe = samples;
    for (auto at = moe.find(",allreduce_"); at != std::string::npos; at = moe.find(",allreduce_"))
        moe.replace(at, moe.find(',', at + 1) - at, ",moe_dispatch_zipf");
    run.folder.write("o/samples.csv", moe);
    check_only_refused(run.run("report o"), "o/samples.csv: no sample is of a cell of the table; ");
    fs::remove(run.path("o/samples.csv"));
    check_only_refused(run.run("report o"), "o/samples.csv: cannot read the samples");
    CHECK_FALSE(fs::exists(run.path("o/report.html")));
}
