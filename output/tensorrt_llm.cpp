#include "output/emit.hpp"
#include "output/format.hpp"
#include "output/limits.hpp"
#include "tuner/error.hpp"

#include <algorithm>
#include <array>
#include <map>

namespace crossover {
namespace {

/// The dimensions of TensorRT-LLM's array (cpp/tensorrt_llm/common/customAllReduceUtils.h) and its strategy codes.
constexpr std::array kWorldSizes{2, 4, 8};
constexpr int kFirstHidden = 128, kHiddenCount = 7; // powers of two: 128 … 8192
constexpr int kTokenCount = 15;                     // powers of two: 1 … 16384
constexpr int kNccl = 0, kOneshot = 4, kTwoshot = 5;
constexpr int kNoCode = -1; // ours: no strategy, never to reach the engine

struct Fusion {
    const char* name;
    Pattern pattern;
    Quant quant;
};
constexpr std::array kFusions{Fusion{"NONE", Pattern::allreduce, Quant::none},
                              Fusion{"RESIDUAL_RMS_NORM", Pattern::allreduce_residual_rmsnorm, Quant::none},
                              Fusion{"RESIDUAL_RMS_NORM_QUANT_FP8", Pattern::allreduce_residual_rmsnorm, Quant::fp8},
                              Fusion{"RESIDUAL_RMS_NORM_QUANT_NVFP4", Pattern::allreduce_residual_rmsnorm, Quant::fp4}};

CellKey key_of(const Fusion& fusion, const EngineOptions& options, int world_size) {
    return {fusion.pattern, options.dtype, fusion.quant, world_size};
}
bool is_read(const CellKey& key, const EngineOptions& options) {
    return std::any_of(kFusions.begin(), kFusions.end(),
                       [&](const Fusion& fusion) { return key == key_of(fusion, options, key.world_size); });
}

/// TensorRT-LLM knows two: what is older than Blackwell reads 90, the rest 100.
int sm_of(const Table& table) { return std::stoi(table.fingerprint.compute_capability) < 10 ? 90 : 100; }

/// The first and the last interval reach beyond the samples; this array says what was measured only.
bool is_measured_at(const Cell& cell, std::uint64_t bytes) {
    const bool range_known = cell.measured_max_bytes > 0;
    return !range_known || (cell.measured_min_bytes <= bytes && bytes <= cell.measured_max_bytes);
}

/// Its twoshot takes a token a rank or more. That is checked of a strategy that it is told, not of its array's.
bool can_be_twoshot(const CellKey& key, std::uint64_t bytes, std::int64_t hidden_dim) {
    const std::uint64_t token_bytes = static_cast<std::uint64_t>(hidden_dim) * element_size(key.dtype);
    return bytes >= token_bytes * static_cast<std::uint64_t>(key.world_size);
}

int code_of(const Claim& claim, std::uint64_t bytes, std::int64_t hidden_dim) {
    if (claim.cell == nullptr || !is_measured_at(*claim.cell, bytes)) return kNoCode;
    const std::string_view name = select_algorithm(*claim.cell, bytes, hidden_dim);
    if (name == algorithm::not_measured) return kNoCode;
    if (name == algorithm::oneshot) return kOneshot;
    if (name == algorithm::twoshot) return can_be_twoshot(claim.cell->key, bytes, hidden_dim) ? kTwoshot : kNoCode;
    return kNccl;
}

/// The code on which all tables agree; where they do not, an error or no code at all.
int agreed_code(std::span<const Claim> claims, const CellKey& key, std::uint64_t bytes, std::int64_t hidden_dim,
                OnConflict on_conflict) {
    const int code = code_of(claims[0], bytes, hidden_dim);
    for (const Claim& claim : claims.subspan(1)) {
        if (code_of(claim, bytes, hidden_dim) == code) continue;
        if (on_conflict == OnConflict::safer) return kNoCode;
        throw InputError("emit tensorrt-llm",
                         "tables of " + claims[0].table->fingerprint.sku + " and " + claim.table->fingerprint.sku +
                             " share one array and differ at " + to_string(key) + ", " + std::to_string(bytes) + " B",
                         "emit one table only, or pass --on-conflict safer to leave such entries to TensorRT-LLM");
    }
    return code;
}

std::string rows(std::span<const Claim> claims, const CellKey& key, OnConflict on_conflict) {
    std::string out;
    for (int hidden = 0; hidden < kHiddenCount; ++hidden) {
        out += "            {";
        for (int tokens = 0; tokens < kTokenCount; ++tokens) {
            const std::int64_t hidden_dim = std::int64_t{kFirstHidden} << hidden;
            const auto bytes = static_cast<std::uint64_t>(hidden_dim << tokens) * element_size(key.dtype);
            const std::string code = std::to_string(agreed_code(claims, key, bytes, hidden_dim, on_conflict));
            out += (tokens == 0 ? "" : ", ") + std::string(code.size() < 2 ? " " : "") + code;
        }
        out += "}, // hidden " + std::to_string(kFirstHidden << hidden) + "\n";
    }
    return out;
}

std::string array_of(int sm, std::span<const Table* const> tables, const EngineOptions& options) {
    std::string out = "inline constexpr Strategies kStrategiesSM" + std::to_string(sm) + " = {\n";
    for (const int world_size : kWorldSizes) {
        out += "    { // TP=" + std::to_string(world_size) + "\n";
        for (const Fusion& fusion : kFusions) {
            const CellKey key = key_of(fusion, options, world_size);
            std::vector<Claim> claims;
            for (const Table* table : tables) claims.push_back({table, find_cell(*table, key)});
            out += std::string("        { // Fusion=") + fusion.name + "\n" + rows(claims, key, options.on_conflict) +
                   "        },\n";
        }
        out += "    },\n";
    }
    return out + "};\n";
}

constexpr const char* kArrayHead = R"(#pragma once

#include <cstddef>
#include <vector>

namespace crossover::tensorrt_llm {

// [TP 2, 4, 8][fusion][hidden 128 ... 8192][tokens 1 ... 16384]. TensorRT-LLM truncates log2 to find the entry: hidden
// 7168 reads 4096's row, 255 tokens read 128's column. Each entry is what the table says for the sizes at its own place.
// 4 oneshot, 5 twoshot, 0 NCCL: measured, an unfused path is the fastest. -1: NOT MEASURED, as is every size outside of
// the samples', or twoshot for fewer tokens than ranks, which TensorRT-LLM's cannot do. It is no strategy and does not
// mean NCCL; overlay() leaves such entries as TensorRT-LLM has them.
inline constexpr int kNotMeasured = -1;
using Strategies = int[3][4][7][15];

)";

constexpr const char* kOverlay = R"(
/// Writes what was measured over one of TensorRT-LLM's own arrays (AllReduceBestStrategyTableSM*).
inline void overlay(std::vector<std::vector<std::vector<std::vector<int>>>>& best, const Strategies& measured) {
    for (std::size_t tp = 0; tp < 3; ++tp)
        for (std::size_t fusion = 0; fusion < 4; ++fusion)
            for (std::size_t hidden = 0; hidden < 7; ++hidden)
                for (std::size_t tokens = 0; tokens < 15; ++tokens)
                    if (measured[tp][fusion][hidden][tokens] != kNotMeasured)
                        best.at(tp).at(fusion).at(hidden).at(tokens) = measured[tp][fusion][hidden][tokens];
}

} // namespace crossover::tensorrt_llm
)";

} // namespace

std::string emit_tensorrt_llm(std::span<const Table> tables, const EngineOptions& options) {
    if (tables.empty()) throw InputError("emit tensorrt-llm", "no table", "name at least one table.yaml");
    std::map<int, std::vector<const Table*>> by_sm;
    std::string out =
        "// Written by `crossover emit tensorrt-llm` for customAllReduceUtils.h: emit it again, do not edit it.\n";
    for (const Table& table : tables) {
        require_cell(table, "tensorrt-llm",
                     "dtype " + std::string(to_string(options.dtype)) + " of a pattern that it reads",
                     "name another --dtype, or measure allreduce or allreduce_residual_rmsnorm",
                     [&](const CellKey& key) { return is_read(key, options); });
        by_sm[sm_of(table)].push_back(&table);
        out += "// SM" + std::to_string(sm_of(table)) + ", dtype " + std::string(to_string(options.dtype)) + ": " +
               machine_text(table.fingerprint) + "; " + origin_text(table) + "\n";
    }
    out += kArrayHead;
    for (const auto& [sm, same] : by_sm) out += array_of(sm, same, options);
    return out + kOverlay;
}

} // namespace crossover
