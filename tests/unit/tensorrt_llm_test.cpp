#include "output/emit.hpp"
#include "tests/support/command.hpp"
#include "tests/support/tables.hpp"
#include "tuner/error.hpp"

#include <doctest/doctest.h>

#include <sstream>

using namespace crossover;

namespace {

/// Prints every entry of an array, then the same after overlay() over one filled with 77.
const char* const kProgram = R"(#include "strategies.h"
#include <cstdio>
int main() {
    using namespace crossover::tensorrt_llm;
    std::vector<std::vector<std::vector<std::vector<int>>>> best(
        3, std::vector<std::vector<std::vector<int>>>(4, std::vector<std::vector<int>>(7, std::vector<int>(15, 77))));
    overlay(best, ARRAY);
    for (int tp = 0; tp < 3; ++tp)
        for (int fusion = 0; fusion < 4; ++fusion)
            for (int hidden = 0; hidden < 7; ++hidden)
                for (int tokens = 0; tokens < 15; ++tokens)
                    std::printf("%d %d\n", ARRAY[tp][fusion][hidden][tokens], best[tp][fusion][hidden][tokens]);
}
)";

struct Entry {
    int emitted, overlaid;
};

/// entries[((tp * 4 + fusion) * 7 + hidden) * 15 + tokens]
std::vector<Entry> entries_of(const std::string& header, const std::string& array,
                              const std::string& compiler = "g++") {
    const test::TemporaryFolder folder;
    folder.write("strategies.h", header);
    folder.write("print.cpp", kProgram);
    const auto result = folder.run(compiler + " -std=c++17 -Wall -Wextra -Wpedantic -Werror -DARRAY=" + array +
                                   " print.cpp -o print && ./print");
    REQUIRE_MESSAGE(result.status == 0, result.output);
    std::vector<Entry> entries;
    std::istringstream numbers(result.output);
    for (Entry entry{}; numbers >> entry.emitted >> entry.overlaid;) entries.push_back(entry);
    REQUIRE(entries.size() == 3 * 4 * 7 * 15);
    return entries;
}

Entry at(const std::vector<Entry>& entries, int tp, int fusion, int hidden, int tokens) {
    return entries[static_cast<std::size_t>(((tp * 4 + fusion) * 7 + hidden) * 15 + tokens)];
}

} // namespace

TEST_CASE("every entry is the table's choice at its own place; not measured stays what the engine had") {
    const Table table = test::every_state();
    const std::string header = emit_tensorrt_llm(std::array{table}, {});
    for (const std::string compiler : {"g++", "clang++"}) {
        if (!test::has("command -v " + compiler, compiler)) continue;
        const auto entries = entries_of(header, "kStrategiesSM90", compiler);
        int not_measured = 0, nccl = 0;
        for (int tp = 0; tp < 3; ++tp)
            for (int fusion = 0; fusion < 4; ++fusion)
                for (int hidden = 0; hidden < 7; ++hidden)
                    for (int tokens = 0; tokens < 15; ++tokens) {
                        CAPTURE(tp);
                        CAPTURE(fusion);
                        CAPTURE(hidden);
                        CAPTURE(tokens);
                        const Quant quant = fusion < 2 ? Quant::none : fusion == 2 ? Quant::fp8 : Quant::fp4;
                        const CellKey key{.pattern =
                                              fusion == 0 ? Pattern::allreduce : Pattern::allreduce_residual_rmsnorm,
                                          .quant = quant,
                                          .world_size = 2 << tp};
                        const Cell* cell = find_cell(table, key);
                        const std::uint64_t bytes = (128ull << hidden) * (1ull << tokens) * 2;
                        const bool sampled =
                            cell != nullptr && bytes >= cell->measured_min_bytes && bytes <= cell->measured_max_bytes;
                        const std::string_view name =
                            sampled ? select_algorithm(*cell, bytes) : algorithm::not_measured;
                        const bool too_few = name == "twoshot" && tokens < tp + 1; // fewer tokens than ranks
                        const int expected = name == algorithm::not_measured || too_few ? -1
                                             : name == "oneshot"                        ? 4
                                             : name == "twoshot"                        ? 5
                                                                                        : 0;
                        const Entry entry = at(entries, tp, fusion, hidden, tokens);
                        CHECK(entry.emitted == expected);
                        CHECK(entry.overlaid == (expected == -1 ? 77 : expected));
                        not_measured += expected == -1;
                        nccl += expected == 0;
                    }
        CHECK(not_measured > 100);
        CHECK(nccl > 10);
    }
}

TEST_CASE("Blackwell's is another array; one that differs within an SM is refused or left out") {
    Table b200 = test::empty_table("NVIDIA B200", "10.0");
    b200.cells = {test::measured_cell(2, 1 << 20, 2 << 20)};
    Table gb300 = test::empty_table("NVIDIA GB300", "10.3");
    gb300.cells = {test::measured_cell(2, 1 << 21, 1 << 21)};
    Table a100 = test::empty_table("NVIDIA A100", "8.0");
    a100.cells = {test::measured_cell(4, 1 << 20, 2 << 20)};
    const std::string both = emit_tensorrt_llm(std::array{a100, b200}, {});
    CHECK(at(entries_of(both, "kStrategiesSM90"), 0, 1, 6, 0).emitted == -1);
    CHECK(at(entries_of(both, "kStrategiesSM100"), 0, 1, 6, 0).emitted == 4);
    CHECK(at(entries_of(both, "kStrategiesSM100"), 0, 1, 0, 0).emitted == -1); // 256 B, below the samples

    CHECK_THROWS_AS(emit_tensorrt_llm(std::array{b200, gb300}, {}), InputError);
    const auto entries =
        entries_of(emit_tensorrt_llm(std::array{b200, gb300}, {.on_conflict = OnConflict::safer, .hidden_dims = {}}),
                   "kStrategiesSM100");
    CHECK(at(entries, 0, 1, 6, 6).emitted == 4);  // 64 tokens of 8192: 1 MiB, oneshot on both
    CHECK(at(entries, 0, 1, 6, 7).emitted == -1); // 2 MiB: twoshot on one, oneshot on the other
    CHECK(at(entries, 0, 1, 6, 8).emitted == 0);  // unfused on both
    CHECK_THROWS_AS(emit_tensorrt_llm({}, {}), InputError);
    CHECK_THROWS_AS(emit_tensorrt_llm(std::array{b200, test::empty_table("NVIDIA A100", "8.0")}, {}), InputError);
    CHECK_THROWS_AS(emit_tensorrt_llm(std::array{b200}, {.dtype = DType::float16, .hidden_dims = {}}), InputError);
}

TEST_CASE("dtype decides which cells are read and how many bytes an entry has") {
    const auto entries =
        entries_of(emit_tensorrt_llm(std::array{test::every_state()}, {.dtype = DType::float32, .hidden_dims = {}}),
                   "kStrategiesSM90");
    // float32 was measured at world size 8 only: oneshot up to 64 KiB = 2 tokens of 8192 × 4 B
    CHECK(at(entries, 2, 1, 6, 1).emitted == 4);
    CHECK(at(entries, 2, 1, 6, 3).emitted == 5);
    CHECK(at(entries, 0, 1, 6, 1).emitted == -1);
    // hidden_dim 2048 has its own limits there, 16 KiB and 2 MiB: 2 and 256 tokens of 2048 × 4 B
    CHECK(at(entries, 2, 1, 4, 1).emitted == 4);
    CHECK(at(entries, 2, 1, 4, 3).emitted == 5);
    CHECK(at(entries, 2, 1, 4, 8).emitted == 5);
    CHECK(at(entries, 2, 1, 5, 2).emitted == 4); // 4 tokens of 4096: the cell's 64 KiB
}

TEST_CASE("no twoshot for fewer tokens than ranks: TensorRT-LLM's cannot, and of its array does not check") {
    Table table = test::empty_table("NVIDIA H200", "9.0");
    table.cells = {test::measured_cell(8, 0, 1 << 20)};
    const auto entries = entries_of(emit_tensorrt_llm(std::array{table}, {}), "kStrategiesSM90");
    CHECK(at(entries, 2, 1, 6, 0).emitted == -1); // a token
    CHECK(at(entries, 2, 1, 6, 2).emitted == -1); // 4 to 7
    CHECK(at(entries, 2, 1, 6, 2).overlaid == 77);
    CHECK(at(entries, 2, 1, 6, 3).emitted == 5); // 8 to 15
}
