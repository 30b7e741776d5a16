#pragma once
/// Is it bytes? One cell's hidden_dims, each with a fit of its own, against the cell's one pair of limits.

#include "tuner/fit/fit.hpp"
#include "tuner/fit/observations.hpp"

#include <vector>

namespace crossover {

/// A share of time lost with one pair of limits for all hidden_dims, above which a hidden_dim gets its own. Noise does
/// not get there: a fit's change of algorithm must save half the guard band, so that of 200 synthetic machines with
/// 1 % noise between sessions, none lost 1 %. A disturbed time does, so what one session of several has does not count.
inline constexpr double kCostOfOneRow = 0.01;

/// Nothing for a cell that is neither measured nor a tie, or whose points have one hidden_dim. See the
/// public one for what else is left out.
std::vector<HiddenDimFit> fit_hidden_dims(const CellObservations& observations, const Cell& cell,
                                          const FitOptions& options);

/// Their spread, a row for each that loses more than kCostOfOneRow at a point, and a note on the worst.
void add_hidden_dims(Cell& cell, const std::vector<HiddenDimFit>& fits);

} // namespace crossover
