#include "tuner/cli/evaluation.hpp"

#include "output/emit.hpp"
#include "tuner/error.hpp"
#include "tuner/joined.hpp"
#include "tuner/read_file.hpp"

#include <algorithm>
#include <set>
#include <string_view>

namespace crossover {

namespace fs = std::filesystem;

std::string count(std::int64_t number, const std::string& noun) {
    return std::to_string(number) + " " + noun + (number == 1 ? "" : "s");
}

Contender read_contender(const fs::path& path) {
    const std::string text = read_file(path, "the table"); // once: it may be a pipe
    const std::string file = path.string();
    if (is_incumbent(text, file)) return {.source = file, .what = parse_incumbent(text, file)};
    return {.source = file, .what = parse_table(text, file)};
}

Evaluation evaluate(const Contender& contender, std::span<const Sample> samples) {
    Evaluation evaluation{.name = contender.source, .source = contender.source, .report = {}, .remarks = {}};
    if (const auto* const incumbent = std::get_if<Incumbent>(&contender.what)) {
        evaluation.name = incumbent->name;
        evaluation.report = regret_report(samples, [&](const std::string& compute_capability, const Point& point) {
            return choose(*incumbent, compute_capability, point);
        });
    }
    if (const auto* const table = std::get_if<Table>(&contender.what)) {
        evaluation.report = regret_report(samples, table->cells);
        std::set<std::string_view> skus;
        for (const Sample& sample : samples) skus.insert(sample.sku);
        for (const std::string_view sku : skus)
            if (sku != table->fingerprint.sku)
                evaluation.remarks.push_back("the table is of " + table->fingerprint.sku + ", the samples of " +
                                             std::string(sku));
    }
    const RegretReport& report = evaluation.report;
    if (report.not_covered > 0)
        evaluation.remarks.push_back("says nothing about " + count(report.not_covered, "point") +
                                     ", which are left out");
    if (report.not_sampled > 0)
        evaluation.remarks.push_back("chooses " + joined(report.missing, ", ") + " where there is no sample of it: " +
                                     count(report.not_sampled, "point") + " left out");
    return evaluation;
}

std::vector<fs::path> table_files(const std::vector<std::string>& names) {
    std::vector<fs::path> files;
    for (const std::string& name : names) {
        fs::path path = name;
        if (fs::exists(path / "table.yaml")) path /= "table.yaml"; // of a run, whose provenance.yaml is no table
        if (!fs::is_directory(path)) {
            files.push_back(std::move(path));
            continue;
        }
        std::vector<fs::path> inside;
        for (const fs::directory_entry& entry : fs::directory_iterator(path))
            if (entry.path().extension() == ".yaml") inside.push_back(entry.path());
        if (inside.empty()) throw InputError(name, "no .yaml in this folder", "name a table or a folder of tables");
        std::sort(inside.begin(), inside.end());
        files.insert(files.end(), inside.begin(), inside.end());
    }
    return files;
}

} // namespace crossover
