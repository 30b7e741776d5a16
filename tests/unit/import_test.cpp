#include "tuner/samples/importers/import.hpp"

#include "tests/support/import_fixtures.hpp"
#include "tuner/error.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <sstream>
#include <string>

using namespace crossover;
using import_fixtures::import_text;
using import_fixtures::read;

namespace {

CellKey cell(int world_size, Quant quant = Quant::none, Pattern pattern = Pattern::allreduce_residual_rmsnorm,
             DType dtype = DType::bfloat16) {
    return {.pattern = pattern, .dtype = dtype, .quant = quant, .world_size = world_size};
}

/// The one sample of this algorithm at this point and session.
Sample find(const std::vector<Sample>& samples, const CellKey& key, std::int64_t num_tokens,
            const std::string& algorithm, int session = 0) {
    std::vector<Sample> found;
    std::copy_if(samples.begin(), samples.end(), std::back_inserter(found), [&](const Sample& sample) {
        return sample.point.cell == key && sample.point.num_tokens == num_tokens && sample.algorithm == algorithm &&
               sample.session == session;
    });
    CAPTURE(algorithm);
    REQUIRE(found.size() == 1);
    return found.front();
}

std::string error_of(ImportFormat format, const std::string& text, const ImportOptions& options) {
    const ImportInput input{text, "results"};
    try {
        import_samples(format, {&input, 1}, options);
    } catch (const InputError& error) {
        return error.what();
    }
    return "";
}

} // namespace

TEST_CASE("every result file there is is imported here") {
    for (const std::string folder : {"published", "import"})
        for (const auto& entry : std::filesystem::directory_iterator(CROSSOVER_SOURCE_DIR "/tests/data/" + folder)) {
            const std::string path = folder + "/" + entry.path().filename().string();
            CHECK_MESSAGE(std::ranges::count(import_fixtures::all(), path, &import_fixtures::Fixture::path) > 0, path);
        }
}

TEST_CASE("every result file gives one sample a row") {
    for (const auto& fixture : import_fixtures::all()) {
        CAPTURE(fixture.path);
        const Imported imported = import_text(fixture.format, read(fixture.path), fixture.sku);
        CHECK(imported.samples.size() == fixture.samples);
        for (const Sample& sample : imported.samples) {
            CHECK(sample.sku == fixture.sku);
            CHECK(sample.compute_capability == (fixture.sku == "NVIDIA B200" ? "10.0" : "9.0"));
            CHECK(sample.session == 0);
            CHECK(sample.rel_error == 0);
            if (sample.status == SampleStatus::ok) {
                CHECK(sample.latency_us > 0);
                CHECK(sample.p10_us > 0);
                CHECK(sample.p10_us < sample.latency_us);
                CHECK(sample.p90_us > sample.latency_us);
                CHECK(sample.note.empty());
            } else {
                CHECK(sample.latency_us == 0);
                CHECK(sample.p10_us == 0);
                CHECK(sample.p90_us == 0);
                CHECK_FALSE(sample.note.empty());
            }
        }
    }
}

TEST_CASE("vLLM: times, rounding, algorithms") {
    const auto samples = import_text(ImportFormat::vllm, read("published/vllm-b200-tp8.md"), "NVIDIA B200").samples;
    const Sample oneshot = find(samples, cell(8), 32, "oneshot");
    CHECK(oneshot.latency_us == 14);
    CHECK(oneshot.p10_us == 13.5);
    CHECK(oneshot.p90_us == 14.5);
    CHECK(oneshot.replays == 100);
    CHECK(message_bytes(oneshot.point) == 524288);
    CHECK(find(samples, cell(8), 256, "nccl_separate").latency_us == 52);
    CHECK(find(samples, cell(8), 256, "nccl_fused_norm").latency_us == 51);
    CHECK(find(samples, cell(8), 256, "twoshot").latency_us == 71);
}

TEST_CASE("vLLM: failures, cut zeros, quant modes, another backend") {
    const std::string text = read("import/vllm-failed.md");
    const auto samples = import_text(ImportFormat::vllm, text, "NVIDIA B200").samples;
    const Pattern norm = Pattern::allreduce_rmsnorm;
    const CellKey none = cell(4, Quant::none, norm), fp8 = cell(4, Quant::fp8, norm), fp4 = cell(4, Quant::fp4, norm);

    // 0.100 is printed as 0.1: still rounded to 1 µs.
    const Sample separate = find(samples, none, 1024, "nccl_separate");
    CHECK(separate.latency_us == 100);
    CHECK(separate.p10_us == 99.5);
    CHECK(separate.p90_us == 100.5);
    CHECK(find(samples, none, 1024, "standard_allreduce_native_rms_norm").latency_us == 131);

    const Sample failed = find(samples, none, 1024, "oneshot");
    CHECK(failed.status == SampleStatus::failed);
    CHECK(failed.note == "the file says FAILED");
    CHECK(find(samples, fp8, 1024, "oneshot").status == SampleStatus::failed);
    CHECK(find(samples, fp8, 1024, "oneshot").note == "the file says 0.000");

    CHECK(find(samples, fp8, 1024, "nccl_separate").latency_us == 108);
    CHECK(find(samples, fp8, 1024, "nccl_fused_norm").latency_us == 92);
    CHECK(find(samples, fp8, 1024, "standard_allreduce_custom_rms_norm_native_quant").latency_us == 120);
    CHECK(find(samples, fp4, 1024, "nccl_separate").latency_us == 118);
    CHECK(find(samples, fp4, 1024, "twoshot").latency_us == 90);

    // A second fused library is neither a baseline nor the table's oneshot, unless asked for.
    const Sample other = find(samples, none, 1024, "mnnvl_twoshot");
    CHECK(other.status == SampleStatus::skipped);
    CHECK(other.note == "81 us; no baseline, the same kernel of another library: import with --backend mnnvl");
    ImportOptions options{.sku = "B200", .compute_capability = "10.0", .world_size = {}, .backend = "mnnvl"};
    const ImportInput input{text, "results"};
    const auto mnnvl = import_samples(ImportFormat::vllm, {&input, 1}, options).samples;
    CHECK(find(mnnvl, none, 1024, "twoshot").latency_us == 81);
    CHECK(find(mnnvl, none, 1024, "trtllm_twoshot").status == SampleStatus::skipped);
}

TEST_CASE("speed-up columns are not read") {
    std::string text = read("published/vllm-b200-tp8.md");
    const auto samples = import_text(ImportFormat::vllm, text, "NVIDIA B200").samples;
    for (std::size_t at; (at = text.find("2.22x")) != std::string::npos;) text.replace(at, 5, "FAILED");
    CHECK(import_text(ImportFormat::vllm, text, "NVIDIA B200").samples == samples);
}

TEST_CASE("SGLang: old and new names, quant modes, with and without residual") {
    const auto fp8 = import_text(ImportFormat::sglang, read("published/sglang-h100-tp2-fp8.md"), "NVIDIA H100").samples;
    CHECK(find(fp8, cell(2, Quant::fp8), 128, "oneshot").latency_us == 30);
    CHECK(find(fp8, cell(2, Quant::fp8), 128, "nccl_fused_norm").latency_us == 17);
    CHECK(find(fp8, cell(2, Quant::fp8), 128, "nccl_separate").latency_us == 18);

    const auto both = import_text(ImportFormat::sglang, read("import/sglang-both-residuals.md"), "NVIDIA H100").samples;
    const auto key = [](Pattern pattern, Quant quant) { return cell(2, quant, pattern, DType::float16); };
    CHECK(find(both, key(Pattern::allreduce_residual_rmsnorm, Quant::none), 128, "oneshot").latency_us == 9);
    CHECK(find(both, key(Pattern::allreduce_rmsnorm, Quant::none), 128, "oneshot").latency_us == 8);
    CHECK(find(both, key(Pattern::allreduce_residual_rmsnorm, Quant::fp4), 128, "nccl_separate").status ==
          SampleStatus::failed);
    CHECK(find(both, key(Pattern::allreduce_rmsnorm, Quant::fp4), 128, "nccl_separate").latency_us == 20);
}

TEST_CASE("the Markdown files and the published CSV say the same") {
    const auto csv = import_text(ImportFormat::vllm_pr, read("published/vllm-pr-22086.csv"), "NVIDIA B200").samples;
    std::size_t compared = 0;
    for (const std::string world : {"2", "4", "8"})
        for (Sample sample :
             import_text(ImportFormat::vllm, read("published/vllm-b200-tp" + world + ".md"), "NVIDIA B200").samples) {
            sample.replays = 0; // the CSV does not say
            CHECK(find(csv, sample.point.cell, sample.point.num_tokens, sample.algorithm) == sample);
            ++compared;
        }
    CHECK(compared == 48);
}

TEST_CASE("published CSV: one GPU's rows, labels as they are") {
    const Imported imported = import_text(ImportFormat::vllm_pr, read("published/vllm-pr-22086.csv"), "NVIDIA B200");
    REQUIRE(imported.notes.size() == 1);
    CHECK(imported.notes.front() == "results: 48 rows of `H100` left out");
    CHECK(find(imported.samples, cell(4, Quant::fp8), 64, "nccl_fused_norm").latency_us == 141);
    // The last section is labelled "no residual".
    CHECK(find(imported.samples, cell(8, Quant::fp8, Pattern::allreduce_rmsnorm), 256, "oneshot").latency_us == 95);
    // A word of the SKU must be the label, not a part of it.
    const std::string bridged = "B200-NVL";
    std::string text = read("published/vllm-pr-22086.csv");
    text.replace(text.find("H100"), 4, bridged);
    CHECK(import_text(ImportFormat::vllm_pr, text, "NVIDIA B200").samples.size() == 96);
    const ImportOptions wrong{.sku = "NVIDIA GB200", .compute_capability = "10.0", .world_size = {}};
    CHECK(error_of(ImportFormat::vllm_pr, read("published/vllm-pr-22086.csv"), wrong) ==
          "results: has rows of `B200`, `H100`, none of NVIDIA GB200; name one of them with --sku");
}

TEST_CASE("vLLM communicators: plain all-reduce, every communicator under a name") {
    const auto samples =
        import_text(ImportFormat::vllm_communicators, read("import/vllm-communicators.json"), "NVIDIA H200").samples;
    const CellKey key = cell(8, Quant::none, Pattern::allreduce);
    const Sample oneshot = find(samples, key, 16, "oneshot");
    CHECK(oneshot.latency_us == 8.103);
    CHECK(oneshot.p10_us == doctest::Approx(8.1025).epsilon(1e-9));
    CHECK(oneshot.replays == 50);
    CHECK(find(samples, key, 16, "twoshot").latency_us == 11.471);
    CHECK(find(samples, key, 16, "nccl").latency_us == 21.344);
    CHECK(find(samples, key, 16, "nccl_symm").latency_us == 15.008);
    CHECK(find(samples, key, 16, "flashinfer_mnnvl").latency_us == 8.23);
    CHECK(find(samples, key, 1024, "twoshot").status == SampleStatus::failed);
    CHECK(find(samples, key, 1024, "nccl").latency_us == 118.266);
    std::set<std::string> names;
    for (const Sample& sample : samples) names.insert(sample.algorithm);
    CHECK(names == std::set<std::string>{"oneshot", "twoshot", "push_ar", "nccl", "nccl_symm", "symm_mem_multimem",
                                         "symm_mem_two_shot", "flashinfer_trtllm", "flashinfer_mnnvl"});
}

TEST_CASE("FlashInfer: columns by name, spread over replays, kernels outside the table") {
    const Imported imported = import_text(ImportFormat::flashinfer, read("import/flashinfer.csv"), "NVIDIA H200");
    const std::vector<Sample>& samples = imported.samples;
    const Sample oneshot = find(samples, cell(8), 16, "oneshot");
    CHECK(oneshot.latency_us == 6.432);
    // 1.2816 standard deviations of 0.12 µs to either side, as a factor
    CHECK(oneshot.p90_us == doctest::Approx(6.432 + 1.2816 * 0.12));
    CHECK(oneshot.p10_us == doctest::Approx(6.432 / (1 + 1.2816 * 0.12 / 6.432)));
    CHECK(find(samples, cell(8), 256, "twoshot").latency_us == 14.112);
    CHECK(find(samples, cell(8), 1024, "oneshot").status == SampleStatus::failed);
    const CellKey half = cell(8, Quant::none, Pattern::allreduce_residual_rmsnorm, DType::float16);
    CHECK(find(samples, half, 64, "oneshot").latency_us == 9.5);
    CHECK(find(samples, cell(8), 16, "mnnvl_oneshot").status == SampleStatus::skipped);
    CHECK(find(samples, cell(8), 16, "trtllm_auto").status == SampleStatus::skipped);
    CHECK(find(samples, cell(8, Quant::fp8), 16, "oneshot").status == SampleStatus::skipped);
    const CellKey plain = cell(8, Quant::none, Pattern::allreduce);
    CHECK(find(samples, plain, 16, "oneshot").latency_us == 5.12);
    CHECK(find(samples, plain, 16, "mnnvl_oneshot").status == SampleStatus::skipped);
    REQUIRE(imported.notes.size() == 1);
    CHECK(imported.notes.front() == "results: 1 row(s) of routine `rmsnorm` left out");
}

TEST_CASE("FlashInfer: a version with other columns, in another order") {
    // Of each row: routine, the last 60 columns, and a new one before the first 85.
    const auto reordered = [](const std::string& line) {
        std::vector<std::string> fields;
        std::istringstream in(line);
        for (std::string field; std::getline(in, field, ',');) fields.push_back(field);
        fields.resize(145);
        std::string out = fields[0];
        for (std::size_t i = 85; i < 145; ++i) out += "," + fields[i];
        out += ",new";
        for (std::size_t i = 1; i < 85; ++i) out += "," + fields[i];
        return out + "\n";
    };
    const std::string text = read("import/flashinfer.csv");
    std::string other;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) other += reordered(line);
    const auto samples = import_text(ImportFormat::flashinfer, text, "NVIDIA H200").samples;
    CHECK(import_text(ImportFormat::flashinfer, other, "NVIDIA H200").samples == samples);
}

TEST_CASE("TensorRT-LLM: both layouts") {
    const auto samples =
        import_text(ImportFormat::tensorrt_llm, read("import/tensorrt-llm.csv"), "NVIDIA B200").samples;
    const CellKey plain = cell(4, Quant::none, Pattern::allreduce);
    CHECK(find(samples, cell(4), 4, "oneshot").latency_us == 5.9125);
    CHECK(find(samples, cell(4, Quant::fp8), 1024, "twoshot").latency_us == 58.125);
    CHECK(find(samples, cell(4, Quant::fp4), 1024, "nccl_fused_norm").latency_us == 61.5);
    CHECK(find(samples, cell(4), 4, "nccl_symm_fused_norm").latency_us == 11.88);
    CHECK(find(samples, plain, 4, "nccl").latency_us == 14.2105);
    CHECK(find(samples, plain, 4, "nccl_symm").latency_us == 11.88);
    CHECK(find(samples, cell(4), 4, "auto").status == SampleStatus::skipped);

    const auto benchmark =
        import_text(ImportFormat::tensorrt_llm, read("import/tensorrt-llm-benchmark.csv"), "NVIDIA B200").samples;
    const CellKey half = cell(8, Quant::none, Pattern::allreduce_residual_rmsnorm, DType::float16);
    const CellKey plain_half = cell(8, Quant::none, Pattern::allreduce, DType::float16);
    CHECK(find(benchmark, half, 1, "twoshot").status == SampleStatus::failed);
    CHECK(find(benchmark, half, 1, "twoshot").note == "the file says 0.0");
    CHECK(find(benchmark, half, 2048, "twoshot").latency_us == 97.5);
    CHECK(find(benchmark, half, 1, "ub").status == SampleStatus::skipped);
    CHECK(find(benchmark, half, 1, "mnnvl").status == SampleStatus::skipped);
    CHECK(find(benchmark, plain_half, 1, "mnnvl").latency_us == 5.5);
}

TEST_CASE("a file appended to twice, or two files, are two sessions") {
    for (const auto& fixture : import_fixtures::all()) {
        CAPTURE(fixture.path);
        const std::string text = read(fixture.path);
        const auto once = import_text(fixture.format, text, fixture.sku).samples;
        const ImportOptions options = import_fixtures::options_for(fixture.format, fixture.sku);
        const ImportInput inputs[] = {{text, "first"}, {text, "second"}};
        for (const auto& twice :
             {import_text(fixture.format, text + text, fixture.sku), import_samples(fixture.format, inputs, options)}) {
            REQUIRE(twice.samples.size() == 2 * once.size());
            for (std::size_t i = 0; i < once.size(); ++i) {
                CHECK(twice.samples[i] == once[i]);
                Sample later = once[i];
                later.session = 1;
                CHECK(twice.samples[once.size() + i] == later);
            }
        }
    }
}

TEST_CASE("sessions hold what ran together, also where runs differ") {
    const std::string head = "gpu,world_size,hidden_dim,num_tokens,dtype,quant,residual,variant,latency_ms,speedup\n";
    const auto row = [](const std::string& variant, const std::string& ms) {
        return "B200,2,8192,32,bfloat16,none,yes," + variant + "," + ms + ",1x\n";
    };
    // The first run has no twoshot; the second run's must not be taken for the first's.
    const std::string runs = head + row("nccl_compiled", "0.013") + row("oneshot", "0.008") + head +
                             row("nccl_compiled", "0.014") + row("oneshot", "0.009") + row("twoshot", "0.030");
    const auto samples = import_text(ImportFormat::vllm_pr, runs, "B200").samples;
    REQUIRE(samples.size() == 5);
    CHECK(find(samples, cell(2), 32, "twoshot", 1).latency_us == 30);
    CHECK(find(samples, cell(2), 32, "oneshot", 1).latency_us == 9);
    // Rows appended without a header: each algorithm's second time is the second session.
    const std::string rows = head + row("nccl_compiled", "0.013") + row("nccl_compiled", "0.014") +
                             row("oneshot", "0.008") + row("oneshot", "0.009");
    const auto repeated = import_text(ImportFormat::vllm_pr, rows, "B200").samples;
    CHECK(find(repeated, cell(2), 32, "oneshot", 0).latency_us == 8);
    CHECK(find(repeated, cell(2), 32, "nccl_fused_norm", 1).latency_us == 14);
}

TEST_CASE("what the file does not say is asked for by its option") {
    const std::string text = read("import/flashinfer.csv");
    const ImportFormat format = ImportFormat::flashinfer;
    const ImportOptions good{.sku = "NVIDIA H200", .compute_capability = "9.0", .world_size = 8};
    REQUIRE(error_of(format, text, good).empty());
    const auto begins = [&](ImportOptions options, const std::string& start) {
        const std::string error = error_of(format, text, options);
        CAPTURE(error);
        CHECK(error.starts_with(start));
    };
    ImportOptions options = good;
    options.sku.clear();
    begins(options, "--sku: ");
    options = good;
    options.compute_capability.clear();
    begins(options, "--compute-capability: the file does not say it");
    options.compute_capability = "90";
    begins(options, "--compute-capability: `90`");
    options = good;
    options.world_size.reset();
    begins(options, "--world-size: results does not say it");
    options.world_size = 1;
    begins(options, "--world-size: 1 ");
    options = good;
    options.backend = "nccl";
    begins(options, "--backend: `nccl`");
    // A file that says it must not be contradicted.
    options = {.sku = "NVIDIA B200", .compute_capability = "10.0", .world_size = 4};
    CHECK(error_of(ImportFormat::vllm, read("published/vllm-b200-tp8.md"), options)
              .starts_with("results:16: world size is 8, --world-size says 4"));
}
