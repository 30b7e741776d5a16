#include "output/comparison_evidence.hpp"
#include "tuner/fit/statistics.hpp"

#include <algorithm>
#include <cmath>

namespace crossover {
namespace {

/// +1 or -1 if the shift is so far off 0 that its side is reached with less than probability `chance`, else 0.
int sign_beyond(const Shift& shift, double error, double chance) {
    const double bound = error > 0 ? error * student_t_quantile(1 - chance, shift.degrees_of_freedom) : 0;
    return shift.estimate > bound ? 1 : shift.estimate < -bound ? -1 : 0;
}

std::map<int, std::vector<std::size_t>> by_kind(std::span<const Shift> shifts) {
    std::map<int, std::vector<std::size_t>> kinds;
    for (std::size_t i = 0; i < shifts.size(); ++i) kinds[shifts[i].kind].push_back(i);
    return kinds;
}

} // namespace

std::vector<Shift> as_if_sharing_noise(std::span<const Shift> shifts) {
    std::vector<Shift> machine;
    for (const auto& [kind, members] : by_kind(shifts)) {
        if (members.size() < 2) continue;
        Shift mean{.estimate = 0, .standard_error = 1, .degrees_of_freedom = HUGE_VAL, .kind = kind};
        for (const std::size_t i : members) {
            if (shifts[i].standard_error == 0) continue; // no noise, nothing to share
            mean.estimate += shifts[i].estimate / shifts[i].standard_error / static_cast<double>(members.size());
            mean.degrees_of_freedom = std::min(mean.degrees_of_freedom, shifts[i].degrees_of_freedom);
        }
        machine.push_back(mean);
    }
    return machine;
}

Beyond beyond_noise(std::span<const Shift> cells, std::span<const Shift> machine, double false_alarms) {
    Beyond beyond{.cells = std::vector<int>(cells.size(), 0), .machine = std::vector<int>(machine.size(), 0)};
    const auto kinds = by_kind(cells);
    for (const auto& [kind, members] : kinds) {
        double allowance = false_alarms / static_cast<double>(kinds.size());
        int sign = 0;
        for (std::size_t i = 0; i < machine.size(); ++i) {
            if (machine[i].kind != kind) continue;
            allowance /= 2;
            sign = beyond.machine[i] = sign_beyond(machine[i], machine[i].standard_error, allowance);
        }
        std::vector<double> errors;
        for (const std::size_t i : members) errors.push_back(cells[i].standard_error);
        const double usual_error = median(errors);
        for (const std::size_t i : members) {
            const double error = std::max(cells[i].standard_error, usual_error);
            beyond.cells[i] = sign_beyond(cells[i], error, allowance / static_cast<double>(members.size()));
            if (sign != 0 && sign_beyond(cells[i], error, 2 * allowance) == sign) beyond.cells[i] = sign;
        }
    }
    return beyond;
}

} // namespace crossover
