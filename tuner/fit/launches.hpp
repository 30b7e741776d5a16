#pragma once
/// Which launch parameters a fused algorithm is to have, by hidden_dim and message bytes, from samples of launch
/// variants (tuner/launch_name.hpp) beside samples of the kernel's default.

#include "tuner/samples/sample.hpp"
#include "tuner/table.hpp"

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace crossover {

/// The rows of each cell; a cell without any may be left out.
using Launches = std::map<CellKey, std::vector<LaunchRow>>;

/// What displaces the default: in a stretch of sizes where a variant is the best choice, it must beat the default by
/// launch_margin() at a size, and by more than the noise (tuner/fit/guard_band.hpp). A row reaches half way (in
/// octaves) to the next size looked at, at most to twice its own last one.
Launches fit_launches(std::span<const Sample> samples, double guard_band);

/// The rows of tables' cells.
Launches launches_of(std::span<const Cell> cells);

/// The launch of an algorithm at a point by these rows: a variant's name, or the algorithm's own for the default.
std::string launched(std::string_view algorithm, const Point& point, const Launches& launches);

/// The samples of those who launch by these rows: `oneshot` is then a sample of the launch that has the row, or of the
/// default without one; other variants are left out. Where the launch was never measured, the default stands for it, or
/// else a variant that was: launches differ by some percent, and without a time the next best algorithm would win.
/// Points at which nothing but launches was compared are left out: they say nothing about algorithms.
/// @param anew  leave out the times by which a launch was chosen (a session that had more variants at that point than a
///              later one), where two later sessions have others: chosen for being low, they are lower than the truth
std::vector<Sample> as_launched(std::span<const Sample> samples, const Launches& launches, bool anew = false);

} // namespace crossover
