#include "output/emit.hpp"
#include "output/format.hpp"
#include "output/json.hpp"
#include "tuner/cli/commands.hpp"
#include "tuner/cli/evaluation.hpp"
#include "tuner/cli/options.hpp"
#include "tuner/cli/sample_files.hpp"
#include "tuner/error.hpp"
#include "tuner/samples/run_record.hpp"
#include "tuner/yaml_writer.hpp"

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <map>
#include <set>

namespace crossover {
namespace {

namespace fs = std::filesystem;

const Usage kEvaluateUsage{
    .name = "evaluate",
    .purpose =
        "The time that a table loses on measured points against the best algorithm at each: regret = time with the\n"
        "table / time with the best - 1. A table is a table.yaml or the rule of an engine "
        "(configs/incumbents/*.yaml);\n"
        "a folder stands for the table.yaml in it, or else for all its .yaml. \"Unfused\" in an engine's rule counts "
        "as\n"
        "the fastest unfused algorithm measured at the point."};

std::string microseconds(double us) { return fixed(us, us < 1000 ? 1 : 0); }

/// "world size" cells, with what else the samples differ in before it.
std::string group_name(const RegretGroup& group, bool one_kind) {
    if (one_kind) return std::to_string(group.world_size);
    return group.sku + ", " + std::string(to_string(group.pattern)) + ", " + std::string(to_string(group.dtype)) +
           ", " + std::to_string(group.world_size);
}

std::string markdown(const std::vector<Evaluation>& evaluations, std::size_t worst) {
    std::vector<std::vector<std::string>> rows{
        {"table", "world size", "quant", "points", "mean regret", "worst", "time lost (µs)", "share"}};
    std::vector<std::vector<std::string>> worst_rows{{"table", "point", "chosen", "µs", "best", "µs", "regret"}};
    std::string remarks;
    for (const Evaluation& evaluation : evaluations) {
        const std::vector<RegretGroup> groups = by_world_size_and_quant(evaluation.report.points);
        std::set<std::tuple<std::string, Pattern, DType>> kinds;
        for (const RegretGroup& group : groups) kinds.emplace(group.sku, group.pattern, group.dtype);
        const bool one_kind = kinds.size() == 1;
        std::map<std::string, int> quants; // of a world size
        for (const RegretGroup& group : groups) quants[group_name(group, one_kind)] += group.quant.has_value();
        for (const RegretGroup& group : groups) {
            const std::string name = group_name(group, one_kind);
            if (!group.quant && quants[name] == 1) continue; // the total says the same
            rows.push_back({evaluation.name, name, group.quant ? std::string(to_string(*group.quant)) : "all",
                            std::to_string(group.regret.points), percent(group.regret.mean, 2),
                            percent(group.regret.max, 1), microseconds(group.lost_us),
                            percent(group.lost_us / group.best_us, 2)});
        }
        const auto& points = evaluation.report.points;
        for (std::size_t i = 0; i < std::min(worst, points.size()) && points[i].regret() > 0; ++i)
            worst_rows.push_back({evaluation.name, to_string(points[i].point), points[i].chosen,
                                  microseconds(points[i].chosen_us), points[i].best, microseconds(points[i].best_us),
                                  percent(points[i].regret(), 1)});
        for (const std::string& remark : evaluation.remarks)
            remarks.append("- ").append(evaluation.name).append(": ").append(remark).append("\n");
    }
    const std::int64_t outliers = evaluations.front().report.outliers;
    if (outliers > 0) remarks += "- " + count(outliers, "sample") + " left out as outliers\n";
    std::string out = "## Time lost against the best algorithm at each point\n\n" + markdown_table(rows);
    if (worst_rows.size() > 1) out += "\n## Worst points\n\n" + markdown_table(worst_rows);
    if (!remarks.empty()) out += "\n## Remarks\n\n" + remarks;
    return out;
}

YAML::Node to_node(const RegretGroup& group) {
    YAML::Node node(YAML::NodeType::Map);
    node["sku"] = text_node(group.sku);
    node["pattern"] = text_node(to_string(group.pattern));
    node["dtype"] = text_node(to_string(group.dtype));
    node["world_size"] = number_node(group.world_size);
    node["quant"] = text_node(group.quant ? to_string(*group.quant) : "all");
    node["points"] = number_node(group.regret.points);
    node["mean"] = number_node(group.regret.mean);
    node["max"] = number_node(group.regret.max);
    node["lost_us"] = number_node(group.lost_us);
    node["best_us"] = number_node(group.best_us);
    return node;
}

YAML::Node to_node(const PointRegret& point) {
    YAML::Node node(YAML::NodeType::Map);
    node["sku"] = text_node(point.sku);
    node["pattern"] = text_node(to_string(point.point.cell.pattern));
    node["dtype"] = text_node(to_string(point.point.cell.dtype));
    node["world_size"] = number_node(point.point.cell.world_size);
    node["quant"] = text_node(to_string(point.point.cell.quant));
    node["hidden_dim"] = number_node(point.point.hidden_dim);
    node["num_tokens"] = number_node(point.point.num_tokens);
    node["message_bytes"] = number_node(message_bytes(point.point));
    node["chosen"] = text_node(point.chosen);
    node["chosen_us"] = number_node(point.chosen_us);
    node["best"] = text_node(point.best);
    node["best_us"] = number_node(point.best_us);
    node["regret"] = number_node(point.regret());
    return node;
}

std::string json(const std::vector<Evaluation>& evaluations, std::size_t worst) {
    YAML::Node list(YAML::NodeType::Sequence);
    for (const Evaluation& evaluation : evaluations) {
        const RegretReport& report = evaluation.report;
        YAML::Node node(YAML::NodeType::Map);
        node["table"] = text_node(evaluation.name);
        node["file"] = text_node(evaluation.source);
        node["points"] = number_node(std::ssize(report.points));
        node["not_covered"] = number_node(report.not_covered);
        node["not_sampled"] = number_node(report.not_sampled);
        node["outliers"] = number_node(report.outliers);
        node["groups"] = YAML::Node(YAML::NodeType::Sequence);
        for (const RegretGroup& group : by_world_size_and_quant(report.points))
            node["groups"].push_back(to_node(group));
        node["worst"] = YAML::Node(YAML::NodeType::Sequence);
        for (std::size_t i = 0; i < std::min(worst, report.points.size()); ++i)
            node["worst"].push_back(to_node(report.points[i]));
        node["remarks"] = YAML::Node(YAML::NodeType::Sequence);
        for (const std::string& remark : evaluation.remarks) node["remarks"].push_back(text_node(remark));
        list.push_back(node);
    }
    YAML::Node document(YAML::NodeType::Map);
    document["evaluations"] = list;
    return write_json(document);
}

/// Numbers of no point would be an empty answer.
void require_points(const std::vector<Evaluation>& evaluations) {
    const bool any = std::any_of(evaluations.begin(), evaluations.end(), [](const Evaluation& evaluation) {
        return !evaluation.report.points.empty() || evaluation.report.not_sampled > 0;
    });
    if (!any)
        throw InputError(evaluations.front().source, "says nothing about any point of the samples",
                         "name samples of the table's patterns, dtypes, quant modes and world sizes");
}

} // namespace

int run_evaluate(const std::vector<std::string>& arguments) {
    std::vector<std::string> tables, sample_files;
    int worst = 0;
    po::options_description options;
    // clang-format off
    options.add_options()
        ("table", po::value(&tables)->value_name("FILE")->required(),
         "table.yaml, an engine's rule, or a folder of them; may be given several times")
        ("samples", po::value(&sample_files)->value_name("FILE")->required(),
         "samples.csv; may be given several times")
        ("worst", po::value(&worst)->value_name("N")->default_value(5), "how many of the worst points to name")
        ("markdown", "print Markdown (what is done without an option)")
        ("json", "print JSON");
    // clang-format on
    const auto values = parse_options(kEvaluateUsage, options, arguments);
    if (!values) return 0;
    if (values->count("markdown") != 0 && values->count("json") != 0)
        throw InputError("evaluate", "--markdown and --json together", "choose one");
    if (worst < 0) throw InputError("--worst", std::to_string(worst) + " is negative", "write 0 or more");

    std::vector<Sample> samples;
    for (const std::string& file : sample_files) {
        std::vector<Sample> more = read_samples_in_roles(file);
        require_some(more, file);
        int next_session = 0; // sessions of different files are different sessions
        for (const Sample& sample : samples) next_session = std::max(next_session, sample.session + 1);
        for (Sample& sample : more) sample.session += next_session;
        samples.insert(samples.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
    }
    std::vector<Evaluation> evaluations;
    for (const fs::path& path : table_files(tables)) evaluations.push_back(evaluate(read_contender(path), samples));
    require_points(evaluations);
    const auto named = static_cast<std::size_t>(worst);
    std::cout << (values->count("json") != 0 ? json(evaluations, named) : markdown(evaluations, named));
    return 0;
}

} // namespace crossover
