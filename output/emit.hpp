#pragma once
/// One emitter a format, in a file each. Same tables in, same bytes out.

#include "tuner/table.hpp"
#include "tuner/write_atomically.hpp" // how every artefact is written

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace crossover {

/// table.yaml (configs/table.schema.json). parse_table() of it gives the same table.
std::string emit_yaml(const Table& table);
/// @throws InputError with file:line for malformed YAML, unknown keys, intervals that do not join, limits that are not
/// their ends, a newer schema_version.
Table read_table(const std::filesystem::path& path);
/// The same from a text; `where` stands for the file in errors.
Table parse_table(const std::string& text, const std::string& where);

/// oneshot_thresholds.h, C++17, host and device. Each table is a namespace crossover::SKU (inline if it is the only
/// one, so that crossover::select(8, bytes) works); several add lookups that take the SKU, by enum or by the driver's
/// name.
/// @throws InputError if two tables have the same SKU.
std::string emit_cpp_header(std::span<const Table> tables);

std::string emit_json(const Table& table);
/// The summary that `tune` ends with, a Markdown table a pattern and dtype: per world size and quant oneshot max,
/// twoshot max, intervals, gains at the edges, baseline.
std::string emit_summary(const Table& table);
/// report.md: the summary, the provenance, and of every cell its intervals, regret and note.
std::string emit_markdown(const Table& table);

// ---- what engines check in ----

/// What to do when two tables say different things of what an engine cannot tell apart (one compute capability).
enum class OnConflict : std::uint8_t { refuse, safer };

/// The cells an engine's table is made from, where it has one limit for all dtypes and quant modes.
struct EngineOptions {
    DType dtype = DType::bfloat16;
    Quant quant = Quant::none;
    OnConflict on_conflict = OnConflict::refuse;
    std::vector<std::int64_t> hidden_dims; // of the models, for limits in tokens
};

/// vLLM's two dicts, FI_ALLREDUCE_FUSION_MAX_SIZE_MB and _FI_ALLREDUCE_ONE_SHOT_MAX_SIZES_MB: compute capability →
/// world size → MiB, compared as tokens × hidden × element size <= MiB × 1024². What was not measured is left out.
/// @throws InputError if tables of one compute capability differ and on_conflict is `refuse`, or one has no such cell
std::string emit_vllm(std::span<const Table> tables, const EngineOptions& options);

/// One line `--compilation-config '{…}'` that gives one model on one world size its limit, floored to whole tokens.
/// @throws InputError if the cell was not measured
std::string emit_vllm_config(const Table& table, const EngineOptions& options, int world_size, std::int64_t hidden_dim);

/// SGLang's limit in tokens (it fuses 0 < tokens <= limit) and FlashInfer's workspace, a world size and hidden_dim
/// each.
std::string emit_sglang(const Table& table, const EngineOptions& options);

/// TensorRT-LLM's lookup array [SM][TP][fusion][hidden][tokens]. options.quant is not used: quant modes are a
/// dimension.
/// @throws InputError if tables of one SM differ and on_conflict is `refuse`
std::string emit_tensorrt_llm(std::span<const Table> tables, const EngineOptions& options);

} // namespace crossover
