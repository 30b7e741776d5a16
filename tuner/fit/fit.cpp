#include "tuner/fit/fit.hpp"

#include "tuner/error.hpp"
#include "tuner/fit/fit_cell.hpp"
#include "tuner/fit/hidden_dims.hpp"
#include "tuner/fit/launches.hpp"
#include "tuner/fit/regret.hpp"

namespace crossover {
namespace {

void require_one_sku(const std::vector<CellObservations>& cells) {
    for (const CellObservations& cell : cells)
        if (cell.sku != cells.front().sku || cell.compute_capability != cells.front().compute_capability)
            throw InputError("samples", "two kinds of GPU, " + cells.front().sku + " and " + cell.sku,
                             "fit each kind's samples on their own");
}

} // namespace

std::vector<Cell> fit_cells(std::span<const Sample> samples, const FitOptions& options) {
    const Launches launches = fit_launches(samples, options.guard_band);
    const std::vector<CellObservations> observations = arrange(as_launched(samples, launches, true));
    require_one_sku(observations);
    std::vector<Cell> cells;
    for (const CellObservations& each : observations) {
        Cell cell = fit_cell(each, options);
        add_hidden_dims(cell, fit_hidden_dims(each, cell, options));
        if (!cell.hidden_dims.empty())
            cell.regret = summary(regret_report(std::span(&each, 1), choice_of(std::span(&cell, 1))).points);
        if (const auto rows = launches.find(cell.key); rows != launches.end()) cell.launches = rows->second;
        cells.push_back(std::move(cell));
    }
    return cells;
}

std::vector<HiddenDimFit> fit_hidden_dims(std::span<const Sample> samples, std::span<const Cell> cells,
                                          const FitOptions& options) {
    const std::vector<CellObservations> observations = arrange(as_launched(samples, launches_of(cells), true));
    require_one_sku(observations);
    std::vector<HiddenDimFit> fits;
    for (const CellObservations& each : observations)
        for (const Cell& cell : cells)
            if (cell.key == each.key) {
                const std::vector<HiddenDimFit> of_cell = fit_hidden_dims(each, cell, options);
                fits.insert(fits.end(), of_cell.begin(), of_cell.end());
            }
    return fits;
}

} // namespace crossover
