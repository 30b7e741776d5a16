#include "output/emit.hpp"
#include "tuner/cli/commands.hpp"
#include "tuner/cli/options.hpp"
#include "tuner/cli/sample_files.hpp"
#include "tuner/cli/words.hpp"
#include "tuner/error.hpp"
#include "tuner/make_table.hpp"

#include <iostream>

namespace crossover {
namespace {

namespace fs = std::filesystem;

const Usage kFitUsage{
    .name = "fit",
    .purpose = "Makes a table from samples. What the samples do not say (driver, topology, config) is read from\n"
               "the provenance.yaml of their run."};

} // namespace

int run_fit(const std::vector<std::string>& arguments) {
    std::string samples_file, provenance_file, guard_band, out;
    po::options_description options;
    // clang-format off
    options.add_options()
        ("samples", po::value(&samples_file)->value_name("FILE")->required(), "samples.csv")
        ("provenance", po::value(&provenance_file)->value_name("FILE"),
         "provenance.yaml; the one beside the samples if left out")
        ("guard-band", po::value(&guard_band)->value_name("SHARE"),
         "share by which an algorithm must be faster to displace the baseline, `2%` or `0.02`; the run's config, or 2%, if left out")
        ("out", po::value(&out)->value_name("FILE"), "table to write; standard output if left out");
    // clang-format on
    const auto values = parse_options(kFitUsage, options, arguments);
    if (!values) return 0;

    const std::vector<Sample> samples = read_samples(samples_file);
    require_some(samples, samples_file);
    const fs::path provenance = values->count("provenance") != 0
                                    ? fs::path(provenance_file)
                                    : fs::path(samples_file).parent_path() / "provenance.yaml";
    if (!fs::exists(provenance))
        throw InputError(provenance.string(), "not there, so the machine of the samples is unknown",
                         "name the provenance.yaml of their run with --provenance");
    const RunRecord record = read_provenance(provenance);
    require_gpu_of(record.fingerprint, "provenance", samples, samples_file);
    if (record.source != "import") require_kernels_for(samples, samples_file);

    FitOptions fit = record.config ? fit_options(*record.config) : FitOptions{};
    if (values->count("guard-band") != 0) {
        fit.guard_band = fraction_option("--guard-band", guard_band);
        if (fit.guard_band > 0.5)
            throw InputError("--guard-band", "`" + guard_band + "` is above 50 %", "write a share such as 2%");
    }
    const Table table = make_table(samples, record, fit).table;
    if (values->count("out") == 0) {
        std::cout << emit_yaml(table);
        return 0;
    }
    write_atomically(out, emit_yaml(table));
    std::cout << emit_summary(table);
    return 0;
}

} // namespace crossover
