#include "output/emit.hpp"
#include "tuner/cli/commands.hpp"
#include "tuner/cli/options.hpp"
#include "tuner/cli/words.hpp"
#include "tuner/error.hpp"
#include "tuner/nearest.hpp"

#include <algorithm>
#include <array>
#include <iostream>

namespace crossover {
namespace {

struct EmitRequest {
    std::vector<Table> tables;
    EngineOptions engine;
    std::optional<int> world_size;
};

std::string emit_vllm_for(const EmitRequest& request) {
    if (!request.world_size && request.engine.hidden_dims.empty()) return emit_vllm(request.tables, request.engine);
    if (!request.world_size || request.engine.hidden_dims.size() != 1 || request.tables.size() != 1)
        throw InputError("emit vllm", "a --compilation-config is for one table, one world size and one model",
                         "pass one table, --world-size and one --hidden-dim, or neither for the dicts");
    return emit_vllm_config(request.tables[0], request.engine, *request.world_size, request.engine.hidden_dims[0]);
}

struct EmitFormat {
    std::string_view name;
    bool several_tables;
    std::string_view options; // those that mean something to it, each with a space behind
    std::string (*emit)(const EmitRequest& request);
};
constexpr std::string_view word_of(const EmitFormat& format) { return format.name; }

constexpr std::array kFormats{
    EmitFormat{"yaml", false, "", [](const EmitRequest& request) { return emit_yaml(request.tables[0]); }},
    EmitFormat{"cpp", true, "", [](const EmitRequest& request) { return emit_cpp_header(request.tables); }},
    EmitFormat{"vllm", true, "dtype quant on-conflict world-size hidden-dim ", emit_vllm_for},
    EmitFormat{"sglang", false, "dtype quant hidden-dim ",
               [](const EmitRequest& request) { return emit_sglang(request.tables[0], request.engine); }},
    EmitFormat{"tensorrt-llm", true, "dtype on-conflict ",
               [](const EmitRequest& request) { return emit_tensorrt_llm(request.tables, request.engine); }},
    EmitFormat{"markdown", false, "", [](const EmitRequest& request) { return emit_markdown(request.tables[0]); }},
    EmitFormat{"json", false, "", [](const EmitRequest& request) { return emit_json(request.tables[0]); }}};

const Usage kEmitUsage{
    .name = "emit",
    .arguments = "FORMAT TABLE...",
    .purpose = "Writes table.yaml in the form that its reader wants:\n"
               "  yaml          the canonical form, sorted and checked\n"
               "  cpp           oneshot_thresholds.h; several tables make one header for several GPUs\n"
               "  vllm          vLLM's two Python dicts (--dtype, --quant, --on-conflict); with --world-size\n"
               "                and --hidden-dim the --compilation-config line for one model\n"
               "  sglang        SGLang's token limits and workspace (--hidden-dim, --dtype, --quant)\n"
               "  tensorrt-llm  TensorRT-LLM's array (--dtype, --on-conflict)\n"
               "  markdown      the report\n"
               "  json          the canonical form as JSON"};

const EmitFormat& format_named(const std::string& name) {
    const auto* found =
        std::find_if(kFormats.begin(), kFormats.end(), [&](const EmitFormat& f) { return f.name == name; });
    if (found != kFormats.end()) return *found;
    throw InputError("emit", "unknown format `" + name + "`",
                     did_you_mean(name, kFormats, "see `crossover emit --help`"));
}

/// An option that would be ignored is a misunderstanding; better said than ignored.
void check_options(const EmitFormat& format, const po::variables_map& values) {
    for (const std::string option : {"dtype", "quant", "on-conflict", "world-size", "hidden-dim"})
        if (values.count(option) != 0 && !values[option].defaulted() &&
            format.options.find(option + " ") == std::string_view::npos)
            throw InputError("--" + option, "means nothing to `" + std::string(format.name) + "`", "leave it out");
}

OnConflict parse_on_conflict(const std::string& word) {
    if (word == "refuse") return OnConflict::refuse;
    if (word == "safer") return OnConflict::safer;
    throw InputError("--on-conflict", "`" + word + "` is no choice", "write refuse or safer");
}

} // namespace

int run_emit(const std::vector<std::string>& arguments) {
    std::string format_name, out, dtype, quant, on_conflict;
    std::vector<std::string> paths, hidden_dims;
    po::options_description options;
    // clang-format off
    options.add_options()
        ("out", po::value(&out)->value_name("FILE"), "file to write; standard output if left out")
        ("dtype", po::value(&dtype)->value_name("DTYPE")->default_value("bfloat16"), "bfloat16, float16 or float32")
        ("quant", po::value(&quant)->value_name("MODE")->default_value("none"), "none, fp8 or fp4")
        ("hidden-dim", po::value(&hidden_dims)->value_name("H"), "hidden_dim of the model; 4096,8192 for several")
        ("world-size", po::value<int>()->value_name("N"), "tensor-parallel degree")
        ("on-conflict", po::value(&on_conflict)->value_name("WHAT")->default_value("refuse"),
         "two tables that the engine cannot tell apart: refuse, or take the safer of both")
        ("format", po::value(&format_name)->value_name("FORMAT")->required(), "format (also without --format)")
        ("table", po::value(&paths)->value_name("TABLE")->required(), "table.yaml (also without --table)");
    // clang-format on
    po::positional_options_description positional;
    const bool names_format = std::any_of(arguments.begin(), arguments.end(), [](const std::string& argument) {
        return argument == "--format" || argument.starts_with("--format=");
    });
    if (!names_format) positional.add("format", 1);
    positional.add("table", -1);
    const auto values = parse_options(kEmitUsage, options, arguments, positional);
    if (!values) return 0;

    const EmitFormat& format = format_named(format_name);
    check_options(format, *values);
    if (!format.several_tables && paths.size() > 1)
        throw InputError("emit " + format_name, "takes one table, not " + std::to_string(paths.size()),
                         "emit each by itself");

    EmitRequest request;
    request.engine = {word_option("--dtype", dtype, kDTypes), word_option("--quant", quant, kQuants),
                      parse_on_conflict(on_conflict), sizes_of("--hidden-dim", hidden_dims)};
    for (const std::int64_t hidden_dim : request.engine.hidden_dims) check_hidden_dim(hidden_dim);
    if (values->count("world-size") != 0) request.world_size = (*values)["world-size"].as<int>();
    for (const std::string& path : paths) request.tables.push_back(read_table(path));

    const std::string text = format.emit(request);
    if (out.empty())
        std::cout << text;
    else
        write_atomically(out, text);
    return 0;
}

} // namespace crossover
