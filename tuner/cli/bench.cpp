#include "comm/launch.hpp"
#include "output/bench_report.hpp"
#include "output/emit.hpp"
#include "tuner/cli/commands.hpp"
#include "tuner/cli/options.hpp"
#include "tuner/cli/words.hpp"
#include "tuner/config_yaml.hpp"
#include "tuner/launch_name.hpp"
#include "tuner/plugins/library.hpp"
#include "tuner/roles.hpp"
#include "tuner/samples/journal.hpp"
#include "tuner/scratch_folder.hpp"
#include "tuner/write_atomically.hpp"
#ifdef CROSSOVER_HAS_CUDA
#include "tuner/measure/gpu_tune.hpp"
#endif

#include <algorithm>
#include <iostream>

namespace crossover {
namespace {

const Usage kBenchUsage{
    .name = "bench",
    .purpose = "Times every algorithm at the given shapes on GPUs and prints a table a configuration,\n"
               "with speed-ups against the fastest unfused algorithm (pattern allreduce: NCCL). torchrun,\n"
               "mpirun and srun may start it, once a rank; rank 0 writes. Exit status 1 if one failed."};

struct BenchRequest {
    Config config;
    int world_size = 0;              // 0 = all GPUs, or the launcher's ranks
    std::string markdown, json, csv; // files; empty: none
    bool only_print = false;
};

/// Launches to try whatever the shape: every power-of-two cluster with 2 to 16 warps, and as many clusters as have 512
/// threads on each of the 132 multiprocessors of an H100 or H200.
std::vector<std::string> launch_sweep(const std::string& algorithm) {
    std::vector<std::string> names;
    for (const int cluster : {1, 2, 4, 8, 16})
        for (const int threads : {64, 128, 256, 512})
            for (const int ahead : {0, 1, 2})
                names.push_back(launched_name(algorithm, {.cluster_size = cluster,
                                                          .clusters = 132 * (512 / threads) / cluster,
                                                          .threads = threads,
                                                          .push_ahead = ahead,
                                                          .consume_behind = 1}));
    return names;
}

/// The defaults of vLLM's scripts: of benchmark_device_communicators.py, and of benchmark_fused_collective.py.
struct Defaults {
    std::string num_tokens;
    int trials, graph_calls;
};
Defaults defaults_of(Pattern pattern) {
    if (pattern == Pattern::allreduce)
        return {.num_tokens = "128,512,1024,2048,4096,8192", .trials = 50, .graph_calls = 10};
    return {.num_tokens = "128,512,1024,2048", .trials = 20, .graph_calls = 20};
}

/// What is compared where nothing else is asked for.
std::vector<std::string> default_algorithms(Pattern pattern) {
    if (is_moe_dispatch(pattern))
        return {"nccl_allreduce_quantize", "nccl_allgather_quantize", "quantize_nccl_allgather", "push"};
    if (is_moe_combine(pattern)) return {"nccl_allreduce_slice", "nccl_reduce_scatter", "push"};
    if (pattern == Pattern::allreduce) return {"nccl", "nccl_symm", "oneshot", "twoshot"};
    if (is_sharded(pattern)) return {"nccl_sharded_norm", "twoshot", "floor"};
    return {"nccl_separate", "nccl_fused_norm", "nccl_symm_fused_norm", "custom_fused_norm", "oneshot", "twoshot",
            "floor"};
}

/// Fused algorithms launched with the parameters `launch`, if there are some; with `sweep`, in many other ways, too.
std::vector<std::string> with_launches(const std::vector<std::string>& algorithms, const std::string& launch,
                                       bool sweep) {
    std::vector<std::string> named;
    for (const std::string& name : algorithms) {
        const bool fused = algorithm::is_fused(name);
        named.push_back(fused && !launch.empty() ? name + "[" + launch + "]" : name);
        if (fused && sweep)
            for (std::string& variant : launch_sweep(name)) named.push_back(std::move(variant));
    }
    return named;
}

/// Room for the largest of the shapes, whatever its dtype; 1 MiB at least.
std::uint64_t largest_message(const Config& config) {
    double largest = 1 << 20;
    for (const std::int64_t num_tokens : config.num_tokens)
        for (const std::int64_t hidden_dim : config.hidden_dims)
            largest = std::max(largest, 4 * static_cast<double>(num_tokens) * static_cast<double>(hidden_dim));
    return static_cast<std::uint64_t>(std::min(largest, 0x1p62)); // more than a config allows
}

std::optional<BenchRequest> parse_bench_request(const std::vector<std::string>& arguments) {
    BenchRequest request;
    Config& config = request.config;
    std::vector<std::string> tokens, hidden{"8192"}, dtypes{"bfloat16"}, quants{"none"}, algorithms, libraries;
    std::string pattern = "allreduce_residual_rmsnorm", cache = "hot", scale_layout = "swizzled", launch;
    bool no_residual = false, no_oneshot = false, sweep_launch = false;
    po::options_description options;
    // clang-format off
    options.add_options()
        ("num-tokens", po::value(&tokens)->multitoken()->value_name("N..."), "token counts (128 512 1024 2048; 4096 8192, too, for pattern allreduce)")
        ("hidden-dim", po::value(&hidden)->multitoken()->value_name("N..."), "hidden dimensions (8192)")
        ("dtypes", po::value(&dtypes)->multitoken()->value_name("D..."), "bfloat16, float16, float32 (bfloat16)")
        ("quant-modes", po::value(&quants)->multitoken()->value_name("Q..."), "none, fp8, fp4 (none)")
        ("pattern", po::value(&pattern)->value_name("P"),
         "allreduce, allreduce_rmsnorm, allreduce_residual_rmsnorm, the default, the last with `_sharded`: each rank "
         "holds the residual of its own tokens only; moe_dispatch or moe_combine with `_even`, `_one_hot` or `_zipf`")
        ("no-residual", po::bool_switch(&no_residual), "without the residual: pattern allreduce_rmsnorm")
        ("algorithms", po::value(&algorithms)->multitoken()->value_name("A..."), "what is compared; by default all that suit the pattern, but for nccl_symm_separate")
        ("candidate", po::value(&libraries)->value_name("FILE"),
         "shared library with kernels of an engine (kernels/crossover_candidate.h), compared with the rest; may be given several times")
        ("no-oneshot", po::bool_switch(&no_oneshot), "leave oneshot out")
        ("launch", po::value(&launch)->value_name("L"),
         "launch parameters of oneshot and twoshot, as in cluster=8,clusters=66,threads=128,ahead=1,behind=1")
        ("sweep-launch", po::bool_switch(&sweep_launch), "try many launch parameters, print the fastest of each shape")
        ("world-size", po::value(&request.world_size)->value_name("N"), "2, 4 or 8; by default the largest of these there are GPUs for")
        ("warmup", po::value(&config.warmup)->value_name("N")->default_value(5), "replays thrown away")
        ("trials", po::value(&config.trials)->value_name("N"), "replays timed (20; 50 for pattern allreduce)")
        ("graph-calls", po::value(&config.graph_calls)->value_name("N"), "calls in one CUDA graph (20; 10 for pattern allreduce)")
        ("cache", po::value(&cache)->value_name("C"), "hot (inputs in L2) or cold")
        ("scale-layout", po::value(&scale_layout)->value_name("S"), "of fp4's block scales: swizzled, the default, or linear")
        ("markdown", po::value(&request.markdown)->value_name("FILE"), "write the tables as Markdown")
        ("json", po::value(&request.json)->value_name("FILE"), "write them as JSON")
        ("csv", po::value(&request.csv)->value_name("FILE"), "write the samples as samples.csv")
        ("print-config", po::bool_switch(&request.only_print), "print what would be measured, as a config, and exit");
    // clang-format on
    const auto values = parse_options(kBenchUsage, options, arguments);
    if (!values) return std::nullopt;

    if (values->count("world-size") != 0 && request.world_size < 1)
        throw InputError("--world-size", std::to_string(request.world_size) + " is no number of ranks",
                         "write 2, 4 or 8, or leave it out for all GPUs");
    config.hidden_dims = sizes_of("--hidden-dim", hidden);
    for (const std::string& word : words_of(dtypes)) config.dtypes.push_back(word_option("--dtypes", word, kDTypes));
    for (const std::string& word : words_of(quants))
        config.quants.push_back(word_option("--quant-modes", word, kQuants));
    Pattern asked = word_option("--pattern", pattern, kPatterns);
    if (no_residual && asked != Pattern::allreduce_residual_rmsnorm && asked != Pattern::allreduce_rmsnorm)
        throw InputError("--no-residual", "means nothing to pattern " + pattern, "leave it out");
    if (no_residual) asked = Pattern::allreduce_rmsnorm;
    config.patterns = {asked};
    const Defaults defaults = defaults_of(asked);
    config.num_tokens = sizes_of("--num-tokens", tokens.empty() ? std::vector{defaults.num_tokens} : tokens);
    if (values->count("trials") == 0) config.trials = defaults.trials;
    if (values->count("graph-calls") == 0) config.graph_calls = defaults.graph_calls;
    if (quants_of(config, asked) != config.quants)
        throw InputError("--quant-modes", "mean nothing to pattern " + pattern, "leave them out");
    config.cache = word_option("--cache", cache, kCacheStates);
    config.scale_layout = word_option("--scale-layout", scale_layout, kScaleLayouts);
    config.algorithms = words_of(algorithms);
    if (config.algorithms.empty()) config.algorithms = default_algorithms(asked);
    if (no_oneshot) std::erase(config.algorithms, "oneshot");
    config.algorithms = with_launches(config.algorithms, launch, sweep_launch);
    config.search = Search::grid; // all that was asked for
    config.sessions = 1;
    config.launches = LaunchChoice::standard; // and those that were named
    config.max_message_bytes = largest_message(config);
    add_candidates(config, inspect_libraries(libraries, config));
    return request;
}

/// Before the GPUs are at work. Only rank 0 writes, and may be the only one that can.
void require_writable_files(const BenchRequest& request) {
    if (const auto self = detect_rank(read_environment()); self && self->rank != 0) return;
    for (const std::string& file : {request.csv, request.markdown, request.json})
        if (!file.empty()) require_writable(file);
}

/// What the options came to, if it is a config that can be measured.
Config checked(const Config& config) { return parse_config(to_node(config), "command line"); }

} // namespace

int run_bench(const std::vector<std::string>& arguments) {
    std::optional<BenchRequest> request = parse_bench_request(arguments);
    if (!request) return 0;
    if (request->only_print) {
        request->config.world_sizes = {request->world_size != 0 ? request->world_size : 2};
        std::cout << to_yaml(checked(request->config));
        return 0;
    }
    require_writable_files(*request);
#ifdef CROSSOVER_HAS_CUDA
    int world_size = request->world_size != 0 ? request->world_size : available_ranks();
    if (world_size == 1) throw InputError("world size", "1 has nothing to reduce", "run it on 2, 4 or 8 GPUs");
    if (world_size < 1) throw InputError("environment", "there are no GPUs here", "see `crossover doctor`");
    if (request->world_size > available_ranks())
        throw InputError("--world-size",
                         std::to_string(world_size) + " is above the " + std::to_string(available_ranks()) +
                             " ranks there are",
                         "name a smaller one");
    if (request->world_size == 0) // the largest world there are kernels for
        while ((world_size & (world_size - 1)) != 0 || world_size > 8) --world_size;
    request->config.world_sizes = {world_size};
    const Config config = checked(request->config);
    const ScratchFolder folder;
    RunRecord record;
    if (!measure_on_gpus(config, folder.path(), false, record)) return 0;

    std::vector<Sample> samples = read_samples(folder.path() / "samples.csv");
    if (!request->csv.empty()) write_samples(request->csv, samples);
    samples = fastest_launches(samples);
    std::cout << bench_text(samples, config.candidates);
    if (!request->markdown.empty()) write_atomically(request->markdown, bench_markdown(samples, config.candidates));
    if (!request->json.empty())
        write_atomically(
            request->json,
            bench_json(samples, {.warmup = config.warmup, .trials = config.trials, .graph_calls = config.graph_calls},
                       config.candidates));
    const bool failed = std::any_of(samples.begin(), samples.end(), [](const Sample& sample) {
        return sample.status == SampleStatus::failed || sample.status == SampleStatus::timeout;
    });
    return failed ? 1 : 0;
#else
    throw InputError("environment", "this build has no CUDA", "build with nvcc and NCCL, on a machine with GPUs");
#endif
}

} // namespace crossover
