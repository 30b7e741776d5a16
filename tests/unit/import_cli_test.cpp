#include "tests/support/command.hpp"
#include "tests/support/import_fixtures.hpp"
#include "tuner/samples/journal.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>

using namespace crossover;
using import_fixtures::read;
using test::run_command;

namespace {

const std::string kData = CROSSOVER_SOURCE_DIR "/tests/data/";
const std::string kImport = CROSSOVER_BINARY " import ";
const std::string kB200 = " --sku 'NVIDIA B200' --compute-capability 10.0 ";

} // namespace

TEST_CASE("import, fit, emit") {
    const test::TemporaryFolder folder;
    const std::string run = folder.path().string() + "/b200";
    auto result = run_command(kImport + "--from vllm-pr" + kB200 + kData + "published/vllm-pr-22086.csv --out " + run +
                              "/samples.csv");
    CAPTURE(result.output);
    REQUIRE(result.status == 0);
    CHECK(result.output.find("vllm-pr-22086.csv: 48 rows of `H100` left out\n") != std::string::npos);
    CHECK(result.output.find("imported 96 samples of 7 cells: 96 ok, 0 failed, 0 skipped\n") != std::string::npos);
    CHECK(read_samples(run + "/samples.csv") ==
          import_fixtures::import_text(ImportFormat::vllm_pr, read("published/vllm-pr-22086.csv"), "NVIDIA B200")
              .samples);

    result = run_command(CROSSOVER_BINARY " fit --samples " + run + "/samples.csv --out " + run + "/table.yaml");
    CAPTURE(result.output);
    REQUIRE(result.status == 0);
    const std::string table = test::read_text(run + "/table.yaml");
    CHECK(table.find("source: import") != std::string::npos);
    CHECK(table.find("sku: NVIDIA B200") != std::string::npos);
    CHECK(table.find("algorithm: not_measured") != std::string::npos);
    result = run_command(CROSSOVER_BINARY " emit cpp " + run + "/table.yaml");
    CAPTURE(result.output);
    REQUIRE(result.status == 0);
    CHECK(result.output.find("oneshot_max_bytes") != std::string::npos);

    // Measured samples are not overwritten by accident.
    result = run_command(kImport + "--from vllm" + kB200 + kData + "published/vllm-b200-tp2.md --out " + run +
                         "/samples.csv");
    CHECK(result.status == 2);
    CHECK(result.output.find("--out: ") != std::string::npos);
}

TEST_CASE("cells that can get no limits are told of") {
    const auto told = [](const std::string& arguments) {
        const auto result = run_command(kImport + arguments + " 2>&1 >/dev/null");
        CHECK_MESSAGE(result.status == 0, result.output);
        return result.output.find("4 of 4 cells have no time of an unfused algorithm") != std::string::npos;
    };
    CHECK(told("--from flashinfer --sku X --compute-capability 9.0 --world-size 8 " + kData + "import/flashinfer.csv"));
    CHECK_FALSE(told("--from tensorrt-llm" + kB200 + kData + "import/tensorrt-llm.csv"));
}

TEST_CASE("several files, to standard output") {
    const std::string files = kData + "published/vllm-b200-tp2.md " + kData + "published/vllm-b200-tp8.md ";
    const auto result = run_command(kImport + "--from vllm" + kB200 + files + "2>/dev/null");
    REQUIRE(result.status == 0);
    CHECK(result.output.starts_with(std::string(kSamplesHeader) + "\n0,NVIDIA B200,10.0,2,"));
    CHECK(std::count(result.output.begin(), result.output.end(), '\n') == 33);
}

TEST_CASE("unusable input is one line on stderr and exit status 2") {
    const test::TemporaryFolder folder;
    const std::string file = kData + "published/vllm-b200-tp2.md";
    const auto fails = [&](const std::string& arguments, const std::string& error) {
        test::check_only_refused(run_command(kImport + arguments + " 2>&1 >/dev/null"), error);
    };
    fails("--from vllm --compute-capability 10.0 " + file, "--sku: ");
    fails("--from vllm --sku B200 " + file, "--compute-capability: ");
    fails("--from flashinfer" + kB200 + kData + "import/flashinfer.csv", "--world-size: ");
    fails("--from fullama" + kB200 + file, "--from: `fullama` is unknown; write one of vllm, sglang, ");
    fails("--from sglang" + kB200 + file, file + ":11: ");
    fails("--from vllm" + kB200, "import: ");
    fails("--from vllm" + kB200 + folder.path().string() + "/missing.md", folder.path().string() + "/missing.md: ");
    fails("--from vllm --backend nccl" + kB200 + file, "--backend: ");
    fails("--from vllm --topology ring" + kB200 + file, "--topology: ");
    fails("--from vllm --nodes 0" + kB200 + file, "--nodes: ");
}

TEST_CASE("help names every format") {
    const auto result = run_command(kImport + "--help");
    CHECK(result.status == 0);
    for (const auto& [format, name] : kImportFormats)
        CHECK(result.output.find("  " + std::string(name) + " ") != std::string::npos);
}
