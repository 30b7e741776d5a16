#include "output/emit.hpp"
#include "output/html_report.hpp"
#include "tuner/cli/commands.hpp"
#include "tuner/cli/evaluation.hpp"
#include "tuner/cli/options.hpp"
#include "tuner/cli/sample_files.hpp"
#include "tuner/error.hpp"
#include "tuner/make_table.hpp"

#include <algorithm>
#include <filesystem>
#include <iostream>

namespace crossover {
namespace {

namespace fs = std::filesystem;

const Usage kReportUsage{
    .name = "report",
    .arguments = "RUN_DIR",
    .purpose = "Draws a table and the samples it rests on as one HTML file without scripts: latency curves, the\n"
               "limits with their intervals, what the table's choice loses at each point, and each hidden_dim's own\n"
               "limits. RUN_DIR is an --out folder of tune; --table and --samples name the files one by one."};

/// Which files the user named.
struct Files {
    fs::path table, samples, out; // out empty: standard output
};

Files files_of_run(const fs::path& run) {
    if (!fs::is_directory(run))
        throw InputError(run.string(), "no such folder", "name the --out folder of a tune, or --table and --samples");
    return {.table = run / "table.yaml", .samples = run / "samples.csv", .out = run / "report.html"};
}

std::vector<Sample> read_samples_of(const Table& table, const fs::path& path) {
    std::vector<Sample> samples = read_samples(path);
    require_some(samples, path);
    require_gpu_of(table.fingerprint, "table", samples, path);
    if (std::none_of(samples.begin(), samples.end(),
                     [&](const Sample& sample) { return find_cell(table, sample.point.cell) != nullptr; }))
        throw InputError(path.string(), "no sample is of a cell of the table",
                         "name the samples.csv that the table was fitted to");
    return samples;
}

} // namespace

int run_report(const std::vector<std::string>& arguments) {
    std::vector<std::string> runs, others;
    std::string table_file, samples_file, out;
    po::options_description options;
    // clang-format off
    options.add_options()
        ("run", po::value(&runs)->value_name("DIR"), "the folder of a run; the option's name can be left out")
        ("table", po::value(&table_file)->value_name("FILE"), "table.yaml, with --samples instead of a run")
        ("samples", po::value(&samples_file)->value_name("FILE"), "samples.csv that the table was fitted to")
        ("against", po::value(&others)->value_name("FILE"),
         "another table, an engine's rule (configs/incumbents/*.yaml), or a folder of them, whose regret is to stand "
         "beside the table's; may be given several times")
        ("out", po::value(&out)->value_name("FILE"),
         "file to write; report.html in the run's folder, without one standard output, if left out");
    // clang-format on
    const auto values =
        parse_options(kReportUsage, options, arguments, po::positional_options_description().add("run", -1));
    if (!values) return 0;

    const bool has_table = values->count("table") != 0, has_samples = values->count("samples") != 0;
    if (runs.size() + (has_table || has_samples ? 1 : 0) != 1 || has_table != has_samples)
        throw InputError("report", "it draws one run, or one table with its samples",
                         "write `crossover report RUN_DIR`, or give both --table and --samples");
    Files files =
        has_table ? Files{.table = table_file, .samples = samples_file, .out = {}} : files_of_run(runs.front());
    if (values->count("out") != 0) files.out = out;

    const Table table = read_table(files.table);
    const RunRecord record = record_beside(files.samples);
    const auto [fitted, held_out] = split_samples(read_samples_of(table, files.samples), record);
    std::vector<NamedRegret> regrets;
    for (const fs::path& path : table_files(others)) {
        const Contender other = read_contender(path);
        Evaluation seen = evaluate(other, fitted), unseen = evaluate(other, held_out);
        regrets.push_back(
            {.name = std::move(seen.name), .fitted = std::move(seen.report), .held_out = std::move(unseen.report)});
    }
    FitOptions fit = record.config ? fit_options(*record.config) : FitOptions{};
    fit.guard_band = guard_band_of(table).value_or(fit.guard_band); // `fit --guard-band` may have had another
    const std::string html =
        emit_html({.table = table, .fitted = fitted, .held_out = held_out, .fit = fit, .others = regrets});
    if (files.out.empty()) {
        std::cout << html;
        return 0;
    }
    write_atomically(files.out, html);
    std::cout << "Written to " << files.out.string() << '\n';
    return 0;
}

} // namespace crossover
