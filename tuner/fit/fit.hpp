#pragma once
/// Samples in, table out. Pure numbers: no files, no clock, no GPU.

#include "tuner/config.hpp"
#include "tuner/samples/sample.hpp"
#include "tuner/table.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

namespace crossover {

struct FitOptions {
    double guard_band = 0.02;
    /// Bytes of workspace the fused kernels need to serve `cell` up to the largest measured shape; 0 if unknown
    /// (imports).
    std::function<std::uint64_t(const CellKey&, std::uint64_t max_message_bytes)> workspace_bytes;
};

/// Fits every cell that the samples hold. Samples that are not `ok` count for nothing but status and note; an algorithm
/// that failed or timed out at a point is not used at that size. Needs no order. 100,000 samples take under 1 s.
///
/// A threshold is the cut of least summed log regret over the measured sizes ("badness", GMP's tuneup), refined by
/// interpolating the log ratio of the two algorithms between the sizes on either side. Its 95 % interval is a t
/// interval over the crossings of the single sessions, because sessions differ by more than the samples of one; it
/// takes in what the rounding of imported times leaves open, and the whole gap between two sizes where the ratio jumps
/// in it.
///
/// Each hidden_dim is also fitted on its own (Cell::spread); those that lose over 1 % with the cell's limits get a row.
///
/// Launch variants (tuner/launch_name.hpp) come first: Cell::launches holds those that displace the kernel's default
/// (tuner/fit/launches.hpp), and all else is fitted to the times of an algorithm launched by them.
/// @throws InputError if the samples are of more than one SKU
std::vector<Cell> fit_cells(std::span<const Sample> samples, const FitOptions& options);

/// Is it bytes? What one hidden_dim alone says, beside what all of them together say.
struct HiddenDimFit {
    std::int64_t hidden_dim = 0;
    Cell own; // the fit of its samples
    /// (Time with the cell's one pair of thresholds ÷ time with its own) − 1 at its points.
    double mean_cost = 0;
    double worst_cost = 0;
    int points = 0;
};

/// One entry per measured (or tied) cell and hidden_dim, for cells with two hidden_dims or more. A hidden_dim is left
/// out if its own limits fall into gaps that a search left between its sizes.
/// @param cells  fit_cells() of the same samples
std::vector<HiddenDimFit> fit_hidden_dims(std::span<const Sample> samples, std::span<const Cell> cells,
                                          const FitOptions& options);

} // namespace crossover
