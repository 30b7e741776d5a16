#include "output/emit.hpp"
#include "tests/support/command.hpp"
#include "tests/support/recordings.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <set>

using namespace crossover;
using test::CommandResult;
using test::read_text;
using test::run_command;
using test::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

/// A working folder with a small recording `rec` and the config `small.yaml` it was made with.
struct Workplace {
    TemporaryFolder folder;
    Config config = test::small_config();

    Workplace() {
        test::write_recording(path() / "rec", config);
        folder.write("small.yaml", to_yaml(config));
    }
    fs::path path() const { return folder.path(); }
    /// @param variables  set for it: "RANK=1 "
    CommandResult run(const std::string& arguments, const std::string& variables = "") const {
        return folder.run(variables + CROSSOVER_BINARY " " + arguments);
    }
    /// With what is always the same; never on the GPUs of the machine that tests.
    CommandResult tune(const std::string& arguments) const { return run("tune --recording rec " + arguments); }

    /// small.yaml with a change, as the file `name`.
    void write_changed(const std::string& name, const std::string& from, const std::string& to) const {
        std::string text = to_yaml(config);
        const auto at = text.find(from);
        REQUIRE_MESSAGE(at != std::string::npos, from);
        folder.write(name, text.replace(at, from.size(), to));
    }
    std::set<std::string> files(const std::string& name) const {
        std::set<std::string> names;
        if (fs::is_directory(path() / name))
            for (const auto& entry : fs::directory_iterator(path() / name)) names.insert(entry.path().filename());
        return names;
    }
};

const std::set<std::string> kRunFiles{"oneshot_thresholds.h", "provenance.yaml", "report.html", "report.md",
                                      "samples.csv",          "table.yaml"};

} // namespace

TEST_CASE("help, version and words that are none") {
    const Workplace place;
    for (const std::string command : {"--help", "tune --help", "fit --help"}) {
        const CommandResult help = place.run(command);
        CHECK(help.status == 0);
        CHECK(help.output.find("crossover") != std::string::npos);
    }
    CHECK(place.run("--version").output == "crossover " CROSSOVER_VERSION "\n");
    check_refused(place.run(""), "command line: no subcommand; ");
    check_refused(place.run("tun"), "command line: unknown subcommand `tun`; did you mean `tune`?");
    for (const std::string word : {"foo", "launch", "xyzzyx"}) // nothing like `fit` or `bench`
        check_refused(place.run(word), "command line: unknown subcommand `" + word + "`; see `crossover --help`");
    check_refused(place.run("tune --confg small.yaml"), "tune: unknown option `--confg`; did you mean `--config`?");
    check_refused(place.run("tune --world-size 2"), "tune: unknown option `--world-size`; see `crossover tune --help`");
    CHECK(place.run("fit -h").output == place.run("fit --help").output);
    CHECK(place.run("help fit").output == place.run("fit --help").output);
    check_refused(place.run("tune stray"), "tune: `stray` belongs to no option; see `crossover tune --help`");
    for (const std::string number : {"many", "99999999999"})
        check_refused(place.run("tune --sessions " + number),
                      "tune: the argument ('" + number + "') for option '--sessions' is invalid; write a whole number");
    check_refused(place.tune("--config small.yaml --sessions 0"), "--sessions: 0 is too few; write 1 or more");
    check_refused(place.run("fit"), "fit: ");
    check_refused(place.run("tune --config ''"), "--config: is empty; ");
}

TEST_CASE("a closed standard stream is no place for the next file that is opened") {
    const Workplace place;
    for (const std::string stream : {"0", "1"}) // not 2: there errors are read
        check_refused(place.tune("--config /proc/self/fd/" + stream + " " + stream + ">&-"),
                      "/proc/self/fd/" + stream + ": the config is not a mapping; "); // but empty
    check_refused(place.run("--version >&-"), "standard output: cannot be written; ");
}

TEST_CASE("tune writes the table and all that goes with it") {
    const Workplace place;
    const CommandResult result = place.tune("--config small.yaml --out o");
    CAPTURE(result.output);
    REQUIRE(result.status == 0);
    CHECK(result.output.rfind("replaying the recording rec (Synthetic, 2026-09-01)\n", 0) == 0);
    CHECK(result.output.find("\nvalidation: no shape is held out; the config names none\n") != std::string::npos);
    CHECK(place.files("o") == kRunFiles);

    const Table table = read_table(place.path() / "o" / "table.yaml");
    CHECK(table.source == "recording");
    CHECK(table.fingerprint.sku == "Synthetic");
    CHECK(table.provenance.sessions == place.config.sessions);
    CHECK(table.provenance.samples == std::ssize(test::small_samples(place.config)));
    CHECK(table.provenance.extra.at("recording") == "rec");
    REQUIRE(table.cells.size() == 4);
    for (const Cell& cell : table.cells) {
        CAPTURE(to_string(cell.key));
        CHECK(cell.status == CellStatus::measured);
        CHECK(cell.baseline == "nccl_fused_norm");
        REQUIRE(cell.oneshot.has_value());
        REQUIRE(cell.twoshot.has_value());
        // Two sessions of four-fold sizes: within an octave of the planted truth.
        const auto octaves = [](std::uint64_t found, std::uint64_t planted) {
            return std::abs(std::log2(static_cast<double>(found) / static_cast<double>(planted)));
        };
        CHECK(octaves(cell.oneshot->max_bytes, test::planted_oneshot_bytes(cell.key.world_size)) < 1);
        CHECK(octaves(cell.twoshot->max_bytes, test::planted_twoshot_bytes(cell.key.world_size)) < 1);
        CHECK(result.output.find(std::to_string(cell.oneshot->max_bytes)) != std::string::npos);
        CHECK(result.output.find(std::to_string(cell.twoshot->max_bytes)) != std::string::npos);
    }

    SUBCASE("fit of its samples gives the same table") {
        const CommandResult fit = place.run("fit --samples o/samples.csv");
        CHECK(fit.status == 0);
        CHECK(fit.output == read_text(place.path() / "o" / "table.yaml"));
        CHECK(place.run("fit --samples o/samples.csv --out t.yaml").status == 0);
        CHECK(read_text(place.path() / "t.yaml") == fit.output);
        CHECK(place.run("fit --samples o/samples.csv --guard-band 0.5").output != fit.output);
        CHECK(place.run("fit --samples o/samples.csv --guard-band 50%").output ==
              place.run("fit --samples o/samples.csv --guard-band 0.5").output);
        check_refused(place.run("fit --samples o/samples.csv --guard-band 2"),
                      "--guard-band: `2` is a fraction of 100 % or more: a `%` seems to be missing; ");
        check_refused(place.run("fit --samples o/samples.csv --guard-band 51%"), "--guard-band: `51%` is above 50 %; ");
        check_refused(place.run("fit --samples o/samples.csv --out ''"), "--out: is empty; ");
        check_refused(place.run("fit --samples o/none.csv"), "o/none.csv: cannot read the samples");
        const auto check_row = [&](const std::string& from, const std::string& to, const std::string& error) {
            std::string text = read_text(place.path() / "o" / "samples.csv");
            const auto at = text.rfind(from); // in the last row
            text.replace(at, from.size(), to);
            place.folder.write("changed.csv", text);
            const auto lines = std::count(text.begin(), text.end(), '\n');
            check_refused(place.run("fit --samples changed.csv --provenance o/provenance.yaml"),
                          "changed.csv:" + std::to_string(lines) + ": " + error);
        };
        check_row("Synthetic", "Other", "a sample of `Other` (9.0), but the provenance is of `Synthetic` (9.0); ");
        check_row("9.0,", "8.0,", "a sample of `Synthetic` (8.0), but the provenance is of `Synthetic` (9.0); ");
        const std::string last = "9.0," + std::to_string(place.config.world_sizes.back());
        check_row(last, "9.0,3", "world_size is 3, for which there are no kernels; write 2, 4 or 8");
        fs::copy(place.path() / "o" / "samples.csv", place.path() / "alone.csv");
        check_refused(place.run("fit --samples alone.csv"), "provenance.yaml: not there");
        CHECK(place.run("fit --samples alone.csv --provenance o/provenance.yaml").output == fit.output);
    }
    SUBCASE("how long it was measured is the recording's own, and is told so") {
        place.write_changed("longer.yaml", "trials: 15", "trials: 99");
        CHECK(place.tune("--config longer.yaml --out longer").status == 0);
        CHECK(read_text(place.path() / "longer" / "provenance.yaml") ==
              read_text(place.path() / "o" / "provenance.yaml"));
    }
    SUBCASE("again gives the same, byte for byte") {
        std::vector<std::string> before;
        for (const std::string& name : kRunFiles) before.push_back(read_text(place.path() / "o" / name));
        CHECK(place.tune("--config small.yaml --out o").output == result.output);
        for (std::size_t i = 0; const std::string& name : kRunFiles)
            CHECK(read_text(place.path() / "o" / name) == before[i++]);
    }
    SUBCASE("a killed run goes on with --resume to the same table") {
        const std::string table_text = read_text(place.path() / "o" / "table.yaml");
        const std::string samples = read_text(place.path() / "o" / "samples.csv");
        fs::remove(place.path() / "o" / "table.yaml");
        place.folder.write("o/samples.csv", samples.substr(0, samples.size() / 2));
        CHECK(place.tune("--config small.yaml --out o --resume").status == 0);
        CHECK(read_text(place.path() / "o" / "samples.csv") == samples);
        CHECK(read_text(place.path() / "o" / "table.yaml") == table_text);
        place.write_changed("other.yaml", "[2048, 4096]", "[4096]");
        check_refused(place.tune("--config other.yaml --out o --resume"),
                      "o/provenance.yaml: cannot resume: `config.sweep.hidden_dims` was [2048, 4096]");
        std::string foreign = samples;
        foreign.replace(foreign.rfind("Synthetic"), 9, "Other");
        place.folder.write("o/samples.csv", foreign);
        check_refused(place.tune("--config small.yaml --out o --resume"),
                      "o/samples.csv:" + std::to_string(std::ranges::count(foreign, '\n')) + ": a sample of `Other`");
        place.folder.write("o/samples.csv", samples);
        // Times with the starts of graphs and without do not belong together.
        std::string record = read_text(place.path() / "o" / "provenance.yaml");
        const auto recording = record.find("  recording: ");
        REQUIRE(recording != std::string::npos);
        place.folder.write("o/provenance.yaml", record.insert(recording, "  graph_start: left out\n  "));
        check_refused(place.tune("--config small.yaml --out o --resume"),
                      "o/provenance.yaml: cannot resume: `provenance.extra.graph_start` was left out");
        CHECK(read_text(place.path() / "o" / "samples.csv") == samples);
    }
}

TEST_CASE("an adaptive run measures less, goes on where it was killed, and is judged by held-out shapes") {
    const Workplace place;
    Config config = place.config;
    config.search = Search::adaptive;
    config.hidden_dims = {4096};
    config.validation_hidden_dims = {2048, 2880};
    config.validation_num_tokens = {1, 16, 300, 1024};
    place.folder.write("adaptive.yaml", to_yaml(config));
    const CommandResult result = place.tune("--config adaptive.yaml --out o");
    CAPTURE(result.output);
    REQUIRE(result.status == 0);
    // 2048 was recorded with three of these token counts, 2880 was not; four cells.
    CHECK(result.output.find("validation: 12 of 32 held-out points are in every session of the recording\n") !=
          std::string::npos);
    for (const std::string world_size : {"2", "4"})
        CHECK(result.output.find("\nTime lost against the best algorithm at 6 held-out points of world size " +
                                 world_size + ": mean ") != std::string::npos);
    CHECK(result.output.find(" of the grid's 256 (") != std::string::npos);
    const std::string samples = read_text(place.path() / "o" / "samples.csv");
    const std::string table_text = read_text(place.path() / "o" / "table.yaml");
    const Table table = read_table(place.path() / "o" / "table.yaml");
    REQUIRE(table.cells.size() == 4);
    for (const Cell& cell : table.cells) {
        REQUIRE(cell.regret.has_value());
        CHECK(cell.regret->held_out);
        CHECK(cell.regret->points == 3);
    }
    // Held-out samples are in the journal and in no fit.
    CHECK(place.run("fit --samples o/samples.csv").output == table_text);
    config.validation_hidden_dims.clear();
    place.folder.write("unjudged.yaml", to_yaml(config));
    REQUIRE(place.tune("--config unjudged.yaml --out u").status == 0);
    const Table unjudged = read_table(place.path() / "u" / "table.yaml");
    for (std::size_t i = 0; i < table.cells.size(); ++i) {
        CHECK(unjudged.cells[i].oneshot == table.cells[i].oneshot);
        CHECK(unjudged.cells[i].twoshot == table.cells[i].twoshot);
        CHECK_FALSE(unjudged.cells[i].regret->held_out);
    }
    for (const std::size_t part : {3, 5, 8}) {
        place.folder.write("o/samples.csv", samples.substr(0, samples.size() * part / 9));
        CHECK(place.tune("--config adaptive.yaml --out o --resume").status == 0);
        CHECK(read_text(place.path() / "o" / "samples.csv") == samples);
        CHECK(read_text(place.path() / "o" / "table.yaml") == table_text);
    }

    // What was asked for and cannot be had is told.
    config.validation_hidden_dims = config.hidden_dims;
    config.validation_num_tokens = {config.num_tokens.front()};
    config.budget_samples = 40;
    place.folder.write("cut.yaml", to_yaml(config));
    const CommandResult cut = place.tune("--config cut.yaml --out cut");
    CHECK(cut.output.find("\nbudget: spent before the search of 4 of 4 cells ended; their notes say so\n") !=
          std::string::npos);
    CHECK(cut.output.find("\nvalidation: no shape is held out; all are in the sweep or above max_message_bytes\n") !=
          std::string::npos);
    std::set<std::string> notes;
    for (const Cell& cell : read_table(place.path() / "cut" / "table.yaml").cells) notes.insert(cell.note);
    CHECK(notes.contains("the budget was spent before it was measured"));

    const CommandResult grid = place.tune("--config adaptive.yaml --search grid --out g");
    CHECK(grid.output.find("Samples of the search: 256 of the grid's 256 (100.0 %)") != std::string::npos);
    check_refused(place.tune("--config adaptive.yaml --search all --out g"),
                  "--search: `all` is unknown; write one of adaptive, grid");
}

TEST_CASE("a recording is not replayed into itself") {
    const Workplace place;
    REQUIRE(place.tune("--config small.yaml --out o").status == 0); // a replay's samples would give way to others
    const std::string samples = read_text(place.path() / "o" / "samples.csv");
    for (const std::string more : {"", " --resume"})
        check_refused(place.run("tune --recording o/ --config small.yaml --sessions 1 --out ../" +
                                place.path().filename().string() + "/o" + more),
                      "--out: `../");
    CHECK(read_text(place.path() / "o" / "samples.csv") == samples);
    CHECK(place.files("o") == kRunFiles);
}

TEST_CASE("of several ranks the first replays") {
    const Workplace place;
    const auto tune_as = [&](int rank) {
        return place.run("tune --recording rec --config small.yaml --out o",
                         "WORLD_SIZE=4 LOCAL_WORLD_SIZE=4 RANK=" + std::to_string(rank) +
                             " LOCAL_RANK=" + std::to_string(rank) + " ");
    };
    for (const int rank : {1, 3}) {
        const CommandResult result = tune_as(rank);
        CHECK(result.status == 0);
        CHECK(result.output.empty());
        CHECK_FALSE(fs::exists(place.path() / "o"));
    }
    CHECK(tune_as(0).status == 0);
    CHECK(place.files("o") == kRunFiles);
}

TEST_CASE("the config decides what of the recording is used") {
    const Workplace place;
    place.write_changed("fewer.yaml", "[none, fp8]", "[fp8]");
    REQUIRE(place.tune("--config fewer.yaml --sessions 1 --out o").status == 0);
    const Table table = read_table(place.path() / "o" / "table.yaml");
    CHECK(table.cells.size() == 2);
    CHECK(table.provenance.sessions == 1);
    CHECK(table.provenance.samples == std::ssize(test::small_samples(place.config)) / 4);
}

TEST_CASE("what a table loses elsewhere is told against the algorithms that were asked for") {
    Workplace place;
    place.config.algorithms = {"nccl_fused_norm", "twoshot"}; // the recording's oneshot is up to 1.35 times as fast
    place.config.hidden_dims = {2048};
    place.folder.write("without.yaml", to_yaml(place.config));
    const std::string output = place.tune("--config without.yaml --out o").output;
    const std::string line = " other recorded points: mean ", worst = "worst +";
    REQUIRE(output.find(line) != std::string::npos);
    CAPTURE(output.substr(output.find(line)));
    CHECK(std::stod(output.substr(output.find(worst, output.find(line)) + worst.size())) < 10);
}

TEST_CASE("a config that names no number of sessions makes do with the recorded ones") {
    const Workplace place;
    place.write_changed("any.yaml", "  sessions: 2\n", "");
    const CommandResult result = place.tune("--config any.yaml --out o");
    CHECK(result.status == 0);
    CHECK(result.output.find("sessions: 2 in the recording instead of 4\n") != std::string::npos);
    CHECK(read_table(place.path() / "o" / "table.yaml").provenance.sessions == 2);
    check_refused(place.tune("--config any.yaml --sessions 4 --out p"), "rec: 4 sessions were not recorded; ");

    const std::string config = to_yaml(place.config); // nor need there be settings at all, nor a file to read twice
    const std::size_t settings = config.find("measurement:\n"), after = config.find("fit:\n");
    REQUIRE(settings < after);
    place.folder.write("none.yaml", config.substr(0, settings) + config.substr(after));
    CHECK(place.tune("--config /dev/stdin --out q <none.yaml").status == 0);
    CHECK(read_table(place.path() / "q" / "table.yaml").provenance.sessions == 2);
}

TEST_CASE("a world size that the recorded machine could not have is in the table as not measured") {
    const Workplace place;
    place.write_changed("eight.yaml", "world_sizes: [2, 4]", "world_sizes: [2, 4, 8]");
    const CommandResult result = place.tune("--config eight.yaml --out o");
    CHECK(result.status == 0);
    CHECK(result.output.find("world size 8: not in the recording (4 GPUs), cells are marked not_measured\n") !=
          std::string::npos);
    const Table table = read_table(place.path() / "o" / "table.yaml");
    REQUIRE(table.cells.size() == 6);
    for (const Cell& cell : table.cells) CHECK((cell.status == CellStatus::not_measured) == (cell.key.world_size == 8));
    CHECK(place.run("fit --samples o/samples.csv").output == read_text(place.path() / "o" / "table.yaml"));

    place.write_changed("only.yaml", "world_sizes: [2, 4]", "world_sizes: [8]");
    check_refused(place.tune("--config only.yaml --out p"), "rec: world size 8 was not recorded; recorded: 2, 4; ");
    CHECK(place.files("p").empty());
}

TEST_CASE("input that cannot be used: one line with its place, exit status 2, nothing written") {
    const Workplace place;
    const auto check = [&](const std::string& from, const std::string& to, const std::string& expected) {
        place.write_changed("bad.yaml", from, to);
        check_refused(place.tune("--config bad.yaml --out o"), expected);
        CHECK_FALSE(fs::exists(place.path() / "o"));
    };
    check("hidden_dims", "hidden_dim", "bad.yaml:6: unknown key `hidden_dim` in `sweep`; did you mean `hidden_dims`?");
    check("[2048, ", "[-2048, ", "bad.yaml:6: `hidden_dims` has -2048; ");
    check("[2048, ", "[2050, ", "bad.yaml:6: `hidden_dims` has 2050, not a multiple of 8");
    check("[2048, ", "[2048", "bad.yaml:");
    check("[none, fp8]", "[none, fp4]", "rec: quant fp4 was not recorded; recorded: none, fp8; ");
    check("sessions: 2", "sessions: 4", "rec: 4 sessions were not recorded; recorded: 2; ");
    check_refused(place.run("tune --config none.yaml"),
                  "none.yaml: cannot read the config: No such file or directory; ");
    check_refused(place.run("tune --recording none --config small.yaml"), "--recording: no folder `none`; ");

    const std::string samples = read_text(place.path() / "rec" / "samples.csv");
    place.folder.write("rec/samples.csv", samples.substr(0, samples.size() - 20));
    const auto lines = std::ranges::count(samples, '\n');
    const std::string cut_off = "rec/samples.csv:" + std::to_string(lines) + ": the last row is cut off";
    check_refused(place.tune("--config small.yaml --out o"), cut_off);
    check_refused(place.run("fit --samples rec/samples.csv --out t.yaml"), cut_off);
    CHECK_FALSE(fs::exists(place.path() / "o"));
    CHECK_FALSE(fs::exists(place.path() / "t.yaml"));
}

TEST_CASE("a folder that cannot be written is refused before anything is measured") {
    const Workplace place;
    place.folder.write("file", "precious");
    check_refused(place.tune("--config small.yaml --out file"), "file: cannot create the folder");
    check_refused(place.tune("--config small.yaml --out file/o"), "file/o: cannot create the folder");
    check_refused(place.tune("--config small.yaml --out ''"), "--out: is empty");
    check_refused(place.tune("--config small.yaml --out /proc/o"), "/proc/o: cannot create the folder");
    check_refused(place.tune("--config small.yaml --out /proc"), "/proc/provenance.yaml: ");
    CHECK(read_text(place.path() / "file") == "precious");
    fs::create_directories(place.path() / "o" / "report.html");
    check_refused(place.tune("--config small.yaml --out o"), "o/report.html: cannot write the file: Is a directory; ");
    CHECK(place.files("o") == std::set<std::string>{"report.html"});
}

TEST_CASE("samples measured on GPUs are not written over by accident") {
    const Workplace place;
    fs::copy(place.path() / "rec", place.path() / "run");
    const std::string before = read_text(place.path() / "run" / "samples.csv");
    check_refused(place.tune("--config small.yaml --out run"), "run/samples.csv: holds 512 samples already; ");
    check_refused(place.tune("--config small.yaml --out run --resume"), "run/provenance.yaml: cannot resume: `source`");
    CHECK(read_text(place.path() / "run" / "samples.csv") == before);
    CHECK(place.files("run") == std::set<std::string>{"provenance.yaml", "samples.csv"});
}

TEST_CASE("an installed crossover has the data that was installed with it") {
    const TemporaryFolder folder;
    std::filesystem::create_directories(folder.path() / "bin");
    std::filesystem::create_directories(folder.path() / "share/crossover/configs/recordings/mine");
    std::filesystem::copy_file(CROSSOVER_BINARY, folder.path() / "bin/crossover");
    folder.write("share/crossover/configs/default.yaml", to_yaml(test::small_config()));
    folder.write("share/crossover/configs/recordings/mine/provenance.yaml", "");
    const CommandResult result = run_command((folder.path() / "bin/crossover tune --recording none").string());
    CHECK(result.status == 2);
    CHECK(result.output == "crossover: error: --recording: no folder `none`; name a folder with samples.csv and "
                           "provenance.yaml, or mine\n");
}

TEST_CASE("the shipped recordings replay with the configs that they were made with") {
    const fs::path configs = fs::path(CROSSOVER_SOURCE_DIR) / "configs";
    REQUIRE(fs::is_directory(configs / "recordings"));
    for (const auto& entry : fs::directory_iterator(configs / "recordings")) {
        CAPTURE(entry.path().string());
        const RunRecord record = read_provenance(entry.path() / "provenance.yaml");
        REQUIRE(record.config.has_value());
        const TemporaryFolder folder;
        folder.write("own.yaml", to_yaml(*record.config));
        const CommandResult result =
            folder.run(CROSSOVER_BINARY " tune --config own.yaml --recording " + entry.path().string());
        CAPTURE(result.output);
        CHECK(result.status == 0);
        CHECK_FALSE(read_table(folder.path() / "out" / "table.yaml").cells.empty());
    }
}
