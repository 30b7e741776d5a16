#pragma once
/// Is it bytes? One cell's hidden_dims, each with a fit of its own, against the cell's one pair of limits.

#include "tuner/fit/fit.hpp"
#include "tuner/fit/observations.hpp"

#include <vector>

namespace crossover {

/// Nothing for a cell that is neither measured nor a tie, or whose points have one hidden_dim. See the
/// public one for what else is left out.
std::vector<HiddenDimFit> fit_hidden_dims(const CellObservations& observations, const Cell& cell,
                                          const FitOptions& options);

/// Their spread, a row for each that loses over 1 % at a point, and a note on the worst.
void add_hidden_dims(Cell& cell, const std::vector<HiddenDimFit>& fits);

} // namespace crossover
