#pragma once

#include "tuner/fit/fit.hpp"
#include "tuner/samples/run_record.hpp"
#include "tuner/table.hpp"

#include <optional>
#include <set>
#include <span>
#include <vector>

namespace crossover {

/// The samples that are to be fitted, and those that are to judge the fit: of the config's validation points. Those of
/// candidates have the names of their roles.
struct SplitSamples {
    std::vector<Sample> fitted, held_out;
};
SplitSamples split_samples(std::span<const Sample> samples, const RunRecord& record);

/// A run's table, and what it was made of.
struct RunTable {
    Table table;
    SplitSamples samples;
    std::set<CellKey> cut_by_budget; // of which the search ended with its budget; their notes say so
};

/// The fitted cells, one `not_measured` cell for each that the record's config asked for and no sample is of, and where
/// the numbers come from. provenance.sessions and .samples are counted, the guard band is told. Samples of the config's
/// validation points are not fitted: where there are any, a cell's regret is that of those.
/// @param samples  of the record's GPU
RunTable make_table(std::span<const Sample> samples, const RunRecord& record, const FitOptions& options);

/// How a config wants its samples fitted.
FitOptions fit_options(const Config& config);

/// What a table was fitted with, as make_table() writes it there; nothing if it is by another hand.
std::optional<double> guard_band_of(const Table& table);

/// The cells of a config, sorted.
std::vector<CellKey> cell_keys(const Config& config);

} // namespace crossover
