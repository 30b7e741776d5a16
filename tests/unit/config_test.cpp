#include "tests/support/command.hpp"
#include "tuner/config.hpp"
#include "tuner/error.hpp"
#include "tuner/plan/plan.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace crossover;
using test::TemporaryFolder;

namespace {

const std::string kSmall = R"(sweep:
  world_sizes: [2, 8]
  patterns: [allreduce_residual_rmsnorm, allreduce]
  dtypes: [bfloat16]
  quants: [none, fp8]
  hidden_dims: [2880, 8192]
  num_tokens: [1, 3, 4096]
  max_message_bytes: 1048576
  algorithms: [nccl_fused_norm, oneshot, twoshot]
measurement:
  sessions: 2
  cache: cold
  scale_layout: linear
fit:
  guard_band: 0.05
)";

Config parsed(const std::string& text) {
    const TemporaryFolder folder;
    return read_config(folder.write("c.yaml", text));
}

/// The error of kSmall with `from` replaced by `to`: "LINE: what; remedy".
std::string error_of(const std::string& from, const std::string& to) {
    std::string text = kSmall;
    const auto at = text.find(from);
    REQUIRE_MESSAGE(at != std::string::npos, from);
    text.replace(at, from.size(), to);
    const TemporaryFolder folder;
    const std::string path = folder.write("c.yaml", text);
    try {
        read_config(path);
    } catch (const InputError& error) {
        const std::string what = error.what();
        CHECK(what.find('\n') == std::string::npos);
        REQUIRE(what.rfind(path + ":", 0) == 0);
        return what.substr(path.size() + 1);
    }
    return "no error";
}

} // namespace

TEST_CASE("every key is read, absent ones keep their defaults") {
    const Config config = parsed(kSmall);
    Config expected;
    expected.world_sizes = {2, 8};
    expected.patterns = {Pattern::allreduce_residual_rmsnorm, Pattern::allreduce};
    expected.dtypes = {DType::bfloat16};
    expected.quants = {Quant::none, Quant::fp8};
    expected.hidden_dims = {2880, 8192};
    expected.num_tokens = {1, 3, 4096};
    expected.max_message_bytes = 1048576;
    expected.algorithms = {"nccl_fused_norm", "oneshot", "twoshot"};
    expected.sessions = 2;
    expected.cache = CacheState::cold;
    expected.scale_layout = ScaleLayout::linear;
    expected.guard_band = 0.05;
    CHECK(config == expected);
    CHECK(parsed(std::string(kSmall) + "\nvalidation: {}\n") == expected); // nothing is held out
}

TEST_CASE("a config written as YAML is read back the same") {
    Config config = parsed(kSmall);
    config.timeout_ms = 12.5;
    config.warmup = 0;
    config.trials = 7;
    config.precision = 0.01;
    config.graph_calls = 11;
    config.workspace_limit_bytes = 123456789;
    config.search = Search::grid;
    config.budget_samples = 1000;
    config.budget_seconds = 0.5;
    config.validation_hidden_dims = {7168};
    config.validation_num_tokens = {5, 300};
    CHECK(parsed(to_yaml(config)) == config);
}

TEST_CASE("the shipped configs") {
    const std::filesystem::path configs = std::filesystem::path(CROSSOVER_SOURCE_DIR) / "configs";
    const Config full = read_config(configs / "default.yaml");
    CHECK(full.world_sizes == std::vector{2, 4, 8});
    CHECK(full.sessions >= 4);
    // Its measurement and fit values are the defaults that its comment says they are.
    Config defaults;
    defaults.world_sizes = full.world_sizes;
    defaults.patterns = full.patterns;
    defaults.dtypes = full.dtypes;
    defaults.quants = full.quants;
    defaults.hidden_dims = full.hidden_dims;
    defaults.num_tokens = full.num_tokens;
    defaults.algorithms = full.algorithms;
    defaults.validation_hidden_dims = full.validation_hidden_dims;
    defaults.validation_num_tokens = full.validation_num_tokens;
    CHECK(full == defaults);
    // Each key stands in it, so that it documents each.
    const std::string text = test::read_text(configs / "default.yaml");
    const std::string keys = to_yaml(full);
    for (std::size_t at = 0; at < keys.size(); at = keys.find('\n', at) + 1) {
        const std::string key = keys.substr(at, keys.find(':', at) - at + 1);
        CHECK_MESSAGE(text.find(key) != std::string::npos, key);
    }

    const Config moe = read_config(configs / "moe.yaml");
    CHECK(moe.patterns.size() == kMoePatterns.size());
    for (const Pattern pattern : moe.patterns) CHECK(algorithms_of(moe, pattern).size() >= 3);

    // Patterns take what they have: without a norm NCCL once, under its own name, and nothing quantized.
    using Names = std::vector<std::string>;
    CHECK(algorithms_of(full, Pattern::allreduce) == Names{"nccl", "nccl_symm", "oneshot", "twoshot"});
    CHECK(quants_of(full, Pattern::allreduce) == std::vector{Quant::none});
    const Names normed = algorithms_of(full, Pattern::allreduce_rmsnorm);
    CHECK(normed.size() == full.algorithms.size() - 2);
    CHECK(std::find(normed.begin(), normed.end(), "nccl") == normed.end());
    CHECK(quants_of(full, Pattern::allreduce_rmsnorm) == full.quants);
    Config unnamed = full; // without `nccl`, NCCL's other name stands for it
    unnamed.algorithms = {"nccl_fused_norm", "custom_fused_norm", "oneshot"};
    CHECK(algorithms_of(unnamed, Pattern::allreduce) == Names{"nccl_fused_norm", "oneshot"});

    // The quick one asks for nothing that a recording of the full one lacks.
    const Config quick = read_config(configs / "quick.yaml");
    CHECK(quick.sessions == 1);
    const auto all_points = [](const Config& config) {
        std::vector<Point> points = grid_points(config), held_out = validation_points(config);
        CHECK_FALSE(held_out.empty()); // each is judged by shapes that its search does not use
        points.insert(points.end(), held_out.begin(), held_out.end());
        return points;
    };
    CHECK_FALSE(all_points(moe).empty());
    const std::vector<Point> all = all_points(full);
    for (const Point& point : all_points(quick))
        CHECK_MESSAGE(std::find(all.begin(), all.end(), point) != all.end(), to_string(point));
    for (const std::string& algorithm : quick.algorithms)
        CHECK(std::find(full.algorithms.begin(), full.algorithms.end(), algorithm) != full.algorithms.end());
    // On 8 GPUs, at 0.05 s a point and algorithm, the small world sizes side by side.
    double seconds = 0;
    for (const Point& point : all_points(quick))
        seconds += 0.05 * static_cast<double>(quick.algorithms.size()) * point.cell.world_size / 8;
    CHECK(seconds < 120);
}

TEST_CASE("errors name the line, the value and the remedy") {
    const auto check = [](const std::string& from, const std::string& to, const std::string& expected) {
        CHECK(error_of(from, to) == expected);
    };
    check("  hidden_dims", "  hiden_dims", "6: unknown key `hiden_dims` in `sweep`; did you mean `hidden_dims`?");
    check("  sessions", "  sesions", "11: unknown key `sesions` in `measurement`; did you mean `sessions`?");
    check("fit:", "fitt:", "14: unknown key `fitt` in the config; did you mean `fit`?");
    check("  cache: cold", "  sessions: 3", "12: `sessions` twice in `measurement`; keep one");
    check("2880", "-2880", "6: `hidden_dims` has -2880; write sizes from 8 to 1048576");
    check("2880", "0", "6: `hidden_dims` has 0; write sizes from 8 to 1048576");
    check("2880", "2884",
          "6: `hidden_dims` has 2884, not a multiple of 8 (16-byte vectors); write 2888 or another multiple");
    check("[none, fp8]\n  hidden_dims: [2880", "[fp4]\n  hidden_dims: [2888",
          "6: `hidden_dims` has 2888, not a multiple of 16 (fp4 has blocks of 16); write 2896 or another multiple");
    check("[1, 3,", "[1, -3,", "7: `num_tokens` has -3; write sizes from 1 to 1073741824");
    check("[1, 3,", "[1, 1,", "7: `num_tokens` has `1` twice; keep one");
    check("[1, 3,", "[1, 3.5,", "7: `num_tokens` is `3.5`; write an integer");
    check("[1, 3, 4096]", "[]", "7: `num_tokens` is empty; name at least one");
    check("[1, 3, 4096]", "16", "7: `num_tokens` is not a list; write [a, b] or `- a` lines");
    check("[2, 8]", "[2, 1]", "2: `world_sizes` has 1; write 2, 4 or 8");
    check("[2, 8]", "[2, 16]", "2: `world_sizes` has 16; write 2, 4 or 8");
    check("fp8]", "fp9]", "5: `quants` has unknown `fp9`; did you mean `fp8`?");
    check("[bfloat16]", "[int]", "4: `dtypes` has unknown `int`; write one of bfloat16, float16, float32");
    check("oneshot,", "one_shot,", "9: `algorithms` has unknown `one_shot`; did you mean `oneshot`?");
    check("oneshot,", "\"oneshot[warps=2]\",",
          "9: launch parameters `warps=2`: cannot read `warps=2`; write "
          "cluster=N,clusters=N,threads=N,ahead=N,behind=N");
    check("[nccl_fused_norm, oneshot, twoshot]", "[oneshot]",
          "9: no unfused algorithm to compare with; add nccl_fused_norm or another unfused one");
    check("[nccl_fused_norm, oneshot, twoshot]", "[floor, oneshot]",
          "9: no unfused algorithm to compare with; add nccl_fused_norm or another unfused one");
    const std::string sharded = "[allreduce_residual_rmsnorm_sharded]"; // what the others use does not do this one
    check("[allreduce_residual_rmsnorm, allreduce]", sharded,
          "9: no unfused algorithm to compare with for allreduce_residual_rmsnorm_sharded; add nccl_sharded_norm");
    check(", oneshot, twoshot]", "]", "9: no fused algorithm; add oneshot or twoshot");
    check(
        "1048576", "4096",
        "8: the smallest bfloat16 message has 5760 bytes, above `max_message_bytes`; raise it, or add smaller shapes");
    check("sessions: 2", "sessions: 0", "11: `sessions` is 0; write a value from 1 to 1000");
    check("cold", "warm", "12: `cache` is `warm`; write one of hot, cold");
    check("linear", "tiled", "13: `scale_layout` is `tiled`; write one of swizzled, linear");
    check("0.05", "0.9", "15: `guard_band` is 0.9; write a value from 0 to 0.5");
    check("sessions: 2", "search: griddy", "11: `search` is `griddy`; write one of adaptive, grid");
    check("sessions: 2", "budget_samples: -1", "11: `budget_samples` is -1; write a value from 0 to 1099511627776");
    check("fit:", "validation:\n  hidden_dims: [2884]\n  num_tokens: [1]\nfit:",
          "15: `hidden_dims` has 2884, not a multiple of 8 (16-byte vectors); write 2888 or another multiple");
    check("fit:", "validation:\n  hidden_dims: []\nfit:", "15: `num_tokens` is missing in `validation`; add it");
    check("sessions: 2", "sessions:", "11: `sessions` is not a single value; write an integer");
    check("0.05", "nan", "15: `guard_band` is `nan`; write a number");
    check("[2, 8]", "[99999999999999999999]",
          "2: `world_sizes` is `99999999999999999999`; write an integer nearer to 0");
    check("sessions: 2", "sessions: -99999999999", "11: `sessions` is `-99999999999`; write an integer nearer to 0");
    check("1048576", "-1", "8: `max_message_bytes` is `-1`; write an integer from 0");
    // What is empty is told on its own line, not on that of what comes next.
    check("fit:\n  guard_band: 0.05", "fit:", "14: `fit` is empty; write `key: value` lines in it");
    check("measurement:\n  sessions: 2\n  cache: cold\n  scale_layout: linear\n", "measurement:\n",
          "10: `measurement` is empty; write `key: value` lines in it");
    check("[2880, 8192]", "", "6: `hidden_dims` is not a list; write [a, b] or `- a` lines");
    check("fit:", "---\nfit:", "15: a second YAML document, behind a line `---`; keep one in a file");
}

TEST_CASE("malformed and missing files") {
    CHECK(error_of("[2, 8]", "[2, 8").find("malformed YAML") != std::string::npos);
    CHECK_THROWS_WITH_AS(read_config("/no/such/file.yaml"),
                         "/no/such/file.yaml: cannot read the config: No such file or directory; "
                         "name a file that you may read",
                         InputError);
    CHECK_THROWS_AS(read_config("/"), InputError);
    CHECK_THROWS_AS(parsed(""), InputError);
    CHECK_THROWS_AS(parsed("fit: {}\n"), InputError);
}

TEST_CASE("world sizes above the GPUs there are") {
    const TemporaryFolder folder;
    const std::string path = folder.write("c.yaml", kSmall);
    Config config = read_config(path);
    CHECK_NOTHROW(require_gpus(config, 8, path));
    const std::string message =
        path + ":2: world size 8 needs as many GPUs, and there are 4; take it out of `world_sizes`";
    CHECK_THROWS_WITH_AS(require_gpus(config, 4, path), message.c_str(), InputError);

    drop_world_sizes_above(config, 8);
    CHECK(config.world_sizes == std::vector{2, 8});
    drop_world_sizes_above(config, 4);
    CHECK(config.world_sizes == std::vector{2});
}
