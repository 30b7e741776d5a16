/// vLLM benchmarks/kernels/benchmark_device_communicators.py --output-json (times in ms)
#include "tuner/samples/importers/result_file.hpp"
#include "tuner/yaml_map.hpp"

#include <algorithm>
#include <cctype>

namespace crossover::importers {
namespace {

constexpr int kDeepest = 16; // objects in objects; these files have 4

/// The JSON objects in the text, one a run, each as text that YAML reads in the same way. yaml-cpp neither minds what
/// follows the first object nor stops at what it cannot tokenize, so brackets, strings and characters are checked here.
/// Line ends before an object stay, so that errors name the file's lines.
std::vector<std::string> split_objects(std::string_view text, const std::string& file) {
    std::vector<std::string> objects;
    std::string object;
    std::string open; // brackets
    bool in_string = false;
    int line = 1, start_line = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        char c = text[i];
        const Place place{file, line};
        const bool blank = c == ' ' || c == '\t' || c == '\r' || c == '\n';
        if (c == '\n') ++line;
        if (in_string) {
            if (c == '\n') place.fail("a string is not closed on its line", "the file is cut off or no JSON");
            in_string = c != '"';
            if (c == '\\' && i + 1 < text.size()) object += text[i++]; // with the character behind it
            object += text[i];
            continue;
        }
        if (open.empty() && !blank && c != '{')
            place.fail("is not the JSON of benchmark_device_communicators.py",
                       "give its --output-json, which begins with `{`; see --from");
        if (open.empty() && c == '{') {
            start_line = line;
            object.assign(static_cast<std::size_t>(line - 1), '\n');
        }
        if (c == '{' || c == '[') open += c;
        if (c == '}' || c == ']') {
            if (open.back() != (c == '}' ? '{' : '[')) place.fail("brackets do not match", "write the file again");
            open.pop_back();
        }
        if (static_cast<int>(open.size()) > kDeepest) place.fail("objects in objects, too deep", "see --from");
        const bool token = std::isalnum(static_cast<unsigned char>(c)) || c == '"' || c == '{' || c == '}' ||
                           c == '[' || c == ']' || c == ':' || c == ',' || c == '.' || c == '+' || c == '-';
        if (!token && !blank) place.fail(std::string("`") + c + "` outside a string", "is no JSON: write it again");
        in_string = c == '"';
        object += c == '\t' || c == '\r' ? ' ' : c;
        if (c == '}' && open.empty()) objects.push_back(object);
    }
    if (!open.empty())
        Place{file, start_line}.fail("the JSON object that begins here does not end",
                                     "the file is cut off: copy it again");
    return objects;
}

/// vLLM's custom all-reduce has the one-stage (oneshot) and two-stage (twoshot) kernels of this table; the other
/// communicators compete with it under their own names.
std::string algorithm_of(const std::string& communicator, const Place& place) {
    if (communicator == "ca_1stage") return std::string(algorithm::oneshot);
    if (communicator == "ca_2stage") return std::string(algorithm::twoshot);
    if (communicator == "pynccl") return "nccl";
    if (communicator == "pynccl-symm") return "nccl_symm";
    return algorithm_name(communicator, place);
}

void read_object(const std::string& object, const std::string& file, int block, ResultFile& result) {
    YamlMap run(load_yaml(object, file), file, "the object");
    for (const char* key : {"world_size", "hidden_size", "dtype", "results"})
        if (!run.find_node(key))
            run.fail(run.node(), "`" + std::string(key) + "` is missing",
                     "give the script's --output-json; see --from");
    const auto place_at = [&file](const YAML::Node& node) { return Place{file, node.Mark().line + 1}; };
    const auto place_of_key = [&](const char* key) { return place_at(run.get_node(key)); };
    const int world_size = place_of_key("world_size").world_size(run.get<std::string>("world_size"));
    const std::int64_t hidden_size = place_of_key("hidden_size").hidden_dim(run.get<std::string>("hidden_size"));
    const DType dtype = place_of_key("dtype").dtype(run.get<std::string>("dtype"));
    const int trials = std::max(0, run.find<int>("num_trials").value_or(0));
    const YAML::Node results = run.get_node("results");
    const YamlMap lengths(results, file, "`results`");
    for (const auto& length : results) {
        const Point point{.cell = {.pattern = Pattern::allreduce, .dtype = dtype, .world_size = world_size},
                          .hidden_dim = hidden_size,
                          .num_tokens = place_at(length.first).num_tokens(length.first.Scalar())};
        YamlMap entry(length.second, file, "a result");
        const YAML::Node timings = entry.get_node("timings");
        const YamlMap communicators(timings, file, "`timings`");
        if (timings.size() == 0)
            result.notes.push_back("no communicator ran " + shown(length.first.Scalar()) + " tokens");
        for (const auto& timing : timings) {
            const Place place = place_at(timing.first);
            result.rows.push_back({.line = place.line,
                                   .block = block,
                                   .point = point,
                                   .algorithm = algorithm_of(timing.first.Scalar(), place),
                                   .time = communicators.as<std::string>(timing.second, timing.first.Scalar()),
                                   .replays = trials});
        }
    }
}

} // namespace

ResultFile read_vllm_communicators(std::string_view text, const std::string& file, const ImportOptions&) {
    ResultFile result;
    int block = 0;
    for (const std::string& object : split_objects(text, file)) read_object(object, file, block++, result);
    return result;
}

} // namespace crossover::importers
