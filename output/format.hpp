#pragma once
/// Numbers as people read them. Exact values stand beside them wherever a threshold is printed.

#include "tuner/table.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace crossover {

/// "0 B", "512 B", "128 KiB", "1.25 MiB": powers of 1024, at most 3 significant digits, "~" before it unless exact.
std::string human_bytes(std::uint64_t bytes);

/// A number with this many decimals, "-0.0" never.
std::string fixed(double value, int decimals = 1);

/// 0.0312 → "+3.1 %"
std::string percent(double fraction, int decimals = 1);

/// Text for a comment in someone's source: control characters and backslashes, which could end or join lines, become
/// spaces.
std::string comment_line(std::string text);

/// "NVIDIA H200, compute capability 9.0, nvswitch, multicast off, nodes 1", on one line.
std::string machine_text(const Fingerprint& machine);

/// "source gpu, Crossover 0.1.0, driver …, CUDA …, NCCL …, date …, sessions 4, samples 1234", on one line; what is not
/// known is left out.
std::string origin_text(const Table& table);

/// "131072 (128 KiB)"
std::string size_text(std::uint64_t bytes);

/// A cell's limit of oneshot or twoshot.
inline const std::optional<Threshold>& threshold_of(const Cell& cell, std::string_view name) {
    return name == algorithm::oneshot ? cell.oneshot : cell.twoshot;
}
/// The same in words: its size ("≥ …" where the samples end there, "…, workspace" where that ends it), "0 (never from
/// 4 KiB on)", "tie", "not measured" or "unsupported".
std::string threshold_text(const Cell& cell, std::string_view name);
/// Both ends, "~115 KiB … ~137 KiB", or "–".
std::string range_text(const std::optional<std::array<std::uint64_t, 2>>& bytes);
/// Its 95 % interval, or "–".
template <class Limit> // Threshold or Onset
std::string ci_text(const std::optional<Limit>& limit) {
    return range_text(limit ? limit->ci95 : std::nullopt);
}
/// Its gain at the edge, "+3.1 %", or "–".
template <class Limit>
std::string gain_text(const std::optional<Limit>& limit) {
    return limit && limit->gain_at_edge ? percent(*limit->gain_at_edge) : "–";
}

/// From where a MoE cell's baseline is left: its size, "0 (always)", "never up to 8 MiB", "tie", "not measured" or
/// "unsupported".
std::string onset_text(const Cell& cell);

/// The challengers above a MoE cell's onset, or "–".
std::string then_text(const Cell& cell);

/// "0 (0 B) to 131072 (128 KiB): oneshot"
std::string interval_text(const Interval& interval);

/// What cells share a table of the summary: "allreduce_residual_rmsnorm, bfloat16"
std::string group_name(const CellKey& key);

/// What a cell says besides its limits, a line each: status, baseline, range, workspace, regret, note, intervals.
std::vector<std::string> cell_facts(const Cell& cell);
/// Likewise its rows of single hidden_dims, and of launches.
std::vector<std::string> row_facts(const Cell& cell);
std::vector<std::string> launch_facts(const Cell& cell);

/// How to read a summary of these cells, in a paragraph.
std::string how_to_read(const std::vector<Cell>& cells);

/// Where a table's numbers come from: {what, value} a row, those without a value left out.
std::vector<std::vector<std::string>> provenance_rows(const Table& table);

/// A Markdown pipe table with its columns aligned; `|` and line ends in cells are escaped. rows[0] is the head.
std::string markdown_table(const std::vector<std::vector<std::string>>& rows);

} // namespace crossover
