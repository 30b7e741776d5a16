#pragma once
/// The regret map of one cell: hidden_dim × num_tokens, coloured by what the table's choice loses there.

#include "output/algorithm_styles.hpp"
#include "tuner/table.hpp"

#include <string>

namespace crossover {

struct CellObservations;

/// An <svg>: a field for each measured point, its colour the regret of the cell's choice against the best algorithm
/// measured there, its bar the algorithm chosen, its tooltip both with the time lost. Fields without a regret (beyond
/// the table, or no time of what it chooses) are empty. Both observations are of the same cell; those of shapes held
/// out of the fit, framed, may be nullptr.
std::string regret_map(const Cell& cell, const CellObservations& fitted, const CellObservations* held_out,
                       const AlgorithmStyles& styles);

/// The key to the colours, HTML.
std::string regret_key();
/// Rules for the colours, for light paper and dark: one hue from pale to strong, so that lightness alone tells.
std::string regret_css();

} // namespace crossover
