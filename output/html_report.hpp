#pragma once
/// report.html: the curves, the crossovers and the regret map of a table, in one file without scripts.

#include "tuner/fit/fit.hpp"
#include "tuner/fit/regret.hpp"
#include "tuner/samples/sample.hpp"
#include "tuner/table.hpp"

#include <span>
#include <string>
#include <vector>

namespace crossover {

/// What another table, or an engine's own rule, loses on the same samples.
struct NamedRegret {
    std::string name;
    RegretReport fitted, held_out; // at the shapes of HtmlReport's samples
};

/// What a report is made from.
struct HtmlReport {
    const Table& table;
    std::span<const Sample> fitted;      // of the table's GPU; may be empty
    std::span<const Sample> held_out;    // likewise: shapes that the fit did not see
    FitOptions fit;                      // of the table: the guard band, and for the limits of single hidden_dims
    std::span<const NamedRegret> others; // to stand beside the table
};

/// Well-formed XML that browsers read as HTML: styles and figures are inside, nothing is fetched, and the same input
/// gives the same bytes. A section a cell; those of other patterns than the main one are folded. Text from the table
/// and the samples is escaped.
/// @throws InputError if the samples are of more than one kind of GPU
std::string emit_html(const HtmlReport& report);

} // namespace crossover
