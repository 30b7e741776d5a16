#include "output/comparison.hpp"
#include "output/emit.hpp"
#include "tuner/cli/commands.hpp"
#include "tuner/cli/options.hpp"
#include "tuner/cli/sample_files.hpp"
#include "tuner/cli/words.hpp"
#include "tuner/error.hpp"
#include "tuner/fit/launches.hpp"
#include "tuner/named_words.hpp"
#include "tuner/samples/run_record.hpp"

#include <boost/algorithm/string.hpp>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <iostream>

namespace crossover {
namespace {

namespace fs = std::filesystem;

const Usage kCompareUsage{
    .name = "compare",
    .arguments = "OLD NEW",
    .purpose =
        "Compares two tables of one machine, cell by cell: same, moved, better, worse, new, missing, not comparable.\n"
        "OLD and NEW are each a table.yaml or an output folder of `crossover tune`; samples.csv in two such folders "
        "is\n"
        "used, too.\n\n"
        "With samples of both sides the time lost is computed; from tables alone it is estimated, and a slower fused\n"
        "algorithm cannot be told from a faster rival.\n\n"
        "Exit status: 0 nothing got worse; 1 a cell is worse or missing (with --strict, or not comparable), or no "
        "cell\n"
        "that was measured could be compared; 2 unusable input."};

std::set<std::string, std::less<>> parse_across(const std::string& text) {
    std::set<std::string, std::less<>> words;
    if (text.empty()) return words;
    std::vector<std::string> parts;
    boost::split(parts, text, boost::is_any_of(","));
    for (std::string& word : parts) {
        boost::trim(word);
        if (std::find(kAcrossWords.begin(), kAcrossWords.end(), word) == kAcrossWords.end())
            throw InputError("--across", "unknown word `" + word + "`", "choose from " + listed(kAcrossWords));
        words.insert(word);
    }
    return words;
}

using Format = std::function<std::string(const Comparison&)>;
Format parse_format(const std::string& name) {
    if (name == "text") return compare_text;
    if (name == "markdown") return compare_markdown;
    if (name == "json") return compare_json;
    if (name == "junit") return compare_junit;
    throw InputError("--format", "unknown format `" + name + "`", "choose text, markdown, json or junit");
}

/// OLD or NEW as named by the user: a table, or a folder that holds table.yaml.
Measured read_measured(const std::string& name) {
    const fs::path path = fs::is_directory(name) ? fs::path(name) / "table.yaml" : fs::path(name);
    return {.name = name, .table = read_table(path), .samples = {}};
}

/// The samples.csv of a `tune` output folder; empty if there is none.
fs::path samples_beside(const std::string& name) {
    const fs::path path = fs::path(name) / "samples.csv";
    return fs::is_directory(name) && fs::exists(path) ? path : fs::path();
}

/// Fused algorithms as the table launches them, so that launches that changed count by their time and nothing else.
std::vector<Sample> read_launched(const Table& table, const fs::path& path) {
    const std::vector<Sample> samples = read_samples_in_roles(path);
    require_gpu_of(table.fingerprint, "table", samples, path);
    return as_launched(samples, launches_of(table.cells));
}

} // namespace

int run_compare(const std::vector<std::string>& arguments) {
    std::vector<std::string> tables;
    std::string old_samples, new_samples, format_name, limit, across;
    po::options_description options;
    // clang-format off
    options.add_options()
        ("table", po::value(&tables)->value_name("OLD NEW"), "the two tables; the option's name can be left out")
        ("old-samples", po::value(&old_samples)->value_name("FILE"), "the samples.csv that OLD was fitted to")
        ("new-samples", po::value(&new_samples)->value_name("FILE"), "the samples.csv that NEW was fitted to")
        ("max-regression", po::value(&limit)->default_value("2%")->value_name("SHARE"),
         "time that may be lost before a cell is worse: `2%` or `0.02`")
        ("across", po::value(&across)->value_name("LIST"),
         "compare although these differ: driver, cuda, nccl, environment, cache, source (comma-separated)")
        ("strict", "exit with 1 also where some cells cannot be compared")
        ("format", po::value(&format_name)->default_value("text")->value_name("NAME"),
         "what to print: text, markdown, json or junit");
    // clang-format on
    const auto values =
        parse_options(kCompareUsage, options, arguments, po::positional_options_description().add("table", -1));
    if (!values) return 0;

    if (tables.size() != 2)
        throw InputError("compare", "it compares two tables, " + std::to_string(tables.size()) + " given",
                         "write `crossover compare OLD NEW`");
    const Format format = parse_format(format_name);
    const CompareOptions compare_options{.max_regression = fraction_option("--max-regression", limit),
                                         .strict = values->count("strict") != 0,
                                         .across = parse_across(across)};
    if (old_samples.empty() != new_samples.empty())
        throw InputError(old_samples.empty() ? "--new-samples" : "--old-samples", "samples of one side only",
                         "give both --old-samples and --new-samples, or neither");

    Measured before = read_measured(tables[0]), after = read_measured(tables[1]);
    if (old_samples.empty()) {
        const fs::path old_beside = samples_beside(tables[0]), new_beside = samples_beside(tables[1]);
        if (!old_beside.empty() && !new_beside.empty()) {
            old_samples = old_beside.string();
            new_samples = new_beside.string();
        } else if (!old_beside.empty() || !new_beside.empty()) {
            std::cerr << "crossover: note: only " << (old_beside.empty() ? "NEW" : "OLD")
                      << " has a samples.csv beside it: comparing the tables alone\n";
        }
    }
    if (!old_samples.empty()) {
        before.samples = read_launched(before.table, old_samples);
        after.samples = read_launched(after.table, new_samples);
    }
    const Comparison comparison = compare(before, after, compare_options);
    std::cout << format(comparison);
    return comparison.fails() ? 1 : 0;
}

} // namespace crossover
