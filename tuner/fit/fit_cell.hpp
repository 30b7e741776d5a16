#pragma once
/// Observations of one cell in, its row of the table out.

#include "tuner/fit/fit.hpp"
#include "tuner/fit/observations.hpp"

#include <string>

namespace crossover {

/// fit_cells() for one cell, hidden_dims not looked at.
Cell fit_cell(const CellObservations& observations, const FitOptions& options);

/// A cell's note is one line: remarks joined by "; ".
void add_note(std::string& note, const std::string& remark);

/// 0.0123 → "1.2 %"
std::string percent_text(double share);

} // namespace crossover
