#include "output/emit.hpp"
#include "tests/support/command.hpp"
#include "tests/support/tables.hpp"
#include "tuner/error.hpp"

#include <doctest/doctest.h>

#include <random>
#include <set>
#include <sstream>

using namespace crossover;

namespace {

const char* const kStrict = " -std=c++17 -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror ";

std::vector<std::string> compilers() {
    std::vector<std::string> found;
    for (const std::string compiler : {"g++", "clang++"})
        if (test::has("command -v " + compiler, compiler)) found.push_back(compiler);
    REQUIRE(!found.empty());
    return found;
}

/// Answers lines "WORLD DTYPE QUANT PATTERN BYTES HIDDEN_DIM" (numbers; SKU after a tab) with what the header says;
/// HIDDEN_DIM 0 asks without one.
const char* const kLookup = R"(
#include "oneshot_thresholds.h"
#include <cinttypes>
#include <cstdio>
void print(std::optional<std::uint64_t> limit) { limit ? std::printf("%" PRIu64 " ", *limit) : std::printf("none "); }
int main() {
    using namespace crossover;
    int world, dtype, quant, pattern;
    std::uint64_t bytes;
    std::int64_t hidden;
    char sku[100];
    while (std::scanf("%d %d %d %d %" SCNu64 " %" SCNd64 " %99[^\n]", &world, &dtype, &quant, &pattern, &bytes, &hidden, sku) == 7) {
        const auto d = static_cast<DType>(dtype);
        const auto q = static_cast<Quant>(quant);
        const auto p = static_cast<Pattern>(pattern);
#define COMMA ,
#define LOOK_UP(BY, OF) \
    std::printf("%d%d ", static_cast<int>(select(BY world, bytes OF, d, q, p)), is_measured(BY world, bytes OF, d, q, p)); \
    print(oneshot_max_bytes(BY world OF, d, q, p)); \
    print(twoshot_max_bytes(BY world OF, d, q, p)); \
    std::printf("%" PRIu64 " %d\n", workspace_bytes(BY world OF, d, q, p), static_cast<int>(cell(BY world OF, d, q, p).status))
#ifdef BY_SKU
        const std::string_view name = sku;
        if (hidden == 0) { LOOK_UP(name COMMA, ); } else { LOOK_UP(name COMMA, COMMA hidden); }
#else
        if (hidden == 0) { LOOK_UP( , ); } else { LOOK_UP( , COMMA hidden); }
#endif
    }
}
)";

std::string limit_text(const Cell& cell, const std::optional<Threshold>& threshold) {
    if (cell.status == CellStatus::tie) return "0";
    return threshold ? std::to_string(threshold->max_bytes) : "none";
}

/// What kLookup must answer, from the table's intervals.
std::string expected_answer(const Table& table, const CellKey& key, std::uint64_t bytes, std::int64_t hidden_dim) {
    const Cell* found = find_cell(table, key);
    if (found == nullptr) return "00 none none 0 0";
    const Cell cell = for_hidden_dim(*found, hidden_dim);
    const std::string_view name = select_algorithm(*found, bytes, hidden_dim);
    const int algorithm = name == algorithm::oneshot ? 1 : name == algorithm::twoshot ? 2 : 0;
    const int status = cell.status == CellStatus::measured      ? 3
                       : cell.status == CellStatus::tie         ? 2
                       : cell.status == CellStatus::unsupported ? 1
                                                                : 0;
    return std::to_string(algorithm) + (name == algorithm::not_measured ? "0 " : "1 ") +
           limit_text(cell, cell.oneshot) + " " + limit_text(cell, cell.twoshot) + " " +
           std::to_string(cell.workspace_bytes) + " " + std::to_string(status);
}

/// Every boundary of the table ±1, the ends of the type, powers of two and random sizes.
std::set<std::uint64_t> sizes_to_try(const Table& table) {
    std::set<std::uint64_t> sizes{0, 1, UINT64_MAX - 1, UINT64_MAX};
    const auto add_around = [&sizes](std::uint64_t bytes) {
        for (const std::uint64_t size : {bytes - (bytes > 0), bytes, bytes + (bytes < UINT64_MAX)}) sizes.insert(size);
    };
    for (const Cell& cell : table.cells) {
        for (const HiddenDimRow& row : cell.hidden_dims)
            for (const Interval& interval : row.intervals) add_around(interval.min_bytes);
        for (const Interval& interval : cell.intervals) add_around(interval.min_bytes);
        for (const auto& threshold : {cell.oneshot, cell.twoshot})
            if (threshold) add_around(threshold->max_bytes);
    }
    for (int bit = 1; bit < 64; ++bit) add_around(1ull << bit);
    std::mt19937_64 random(1);
    for (int i = 0; i < 200; ++i) sizes.insert(random() >> (random() % 64));
    return sizes;
}

/// Compiles a program around the header and asks it at every size and key, in the table or not.
void check_agrees(std::span<const Table> tables) {
    const test::TemporaryFolder folder;
    folder.write("oneshot_thresholds.h", emit_cpp_header(tables));
    folder.write("lookup.cpp", kLookup);

    std::vector<std::string> expected;
    std::string queries;
    for (const Table& table : tables) {
        for (const std::uint64_t bytes : sizes_to_try(table))
            for (const int world : {-8, 0, 1, 2, 4, 8, 16, 1 << 20, (1 << 20) + 2})
                for (const auto& quant : kQuants)
                    for (const auto& [dtype, pattern] :
                         {std::pair{DType::bfloat16, Pattern::allreduce_residual_rmsnorm},
                          {DType::float32, Pattern::allreduce_residual_rmsnorm},
                          {DType::bfloat16, Pattern::allreduce}}) {
                        const CellKey key{pattern, dtype, quant.value, world};
                        for (const std::int64_t hidden_dim : {0, 2048, 2880, 4096}) {
                            if (hidden_dim > 0 && dtype != DType::float32) continue; // no rows
                            std::ostringstream query;
                            query << world << ' ' << static_cast<int>(dtype) << ' ' << static_cast<int>(quant.value)
                                  << ' ' << static_cast<int>(pattern) << ' ' << bytes << ' ' << hidden_dim << '\t'
                                  << table.fingerprint.sku << '\n';
                            queries += query.str();
                            expected.push_back(expected_answer(table, key, bytes, hidden_dim));
                        }
                    }
    }
    folder.write("queries", queries);

    for (const std::string& compiler : compilers()) {
        CAPTURE(compiler);
        const auto built =
            folder.run(compiler + kStrict + (tables.size() > 1 ? "-DBY_SKU" : "") + " lookup.cpp -o lookup");
        REQUIRE_MESSAGE(built.status == 0, built.output);
        const auto answers = folder.run("./lookup < queries");
        std::istringstream lines(answers.output);
        std::size_t wrong = 0, index = 0;
        for (std::string line; std::getline(lines, line); ++index)
            if (index < expected.size() && line != expected[index] && wrong++ < 5)
                MESSAGE("query " << index << ": `" << line << "` instead of `" << expected[index] << "`");
        CHECK(index == expected.size());
        CHECK(wrong == 0);
    }
}

void check_compiles(const test::TemporaryFolder& folder, const std::string& source) {
    folder.write("use.cpp", source);
    for (const std::string& compiler : compilers()) {
        CAPTURE(compiler);
        const auto result = folder.run(compiler + kStrict + "-fsyntax-only use.cpp");
        CHECK_MESSAGE(result.status == 0, result.output);
    }
}

/// Refused, and for this: one of both compilers' words.
void check_does_not_compile(const test::TemporaryFolder& folder, const std::string& source, const std::string& error) {
    folder.write("use.cpp", source);
    for (const std::string& compiler : compilers()) {
        CAPTURE(compiler);
        const auto result = folder.run(compiler + kStrict + "-fsyntax-only use.cpp");
        CHECK(result.status != 0);
        CHECK_MESSAGE(test::contains(result.output, error), result.output);
    }
}

Table table_of(const std::string& sku, std::uint64_t oneshot) {
    Table table = test::empty_table(sku, "9.0");
    table.cells = {test::measured_cell(2, oneshot, 1 << 20), test::measured_cell(8, 0, 1 << 19)};
    return table;
}

} // namespace

TEST_CASE("the header agrees with the table's intervals at every size and key") {
    const std::array tables{test::every_state()};
    check_agrees(tables);
}

TEST_CASE("the header of several SKUs agrees with each table") {
    const std::array tables{test::every_state(), table_of("NVIDIA B200", 12345), table_of("7 \"odd\\name\" ?\?/", 99)};
    check_agrees(tables);
}

TEST_CASE("every pattern and dtype is looked up, the main one by default") {
    Table table = test::empty_table("NVIDIA H200", "9.0");
    std::uint64_t oneshot = 1000;
    for (const auto& pattern : kAllReducePatterns)
        for (const auto& dtype : kDTypes) {
            Cell cell = test::measured_cell(2, oneshot += 1000, 1 << 20, Quant::none, dtype.value);
            cell.key.pattern = pattern.value;
            table.cells.push_back(cell);
        }
    check_agrees(std::array{table});
    const test::TemporaryFolder folder;
    folder.write("h.h", emit_cpp_header(std::array{table}));
    check_compiles(folder, R"(#include "h.h"
static_assert(crossover::oneshot_max_bytes(2) == 8000);
static_assert(crossover::oneshot_max_bytes(2, crossover::DType::float16) == 9000);
static_assert(crossover::oneshot_max_bytes(2, crossover::DType::float16, crossover::Quant::none, crossover::Pattern::allreduce) == 3000);
static_assert(crossover::oneshot_max_bytes(2, crossover::DType::float16, crossover::Quant::none, crossover::Pattern::allreduce_residual_rmsnorm_sharded) == 12000);
)");
}

TEST_CASE("at compile time: absent and zero differ, ties, holes, beyond the range") {
    const test::TemporaryFolder folder;
    folder.write("oneshot_thresholds.h", emit_cpp_header(std::array{test::every_state()}));
    check_compiles(folder, R"(#include "oneshot_thresholds.h"
using namespace crossover;
static_assert(oneshot_max_bytes(2) == 131072 && twoshot_max_bytes(2) == 67108864);
static_assert(oneshot_max_bytes(2, DType::bfloat16, Quant::fp8).has_value());
static_assert(*oneshot_max_bytes(2, DType::bfloat16, Quant::fp8) == 0, "never");
static_assert(!oneshot_max_bytes(2, DType::bfloat16, Quant::fp4), "not measured, though twoshot is");
static_assert(twoshot_max_bytes(2, DType::bfloat16, Quant::fp4) == 4194304);
static_assert(!oneshot_max_bytes(8, DType::bfloat16, Quant::fp8) && !twoshot_max_bytes(8, DType::bfloat16, Quant::fp4));
static_assert(!oneshot_max_bytes(16) && !oneshot_max_bytes(2, DType::float16));
static_assert(oneshot_max_bytes(8) == 0 && cell(8).status == Status::tie);
static_assert(cell(8, DType::bfloat16, Quant::fp8).status == Status::not_measured);
static_assert(cell(8, DType::bfloat16, Quant::fp4).status == Status::unsupported);
static_assert(select(2, 131072) == Algorithm::oneshot && select(2, 131073) == Algorithm::twoshot);
static_assert(select(2, 67108864) == Algorithm::twoshot && select(2, 67108865) == Algorithm::unfused);
static_assert(select(4, 300000) == Algorithm::unfused && select(4, 400000) == Algorithm::oneshot, "a hole");
static_assert(select(8, 0) == Algorithm::unfused && is_measured(8, 0), "a tie");
static_assert(!is_measured(4, 67108865, DType::bfloat16, Quant::fp8), "beyond the range");
static_assert(noexcept(select(2, 1)) && noexcept(oneshot_max_bytes(2)) && noexcept(workspace_bytes(2)));
static_assert(workspace_bytes(2) == 3145728 && workspace_bytes(16) == 0);
)");
}

TEST_CASE("launch parameters by algorithm, hidden_dim and bytes") {
    const test::TemporaryFolder folder;
    folder.write("one.h", emit_cpp_header(std::array{test::every_state()}));
    const std::string checks = R"(
constexpr bool is(std::optional<LaunchParameters> launch, int cluster_size, int clusters, int threads, int ahead, int behind) {
    return launch && launch->cluster_size == cluster_size && launch->clusters == clusters &&
           launch->threads == threads && launch->push_ahead == ahead && launch->consume_behind == behind;
}
constexpr auto one = Algorithm::oneshot, two = Algorithm::twoshot;
static_assert(is(launch_parameters(BY 2, one, 0, 4096), 8, 66, 128, 1, 1));
static_assert(is(launch_parameters(BY 2, one, 32768, 4096), 8, 66, 128, 1, 1));
static_assert(!launch_parameters(BY 2, one, 32769, 4096) && !launch_parameters(BY 2, one, 65536, 4096), "between rows");
static_assert(is(launch_parameters(BY 2, one, 65537, 4096), 2, 132, 256, 1, 1));
static_assert(!launch_parameters(BY 2, one, 131073, 4096), "above the last");
static_assert(is(launch_parameters(BY 2, two, 262144, 2880), 1, 132, 192, 2, 0));
static_assert(!launch_parameters(BY 2, one, 262144, 2880) && !launch_parameters(BY 2, two, 262144, 4096));
static_assert(!launch_parameters(BY 2, one, 0, 2048) && !launch_parameters(BY 4, one, 0, 4096));
static_assert(!launch_parameters(BY 2, one, 0, 4096, DType::float16) && !launch_parameters(BY 2, Algorithm::unfused, 0, 4096));
static_assert(!launch_parameters(BY 2, one, 0, 4096, DType::bfloat16, Quant::fp8));
static_assert(noexcept(launch_parameters(BY 2, one, 0, 4096)));
)";
    check_compiles(folder, "#include \"one.h\"\n#define BY\nusing namespace crossover;\n" + checks);

    folder.write("two.h", emit_cpp_header(std::array{test::every_state(), table_of("NVIDIA B200", 2000)}));
    const std::string use = "#include \"two.h\"\nusing namespace crossover;\n";
    check_compiles(folder, use + "#define BY Sku::nvidia_h200,\n" + checks);
    check_compiles(folder, use + "#define BY \"NVIDIA H200\",\n" + checks);
    check_compiles(folder, use + R"(static_assert(!launch_parameters(Sku::nvidia_b200, 2, Algorithm::oneshot, 0, 4096));
static_assert(!launch_parameters("NVIDIA B300", 2, Algorithm::oneshot, 0, 4096));
)");
}

TEST_CASE("a header twice, two GPUs' headers together, two headers of one GPU") {
    const test::TemporaryFolder folder;
    folder.write("h200.h", emit_cpp_header(std::array{table_of("NVIDIA H200", 1000)}));
    folder.write("copy.h", emit_cpp_header(std::array{table_of("NVIDIA H200", 1000)}));
    folder.write("b200.h", emit_cpp_header(std::array{table_of("NVIDIA B200", 2000)}));
    folder.write("newer.h", emit_cpp_header(std::array{table_of("NVIDIA H200", 1001)}));
    folder.write("both.h", emit_cpp_header(std::array{table_of("NVIDIA H100", 3000), table_of("NVIDIA GB300", 4000)}));

    check_compiles(folder, R"(#include "h200.h"
#include "h200.h"
#include "copy.h"
static_assert(crossover::oneshot_max_bytes(2) == 1000);
static_assert(crossover::nvidia_h200::oneshot_max_bytes(2) == 1000);
)");
    check_compiles(folder, R"(#include "h200.h"
#include "b200.h"
#include "both.h"
static_assert(crossover::nvidia_h200::oneshot_max_bytes(2) == 1000);
static_assert(crossover::nvidia_b200::oneshot_max_bytes(2) == 2000);
static_assert(crossover::nvidia_gb300::oneshot_max_bytes(2) == 4000);
static_assert(crossover::oneshot_max_bytes(crossover::Sku::nvidia_h100, 2) == 3000);
static_assert(crossover::oneshot_max_bytes("NVIDIA GB300", 2) == 4000);
static_assert(!crossover::oneshot_max_bytes("NVIDIA GB301", 2));
static_assert(crossover::find_sku("NVIDIA GB301") == crossover::Sku::unknown);
static_assert(crossover::select(crossover::find_sku("NVIDIA GB300"), 2, 4001) == crossover::Algorithm::twoshot);
)");
    check_does_not_compile(
        folder, "#include \"h200.h\"\n#include \"b200.h\"\nauto x = crossover::oneshot_max_bytes(2);\n", "ambiguous");
    check_does_not_compile(folder, "#include \"h200.h\"\n#include \"newer.h\"\n", "redefinition");
}

TEST_CASE("tables without cells, and names that are no identifiers") {
    const test::TemporaryFolder folder;
    folder.write("h.h", emit_cpp_header(std::array{test::empty_table("NVIDIA H200", "9.0")}));
    check_compiles(folder, "#include \"h.h\"\nstatic_assert(!crossover::oneshot_max_bytes(2));\n");

    Table odd = table_of("3090\\\n int evil; // \\", 5);
    odd.provenance.extra["host"] = "a\nb\\";
    odd.cells[0].note = "ends in a backslash \\";
    odd.cells[0].baseline = "x\n#error\n";
    folder.write("h.h", emit_cpp_header(std::array{odd}));
    check_compiles(folder,
                   "#include \"h.h\"\nstatic_assert(crossover::gpu_3090_int_evil::oneshot_max_bytes(2) == 5);\n");
}

TEST_CASE("same tables, same bytes; provenance in the comment") {
    const std::array tables{test::every_state()};
    const std::string text = emit_cpp_header(tables);
    CHECK(emit_cpp_header(std::array{parse_table(emit_yaml(tables[0]), "t")}) == text);
    for (const char* part : {"NVIDIA H200, compute capability 9.0, nvswitch, multicast off", "driver 580.159",
                             "NCCL 2.28.9", "2026-09-01", "sessions 4", "NCCL_NVLS_ENABLE=0", "clocks: 1980 MHz SM"})
        CHECK(text.find(part) != std::string::npos);
    CHECK(text.find("#include <vector>") == std::string::npos);
}

TEST_CASE("where nothing is fused, the header says from which size on that was measured") {
    Table table = test::empty_table("NVIDIA H200", "9.0");
    table.cells = {test::measured_cell(2, 0, 0)};
    const std::string remark = "// never fused from 4096 (4 KiB) on; not measured below\n";
    CHECK(emit_cpp_header(std::array{table}).find(remark) != std::string::npos);
    table.cells = {test::measured_cell(2, 0, 8192)};
    CHECK(emit_cpp_header(std::array{table}).find("never fused") == std::string::npos);
}

TEST_CASE("two tables for one GPU are refused") {
    CHECK_THROWS_AS(emit_cpp_header(std::array{table_of("NVIDIA H200", 1), table_of("NVIDIA H200", 2)}), InputError);
    CHECK_THROWS_AS(emit_cpp_header(std::array{table_of("NVIDIA H200", 1), table_of("NVIDIA-H200", 2)}), InputError);
    CHECK_THROWS_AS(emit_cpp_header({}), InputError);
}

TEST_CASE("device code may look up") {
    if (!test::has("command -v nvcc", "nvcc")) return;
    const test::TemporaryFolder folder;
    folder.write("h.h", emit_cpp_header(std::array{test::every_state(), table_of("NVIDIA B200", 2000)}));
    folder.write("use.cu", R"(#include "h.h"
using namespace crossover;
static_assert(select(Sku::nvidia_b200, 2, 2000) == Algorithm::oneshot);
__global__ void on_device(Sku sku, int world, std::uint64_t bytes, DType dtype, Quant quant, std::uint64_t* out) {
    out[0] = static_cast<std::uint64_t>(select(sku, world, bytes, dtype, quant));
    out[1] = is_measured(sku, world, bytes, dtype, quant);
    out[2] = workspace_bytes(sku, world, dtype, quant);
    const Cell found = cell(sku, world, dtype, quant);
    out[3] = found.oneshot.known ? found.oneshot.max_bytes : 1;
    constexpr Algorithm known_here = select(Sku::nvidia_h200, 2, 4096);
    out[4] = static_cast<std::uint64_t>(known_here);
    out[5] = static_cast<std::uint64_t>(select(sku, world, bytes, std::int64_t{2048}, dtype, quant));
}
std::uint64_t on_host(int world) { return oneshot_max_bytes("NVIDIA B200", world).value_or(7); }
)");
    const auto result =
        folder.run("nvcc -std=c++17 -Werror all-warnings -Xcompiler -Wall,-Wextra,-Werror -c use.cu -o use.o");
    CHECK_MESSAGE(result.status == 0, result.output);
}
