#pragma once
/// The figure of one cell: latency over message bytes, what the table chooses, and the challengers of the baseline
/// against the fastest of those that they would displace: fused against unfused, and of MoE patterns what Onset
/// (tuner/table.hpp) tells apart.

#include "output/algorithm_styles.hpp"
#include "tuner/table.hpp"

#include <array>
#include <string>

namespace crossover {

struct CellObservations;

struct LatencyFigure {
    const Cell& cell;
    const CellObservations& observations; // of the same cell
    std::array<double, 2> log2_bytes{};   // ends of the axis of message bytes, low < high
    double guard_band = 0.02;
    const AlgorithmStyles& styles;
};

/// Where the axis of message bytes lies, in pixels from the left.
inline constexpr double kPlotLeft = 56;
inline constexpr double kPlotRight = 744;

/// An <svg>. From top to bottom: limits with their 95 % intervals; latency in µs on logarithmic axes, per algorithm the
/// median over hidden_dims (sessions are taken together before) and faint dots for the single ones; a strip with the
/// table's choice; ln(challenger ÷ fastest baseline), paired by point, on a scale stretched around 0, with the guard
/// band. Empty if no algorithm has a time.
std::string latency_figure(const LatencyFigure& figure);

} // namespace crossover
