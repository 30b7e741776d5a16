#include "tuner/samples/importers/import.hpp"
#include "tuner/cli/commands.hpp"
#include "tuner/cli/options.hpp"
#include "tuner/cli/words.hpp"
#include "tuner/error.hpp"
#include "tuner/joined.hpp"
#include "tuner/samples/run_record.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <iostream>
#include <set>

namespace crossover {
namespace {

const Usage kImportUsage{
    .name = "import",
    .arguments = "FILE...",
    .purpose =
        "Turns result files of other benchmarks into samples, so that `crossover fit` makes a table for their "
        "kernels.\n"
        "Formats (--from):\n"
        "  vllm                benchmark_fused_collective.py --output-file (Markdown)\n"
        "  sglang              SGLang's version of that script\n"
        "  vllm-communicators  benchmark_device_communicators.py --output-json\n"
        "  flashinfer          flashinfer_benchmark.py --routine allreduce_fusion --output_path (needs --world-size)\n"
        "  tensorrt-llm        all_reduce.py --save_csv, with or without --benchmark\n"
        "  vllm-pr             CSV of published numbers with a `gpu` column; --sku picks the rows\n"
        "Speed-up columns are not read. FAILED, nan and 0.0 become failed samples. A run that comes again, in the "
        "same\n"
        "file or another one, is one more session.\n"
        "Algorithms: `oneshot` and `twoshot` are FlashInfer's kernels of --backend, TensorRT-LLM's ONESHOT and "
        "TWOSHOT,\n"
        "vLLM's ca_1stage and ca_2stage. `nccl_separate` is the all-reduce followed by the engine's own norm (and "
        "quant)\n"
        "kernel, `nccl_fused_norm` its compiled form or TensorRT-LLM's NCCL, `nccl` a plain all-reduce. Others keep "
        "their\n"
        "name and can be baselines; fused kernels of another backend and a library's own choice (AUTO) cannot: they "
        "become\n"
        "skipped samples, with their time in the note."};

void print_summary(const Imported& imported) {
    const auto count = [&](SampleStatus status) {
        return std::count_if(imported.samples.begin(), imported.samples.end(),
                             [&](const Sample& sample) { return sample.status == status; });
    };
    std::set<CellKey> cells, with_baseline;
    for (const Sample& sample : imported.samples) {
        cells.insert(sample.point.cell);
        if (sample.status == SampleStatus::ok && !algorithm::is_challenger(sample.algorithm))
            with_baseline.insert(sample.point.cell);
    }
    for (const std::string& note : imported.notes) std::cerr << "crossover: note: " << note << '\n';
    if (with_baseline.size() < cells.size())
        std::cerr << "crossover: note: " << cells.size() - with_baseline.size() << " of " << cells.size()
                  << " cells have no time of an unfused algorithm, without which `fit` has no limits for them\n";
    std::cerr << "crossover: imported " << imported.samples.size() << " samples of " << cells.size()
              << " cells: " << count(SampleStatus::ok) << " ok, " << count(SampleStatus::failed) << " failed, "
              << count(SampleStatus::skipped) << " skipped\n";
}

/// samples.csv and, beside it, the provenance.yaml that `crossover fit` reads.
void write_run(const std::filesystem::path& out, const std::vector<Sample>& samples, const RunRecord& record) {
    namespace fs = std::filesystem;
    const fs::path provenance = out.parent_path() / "provenance.yaml";
    for (const fs::path& path : {out, provenance})
        if (fs::exists(path))
            throw InputError("--out", "`" + path.string() + "` is there and may be of a measured run",
                             "name a file in a new folder");
    std::error_code error;
    if (out.has_parent_path()) fs::create_directories(out.parent_path(), error);
    if (error) throw InputError("--out", "cannot create its folder: " + error.message(), "name another folder");
    write_provenance(provenance, record);
    write_samples(out, samples);
}

} // namespace

int run_import(const std::vector<std::string>& arguments) {
    std::string from, out, topology;
    std::vector<std::string> files;
    ImportOptions import;
    Fingerprint fingerprint;
    po::options_description options;
    // clang-format off
    options.add_options()
        ("from", po::value(&from)->value_name("FORMAT")->required(), "which tool wrote the files")
        ("sku", po::value(&import.sku)->value_name("NAME"), "GPU they were measured on, e.g. 'NVIDIA H200'")
        ("compute-capability", po::value(&import.compute_capability)->value_name("X.Y"), "its compute capability, e.g. 9.0")
        ("world-size", po::value<int>()->value_name("N"), "number of GPUs, for files that do not say it")
        ("backend", po::value(&import.backend)->value_name("NAME")->default_value(import.backend),
         "whose FlashInfer kernels are `oneshot` and `twoshot`: trtllm or mnnvl")
        ("topology", po::value(&topology)->value_name("NAME")->default_value(fingerprint.topology),
         "how the GPUs were connected: nvswitch, nvlink or pcie")
        ("multicast", "NVLink multicast was on")
        ("nodes", po::value(&fingerprint.nodes)->value_name("N")->default_value(1), "hosts that took part")
        ("out", po::value(&out)->value_name("FILE"),
         "new samples.csv, with a provenance.yaml beside it for `crossover fit`; standard output if left out")
        ("file", po::value(&files)->value_name("FILE")->required(), "result files (also without --file)");
    // clang-format on
    const auto values =
        parse_options(kImportUsage, options, arguments, po::positional_options_description().add("file", -1));
    if (!values) return 0;
    if (values->count("world-size") != 0) import.world_size = (*values)["world-size"].as<int>();
    const ImportFormat format = word_option("--from", from, kImportFormats);
    fingerprint.topology = word_option("--topology", topology, kTopologies);
    fingerprint.multicast = values->count("multicast") != 0;
    if (fingerprint.nodes < 1)
        throw InputError("--nodes", std::to_string(fingerprint.nodes) + " is less than one host",
                         "give how many hosts took part");

    const std::vector<std::filesystem::path> paths(files.begin(), files.end());
    const Imported imported = import_files(format, paths, import);
    if (out.empty()) {
        std::cout << samples_csv(imported.samples);
    } else {
        fingerprint.sku = import.sku;
        fingerprint.compute_capability = import.compute_capability;
        RunRecord record{.source = "import", .fingerprint = fingerprint, .provenance = {}, .config = {}};
        record.provenance.extra["imported_from"] =
            from + ": " + joined(paths, ", ", [](const auto& path) { return path.filename().string(); });
        write_run(out, imported.samples, record);
    }
    print_summary(imported);
    return 0;
}

} // namespace crossover
