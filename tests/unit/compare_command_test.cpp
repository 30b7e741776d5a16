#include "output/comparison.hpp"
#include "output/emit.hpp"
#include "tests/support/command.hpp"
#include "tests/support/synthetic.hpp"
#include "tests/support/tables.hpp"
#include "tuner/fit/fit.hpp"
#include "tuner/samples/journal.hpp"

#include <doctest/doctest.h>

using namespace crossover;

namespace {

constexpr std::uint64_t kMiB = 1 << 20;

Cell cell_with(int world_size, std::uint64_t oneshot, std::uint64_t twoshot = 16 * kMiB) {
    Cell cell = test::measured_cell(world_size, oneshot, twoshot);
    for (auto* limit : {&cell.oneshot, &cell.twoshot}) {
        (*limit)->gain_at_edge = 0.15;
        (*limit)->ci95 = {(*limit)->max_bytes * 94 / 100, (*limit)->max_bytes * 106 / 100};
    }
    return cell;
}

/// A folder with tables, in which `crossover compare` runs: old, better, worse, missing, and nccl (worse, with another
/// NCCL).
struct Workplace {
    test::TemporaryFolder folder;
    Workplace() {
        Table table = test::empty_table("NVIDIA <H200> & \"more\"", "9.0");
        const auto write = [&](const std::string& name, std::vector<Cell> cells) {
            table.cells = std::move(cells);
            folder.write(name + ".yaml", emit_yaml(table));
        };
        write("old", {cell_with(2, kMiB), cell_with(8, 131072)});
        write("better", {cell_with(2, kMiB), cell_with(8, 196608)});
        write("worse", {cell_with(2, kMiB), cell_with(8, 65536)});
        write("missing", {cell_with(2, kMiB), cell_with(4, kMiB)});
        table.provenance.nccl = "2.30.3";
        write("nccl", {cell_with(2, kMiB), cell_with(8, 65536)});
        folder.write("wrong.yaml", "cells: 3\n");
        folder.write("cut.yaml", "schema_version: 1\ncells: [");
        folder.write("empty.yaml", "");
    }
    test::CommandResult compare(const std::string& arguments) const {
        return folder.run(CROSSOVER_BINARY " compare " + arguments);
    }
    int status(const std::string& arguments) const { return compare(arguments).status; }
};

bool has(const std::string& text, const std::string& words) { return text.find(words) != std::string::npos; }

} // namespace

TEST_CASE("exit status: 0 same or better, 1 worse or missing, 2 unusable") {
    const Workplace place;
    CHECK(place.status("old.yaml old.yaml") == 0);
    CHECK(place.status("old.yaml better.yaml") == 0);
    CHECK(place.status("old.yaml worse.yaml") == 1);
    CHECK(place.status("better.yaml old.yaml") == 1);
    CHECK(place.status("worse.yaml old.yaml") == 0);
    CHECK(place.status("old.yaml missing.yaml") == 1);
    for (const char* format : {"text", "markdown", "json", "junit"}) {
        CHECK(place.status(std::string("old.yaml worse.yaml --format ") + format) == 1);
        CHECK(place.status(std::string("old.yaml better.yaml --format ") + format) == 0);
    }
    // 2 × 15 % an octave × one octave: 32 % at stake.
    CHECK(place.status("old.yaml worse.yaml --max-regression 25%") == 1);
    CHECK(place.status("old.yaml worse.yaml --max-regression 40%") == 0);
    CHECK(place.status("old.yaml worse.yaml --max-regression 0.4") == 0);
    CHECK(place.status("old.yaml worse.yaml --max-regression '2.5 %'") == 1);
    CHECK(place.status("old.yaml worse.yaml --max-regression 0") == 1);
    CHECK(place.status("old.yaml old.yaml --max-regression 0") == 0);
}

TEST_CASE("another NCCL: told, not compared, which fails, compared if asked") {
    const Workplace place;
    const auto told = place.compare("old.yaml nccl.yaml");
    CHECK(told.status == 1);
    CHECK(has(told.output, "NOT COMPARED: "));
    CHECK_FALSE(has(told.output, "OK"));
    CHECK(has(told.output, "differs: NCCL: 2.28.9 → 2.30.3; not comparable, `--across nccl` compares all the same"));
    CHECK(has(told.output, "2 cells: 2 not comparable"));
    CHECK(place.status("old.yaml nccl.yaml --strict") == 1);
    CHECK(place.status("old.yaml old.yaml --strict") == 0);
    CHECK(place.status("old.yaml nccl.yaml --across driver") == 1);
    CHECK(place.status("old.yaml nccl.yaml --across driver,nccl") == 1);
    CHECK(place.status("old.yaml nccl.yaml --across nccl --strict") == 1);
}

TEST_CASE("unusable input is one line that says what to do") {
    const Workplace place;
    const auto check = [&](const std::string& arguments, const std::string& words) {
        const auto result = place.compare(arguments);
        CAPTURE(arguments);
        test::check_only_refused(result);
        CHECK(has(result.output, words));
    };
    check("", "two tables, 0 given");
    check("old.yaml", "two tables, 1 given");
    check("old.yaml old.yaml old.yaml", "two tables, 3 given");
    check("old.yaml nowhere.yaml", "nowhere.yaml");
    check("old.yaml .", "table.yaml");
    check("old.yaml wrong.yaml", "wrong.yaml:1");
    check("old.yaml cut.yaml", "cut.yaml:");
    check("old.yaml empty.yaml", "empty.yaml");
    check("old.yaml old.yaml --format html", "text, markdown, json or junit");
    for (const char* limit : {"2", "-1%", "abc", "' '", "%", "nan", "inf", "1e999", "0.02x", "100%", "1", "0x1p-5"})
        check(std::string("old.yaml old.yaml --max-regression=") + limit, "write a percentage like `2%`");
    check("old.yaml old.yaml --across sku", "choose from driver, cuda");
    check("old.yaml old.yaml --across nccl,", "unknown word ``");
    check("old.yaml old.yaml --old-samples x.csv", "--old-samples: samples of one side only");
    check("old.yaml old.yaml --new-samples x.csv", "--new-samples: samples of one side only");
    check("old.yaml old.yaml --old-samples x.csv --new-samples x.csv", "x.csv");
    check("old.yaml old.yaml --max-regresion 2%", "did you mean");
}

TEST_CASE("every cell is named in every format") {
    const Workplace place;
    for (const char* format : {"text", "markdown", "junit"}) {
        const auto result = place.compare(std::string("old.yaml missing.yaml --format ") + format);
        CAPTURE(result.output);
        for (const int world_size : {2, 4, 8}) CHECK(has(result.output, "n=" + std::to_string(world_size) + " "));
        for (const char* verdict : {"same", "missing", "new"}) CHECK(has(result.output, verdict));
    }
    const auto markdown = place.compare("old.yaml worse.yaml --format markdown");
    CHECK(has(markdown.output, "## FAIL: 2 cells: 1 same, 1 worse (limit 2.0 % of time)"));
    CHECK(
        has(markdown.output, "| **worse** | n=8 allreduce_residual_rmsnorm bfloat16 none | 131072 (128 KiB) → 65536"));
    const auto text = place.compare("old.yaml worse.yaml");
    CHECK(text.output.find("worse ") < text.output.find("same ")); // the most urgent first
}

TEST_CASE("JSON and JUnit are read by the standard library's parsers") {
    if (!test::has("python3 --version", "python3")) return;
    const Workplace place;
    place.folder.write("check.py", R"(
import json, subprocess, sys, xml.etree.ElementTree as tree
def run(new, *options):
    return subprocess.run([sys.argv[1], "compare", "old.yaml", new, *options], capture_output=True, text=True).stdout

report = json.loads(run("missing.yaml", "--format", "json"))
assert report["fails"] is True and report["max_regression"] == 0.02 and report["strict"] is False, report
assert report["sku"] == 'NVIDIA <H200> & "more"', report["sku"]
assert {c["world_size"]: c["verdict"] for c in report["cells"]} == {2: "same", 4: "new", 8: "missing"}, report
assert report["counts"]["same"] == report["counts"]["new"] == report["counts"]["missing"] == 1, report["counts"]
report = json.loads(run("worse.yaml", "--format", "json"))
oneshot = report["cells"][1]["thresholds"][0]
assert oneshot["old_max_bytes"] == 131072 and oneshot["new_max_bytes"] == 65536 and oneshot["octaves"] == -1, oneshot
assert 0.31 < oneshot["estimated_time_lost"] < 0.33, oneshot

def junit(new, *options):
    root = tree.fromstring(run(new, "--format", "junit", *options))
    cases = root.findall("testsuite/testcase")
    for node in (root, root.find("testsuite")):
        assert int(node.get("tests")) == len(cases)
        assert int(node.get("failures")) == len(root.findall(".//failure"))
        assert int(node.get("skipped")) == len(root.findall(".//skipped"))
        assert node.get("errors") == "0"
    return [(case.get("name"), next(iter(case)).tag) for case in cases]
cell = "n=%d allreduce_residual_rmsnorm bfloat16 none"
assert junit("worse.yaml") == [(cell % 2, "system-out"), (cell % 8, "failure")], junit("worse.yaml")
assert junit("missing.yaml")[2] == (cell % 8, "failure"), junit("missing.yaml")
machine = "same machine and software"
assert junit("nccl.yaml") == [(machine, "skipped"), ("any cell", "failure"), (cell % 2, "skipped"),
                              (cell % 8, "skipped")], junit("nccl.yaml")
assert all(tag == "failure" for _, tag in junit("nccl.yaml", "--strict"))
)");
    const auto result = place.folder.run("python3 check.py " CROSSOVER_BINARY);
    CHECK_MESSAGE(result.status == 0, result.output);
}

TEST_CASE("samples: from options, or beside the tables of two folders") {
    const test::TemporaryFolder folder;
    const auto write_run = [&](const std::string& name, double oneshot, std::uint64_t seed) {
        const auto baseline = synthetic::alpha_beta(12, 20);
        const auto twoshot = synthetic::crossing(baseline, {5e6});
        synthetic::Machine machine;
        machine.curves = {{"nccl_fused_norm", baseline},
                          {"twoshot", twoshot},
                          {"oneshot", synthetic::scaled(synthetic::crossing(twoshot, {3e5}), oneshot)}};
        machine.seed = seed;
        const std::vector<Sample> samples = synthetic::measure(machine);
        Table table = test::empty_table("Synthetic", "9.0");
        table.cells = fit_cells(samples, {});
        std::filesystem::create_directory(folder.path() / name);
        folder.write(name + "/table.yaml", emit_yaml(table));
        write_samples(folder.path() / name / "samples.csv", samples);
    };
    write_run("old", 1, 1);
    write_run("again", 1, 2);
    write_run("slow", 1.05, 3);
    const auto compare = [&](const std::string& arguments) {
        return folder.run(CROSSOVER_BINARY " compare " + arguments);
    };
    CHECK(compare("old again").status == 0);
    CHECK(compare("slow old").status == 0);
    const auto slow = compare("old slow");
    CHECK(slow.status == 1);
    CHECK(has(slow.output, "oneshot within a factor of 4 of its crossovers: +"));
    CHECK(
        compare("old/table.yaml slow/table.yaml --old-samples old/samples.csv --new-samples slow/samples.csv").output ==
        [&] {
            std::string text = slow.output; // but for the names
            text.replace(text.find("OLD old\n"), 8, "OLD old/table.yaml\n");
            text.replace(text.find("NEW slow\n"), 9, "NEW slow/table.yaml\n");
            return text;
        }());
    // Tables alone need no samples; a folder without them is told.
    CHECK_FALSE(has(compare("old/table.yaml slow/table.yaml").output, "points"));
    std::filesystem::remove(folder.path() / "again/samples.csv");
    CHECK(has(compare("old again").output, "note: only OLD has a samples.csv beside it"));

    std::string other = test::read_text(folder.path() / "slow/samples.csv");
    for (std::size_t at = 0; (at = other.find("Synthetic", at)) != std::string::npos; at += 5)
        other.replace(at, 9, "Other");
    folder.write("other.csv", other);
    const auto wrong = compare("old slow --old-samples old/samples.csv --new-samples other.csv");
    CHECK(wrong.status == 2);
    CHECK(has(wrong.output, "other.csv:2: a sample of `Other`"));
}
