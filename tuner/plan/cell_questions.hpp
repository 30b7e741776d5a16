#pragma once
/// Brackets, edges and ties: steps 3 to 5 of the search (cell_search.hpp), when the launches are known.

#include "tuner/fit/fit.hpp"
#include "tuner/plan/plan.hpp"
#include "tuner/plan/standings.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace crossover {

/// A cell as the search has found it so far.
struct CellState {
    const std::vector<Point>& points; // that may be asked for, sorted
    const std::vector<std::string>& algorithms;
    const FitOptions& options;
    int session = 0;                 // that is to be measured
    std::span<const Sample> samples; // launched as chosen
    const Standings& standings;      // by them
};

/// What is to be measured next, sorted by point, of the algorithms that come near the fastest of the neighbouring
/// sizes.
/// @param brackets  whether sizes between those that were measured are still of interest
std::vector<Trial> open_questions(const CellState& cell, bool brackets);

/// Ascending.
std::vector<std::int64_t> hidden_dims_of(const std::vector<Point>& points);

} // namespace crossover
