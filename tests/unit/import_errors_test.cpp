/// Files that are cut off, mixed up or damaged: a clear error or the right result, never a lost row.
#include "tests/support/import_fixtures.hpp"
#include "tuner/error.hpp"
#include "tuner/samples/importers/import.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

using namespace crossover;
using import_fixtures::Fixture;
using import_fixtures::import_text;
using import_fixtures::read;

namespace {

/// The error, or "" if the text was read.
std::string error_of(const Fixture& fixture, const std::string& text) {
    try {
        import_text(fixture.format, text, fixture.sku);
    } catch (const InputError& error) {
        return error.what();
    }
    return "";
}

bool is_json(const Fixture& fixture) { return fixture.format == ImportFormat::vllm_communicators; }

std::string replaced(std::string text, const std::string& from, const std::string& to) {
    const std::size_t at = text.find(from);
    REQUIRE(at != std::string::npos);
    return text.replace(at, from.size(), to);
}

Fixture fixture(const std::string& path) {
    for (const Fixture& candidate : import_fixtures::all())
        if (candidate.path == path) return candidate;
    throw std::runtime_error(path);
}

} // namespace

TEST_CASE("Windows line ends and a byte order mark change nothing") {
    for (const Fixture& fixture : import_fixtures::all()) {
        CAPTURE(fixture.path);
        std::string unix_text = read(fixture.path);
        std::erase(unix_text, '\r');
        std::string windows_text;
        for (const char c : unix_text) windows_text += c == '\n' ? std::string("\r\n") : std::string(1, c);
        const auto samples = import_text(fixture.format, unix_text, fixture.sku).samples;
        CHECK(import_text(fixture.format, windows_text, fixture.sku).samples == samples);
        CHECK(import_text(fixture.format, "\xEF\xBB\xBF" + unix_text, fixture.sku).samples == samples);
    }
}

TEST_CASE("empty, binary and UTF-16 files") {
    for (const Fixture& fixture : import_fixtures::all()) {
        CAPTURE(fixture.path);
        CHECK(error_of(fixture, "").starts_with("results: is empty; "));
        CHECK(error_of(fixture, "\xEF\xBB\xBF\r\n \t\n").starts_with("results: is empty; "));
        CHECK(error_of(fixture, std::string("\x7f"
                                            "ELF\0\0\0",
                                            7))
                  .starts_with("results: is a binary file; "));
        CHECK(error_of(fixture, std::string("\xFF\xFE#\0 \0", 6)).starts_with("results: is UTF-16 text; "));
    }
}

TEST_CASE("a file of another kind names the place and the option") {
    for (const Fixture& given : import_fixtures::all())
        for (const auto& other : kImportFormats) {
            if (other.value == given.format) continue;
            CAPTURE(given.path);
            CAPTURE(other.name);
            const std::string error = error_of({other.value, given.path, given.sku, 0}, read(given.path));
            CAPTURE(error);
            CHECK(error.starts_with("results:"));
            CHECK(error.find("--from") != std::string::npos);
        }
}

TEST_CASE("a file cut off anywhere is an error, or the samples of the rows that are whole") {
    for (const Fixture& fixture : import_fixtures::all()) {
        CAPTURE(fixture.path);
        const std::string text = read(fixture.path);
        const auto all = import_text(fixture.format, text, fixture.sku).samples;
        std::size_t errors = 0;
        for (std::size_t length = 0; length < text.size(); ++length) {
            std::vector<Sample> samples;
            try {
                samples = import_text(fixture.format, text.substr(0, length), fixture.sku).samples;
            } catch (const InputError& error) {
                ++errors;
                continue;
            }
            CAPTURE(length);
            // Every sample is right, and none that stands in a whole line is missing.
            REQUIRE(samples.size() <= all.size());
            REQUIRE(std::equal(samples.begin(), samples.end(), all.begin(), [](const Sample& cut, const Sample& whole) {
                return cut.point == whole.point && cut.algorithm == whole.algorithm && cut.status == whole.status &&
                       cut.latency_us == whole.latency_us && cut.session == whole.session;
            }));
            const std::size_t line_start = text.rfind('\n', length - 1) + 1; // 0 for the first line
            if (!is_json(fixture) && line_start < length) {
                std::string lines = text.substr(0, line_start);
                if (const std::string error = error_of(fixture, lines); error.empty())
                    REQUIRE(samples.size() >= import_text(fixture.format, lines, fixture.sku).samples.size());
            }
        }
        CHECK(errors > 0);
        if (is_json(fixture)) CHECK(errors + 1 >= text.size()); // one byte may be the last line end
    }
}

TEST_CASE("a damaged line is an error that names it, whichever line it is") {
    for (const Fixture& fixture : import_fixtures::all()) {
        if (is_json(fixture)) continue; // has no rows of lines; see below
        CAPTURE(fixture.path);
        std::string text = read(fixture.path);
        std::erase(text, '\r');
        int line = 1;
        for (std::size_t at = 0; at < text.size(); at = text.find('\n', at) + 1, ++line) {
            CAPTURE(line);
            const std::string place = "results:" + std::to_string(line) + ": ";
            std::string inserted = text;
            inserted.insert(at, "garbage\n");
            CHECK(error_of(fixture, inserted).starts_with(place));
            // The last rows of a table lost their tail.
            const std::size_t end = text.find('\n', at);
            const bool is_row = text[at] == '|' || fixture.path.ends_with(".csv");
            if (!is_row || text.compare(at, 2, "|-") == 0 || text.compare(at, 2, "|:") == 0) continue;
            std::string halved = text;
            halved.erase(at + (end - at) / 2, end - at - (end - at) / 2);
            CHECK(error_of(fixture, halved).starts_with(place));
        }
    }
}

TEST_CASE("cells that cannot be right") {
    struct Case {
        std::string path, from, to, error;
    };
    const std::vector<Case> cases{
        {"published/vllm-b200-tp8.md", "0.086 ", "0.08g ", "results:19: time is `0.08g`"},
        {"published/vllm-b200-tp8.md", "0.086 ", "-0.086", "results:19: time is `-0.086`"},
        {"published/vllm-b200-tp8.md", "0.086 ", "      ", "results:19: time is ``"},
        {"published/vllm-b200-tp8.md", "0.086 ", "8.6e99", "results:19: time is 8.6e99, over an hour"},
        {"published/vllm-b200-tp8.md", "0.086 ", "1e-9  ", "results:19: time is 1e-9, under a nanosecond"},
        {"published/vllm-b200-tp8.md", "World Size:** 8", "World Size:** eight", "results:3: world size is `eight`"},
        {"published/vllm-b200-tp8.md", "World Size:** 8", "World Size:** 1", "results:3: world size is `1`"},
        {"published/vllm-b200-tp8.md", "**World Size:** 8", "", "results:11: no `**World Size:**`"},
        {"published/vllm-b200-tp8.md", "num_tokens=32", "num_tokens=99999999999999999999", "results:11: number of"},
        {"published/vllm-b200-tp8.md", "num_tokens=32", "num_tokens=0", "results:11: number of tokens is `0`"},
        {"published/vllm-b200-tp8.md", "num_tokens=32", "num_tokens=33", "results:11: input size is `0.50 MB`, but"},
        {"published/vllm-b200-tp8.md", "dtype=bfloat16", "dtype=int8", "results:11: dtype is `int8`"},
        {"published/vllm-b200-tp8.md", "with residual", "with residue", "results:11: cannot read this heading"},
        {"published/vllm-b200-tp8.md", "Time (ms)", "Time (us)", "results:14: second column is `Time (us)`"},
        {"published/vllm-b200-tp8.md", "Modes:** none", "Modes:** fp8", "results:16: an operation of quant mode none"},
        {"published/vllm-b200-tp8.md", "Modes:** none", "Modes:** int4", "results:7: quantization mode `int4`"},
        {"published/vllm-b200-tp8.md", "Trials:** 100", "Trials:** -1", "results:6: benchmark trials is `-1`"},
        {"published/vllm-b200-tp8.md", "Oneshot", "Fp8 Fp4", "results:18: the operation says fp8 and fp4"},
        {"published/sglang-h100-tp4-none.md", "seq_len=32", "num_tokens=32", "results:11: `num_tokens=32` is not what"},
        {"published/vllm-b200-tp8.md", "| 0.086     | 0.35x    |", "| 0.086 | 0.35x | 9 |",
         "results:19: not a row of three"},
        {"published/vllm-b200-tp8.md", "| 0.086     | 0.35x    |", "| 0.086 |", "results:19: not a row of three"},
        {"published/vllm-b200-tp8.md", "| 0.086     | 0.35x    |", "| 0.086 | 0.35x", "results:19: not a row of three"},
        {"published/vllm-b200-tp8.md", "| Operation ", "| Operatio ", "results:14: a row above the table's header"},
        {"import/flashinfer.csv", "0.006432", "0.0064x", "results:2: time is `0.0064x`"},
        {"import/flashinfer.csv", "0.00012", "some", "results:2: time is `some`"},
        {"import/flashinfer.csv", "median_time", "mean_time",
         "results:1: is not a CSV of FlashInfer's benchmark: it has no column `median_time`"},
        {"import/flashinfer.csv", "routine,median_time", "median_time,routine",
         "results:1: `routine` is not its first"},
        {"import/flashinfer.csv", "torch.bfloat16", "torch.int8", "results:2: dtype is `torch.int8`"},
        {"import/flashinfer.csv", ",ar_residual_rmsnorm,", ",7,", "results:2: pattern is `7`"},
        {"import/tensorrt-llm.csv", "32768", "32767", "results:2: size says 32767 bytes"},
        {"import/tensorrt-llm.csv", ",NONE,", ",MOE,", "results:2: fusion is `MOE`"},
        {"import/tensorrt-llm.csv", ",allreduce,", ",gemm_allreduce,", "results:2: op is `gemm_allreduce`"},
        {"import/tensorrt-llm.csv", "14.2105", "1e", "results:2: time is `1e`"},
        {"import/tensorrt-llm.csv", ",NCCL,", ",,", "results:2: `` is no name"},
        {"import/tensorrt-llm.csv", ",NCCL,", ",\"NCCL,", "results:2: a quote is not closed"},
        {"published/vllm-pr-22086.csv", ",none,", ",int4,", "results:2: quant is `int4`"},
        {"published/vllm-pr-22086.csv", ",yes,", ",maybe,", "results:2: residual is `maybe`"},
        {"published/vllm-pr-22086.csv", "nccl_separate", "not_measured", "results:2: `not_measured` is no name"},
        {"import/vllm-communicators.json", "\"world_size\"", "\"world\"", "results:1: `world_size` is missing"},
        {"import/vllm-communicators.json", "0.008103", "\"fast\"", "results:15: time is `fast`"},
        {"import/vllm-communicators.json", "0.008103", "[8]", "results:15: `ca_1stage` is not a single value"},
        {"import/vllm-communicators.json", "\"16\":", "\"sixteen\":", "results:13: number of tokens is `sixteen`"},
        {"import/vllm-communicators.json", "\"world_size\": 8", "\"world_size\": 1e99",
         "results:2: world size is `1e99`"},
        {"import/vllm-communicators.json", "8192", "0", "results:4: hidden size is `0`"},
        {"import/vllm-communicators.json", "ca_2stage", "ca_1stage", "results:16: `ca_1stage` twice in `timings`"},
        {"import/vllm-communicators.json", "torch.bfloat16", "int8", "results:3: dtype is `int8`"},
        {"import/vllm-communicators.json", "\"timings\": {", "\"timings\": [{", "results:2"},
        {"import/vllm-communicators.json", "{", "{ &a", "results:1: `&` outside a string"},
    };
    for (const Case& damage : cases) {
        CAPTURE(damage.from);
        CAPTURE(damage.to);
        const Fixture given = fixture(damage.path);
        const std::string error = error_of(given, replaced(read(given.path), damage.from, damage.to));
        CAPTURE(error);
        CHECK(error.starts_with(damage.error));
        CHECK(error.find("; ") != std::string::npos); // says what to do
        CHECK(error.find('\n') == std::string::npos);
    }
}

TEST_CASE("a heading with nothing below it") {
    const Fixture given = fixture("published/vllm-b200-tp8.md");
    std::string text = read(given.path);
    text.resize(text.rfind("| Operation")); // the last of four sections, at line 41
    CHECK(error_of(given, text).starts_with("results:41: has no rows below it; "));
    // What vLLM writes where every operation failed to start.
    const Imported imported = import_text(given.format, text + "No results.\n", given.sku);
    CHECK(imported.samples.size() == 12);
    CHECK(imported.notes.empty());
}

TEST_CASE("a JSON object without an end names its beginning") {
    const Fixture given = fixture("import/vllm-communicators.json");
    const std::string text = read(given.path);
    CHECK(error_of(given, text + "\n" + text.substr(0, text.size() - 1))
              .starts_with("results:37: the JSON object that begins here does not end; "));
    CHECK(error_of(given, text + "}").starts_with("results:36: is not the JSON of "));
}

TEST_CASE("a table with fewer rows than its siblings is pointed out") {
    const Fixture given = fixture("published/vllm-b200-tp8.md");
    std::string text = read(given.path);
    text.resize(text.rfind("| Flashinfer"));
    const Imported imported = import_text(given.format, text, given.sku);
    CHECK(imported.samples.size() == 15);
    REQUIRE(imported.notes.size() == 1);
    CHECK(imported.notes.front() == "results: line 41: 3 rows, others of this run have 4; is the file cut off?");
}

TEST_CASE("a file that ends in the middle of its times") {
    const Fixture given = fixture("import/tensorrt-llm.csv");
    std::string text = read(given.path);
    text.resize(text.size() - 2); // "…,58.125" → "…,58.12"
    CHECK(error_of(given, text).find("time may be cut off") != std::string::npos);
}

TEST_CASE("files that are not there") {
    const std::filesystem::path missing = "/nowhere/results.md";
    const std::filesystem::path folder = CROSSOVER_SOURCE_DIR;
    for (const auto& path : {missing, folder})
        CHECK_THROWS_AS(
            import_files(ImportFormat::vllm, {&path, 1}, import_fixtures::options_for(ImportFormat::vllm, "B200")),
            InputError);
}

TEST_CASE("control characters of a file get into no note and no error") {
    const Fixture flashinfer = fixture("import/flashinfer.csv");
    // A blank inside a line, to a reader of lines: only a quote or a tool's crash puts it there.
    const std::string odd = replaced(read(flashinfer.path), ",mnnvl,mnnvl_ar", ",mn\rnvl,mnnvl_ar");
    for (const Sample& sample : import_text(flashinfer.format, odd, flashinfer.sku).samples)
        CHECK(sample.note.find('\r') == std::string::npos);

    const std::string error =
        error_of(flashinfer, replaced(read(flashinfer.path), ",ar_residual_rmsnorm,", ",ar\t\rwhat,"));
    CHECK(error.find("pattern is `ar??what`") != std::string::npos);
}
