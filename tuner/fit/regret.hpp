#pragma once
/// What a choice of algorithms costs on measured points, by name: a table's choice, an engine's, any.

#include "tuner/samples/sample.hpp"
#include "tuner/table.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace crossover {

struct CellObservations;

/// A chooser's answer for "not fused": stands for the fastest unfused algorithm measured at the point.
inline constexpr std::string_view kUnfused = "unfused";
/// The same without our own all-reduce: stands for the fastest of NCCL's (nccl_*) at the point.
inline constexpr std::string_view kNccl = "nccl";

/// The algorithm to run at a point on a GPU of this compute capability: a name, kUnfused, kNccl, or
/// algorithm::not_measured where the chooser has nothing to say.
using Choice = std::function<std::string(const std::string& compute_capability, const Point& point)>;

/// What these cells say (select_algorithm). Keeps a reference.
Choice choice_of(std::span<const Cell> cells);

struct PointRegret {
    std::string sku;
    Point point;
    std::string chosen; // kUnfused and kNccl resolved to a name
    std::string best;
    double chosen_us = 0;
    double best_us = 0;

    double regret() const { return chosen_us / best_us - 1; }
};

struct RegretReport {
    std::vector<PointRegret> points;  // worst first
    std::int64_t not_covered = 0;     // points for which the chooser has nothing to say
    std::int64_t not_sampled = 0;     // points at which the chosen algorithm has no time: no regret can be told
    std::int64_t outliers = 0;        // samples left out, see observations.hpp
    std::vector<std::string> missing; // the chosen algorithms of not_sampled points
};

/// In how many sessions a point was measured.
std::size_t sessions_of(const Point& point, std::span<const Sample> samples);

/// The time of an algorithm at a point is that typical of the sessions, outliers left out; launch variants left out.
RegretReport regret_report(std::span<const Sample> samples, const Choice& choice);
/// What a table costs: fused algorithms with the launch parameters of its rows.
RegretReport regret_report(std::span<const Sample> samples, std::span<const Cell> cells);
/// The same for cells already arranged.
RegretReport regret_report(std::span<const CellObservations> cells, const Choice& choice);

/// A report's points taken together: of one world size, and of one quant mode or (none given) all of them.
struct RegretGroup {
    std::string sku;
    Pattern pattern = Pattern::allreduce_residual_rmsnorm;
    DType dtype = DType::bfloat16;
    int world_size = 0;
    std::optional<Quant> quant;
    Regret regret;
    double lost_us = 0; // sum over the points of the time above the best
    double best_us = 0; // sum over the points of the best time
};

/// Sorted by the members above; a world size's total comes before its quant modes.
std::vector<RegretGroup> by_world_size_and_quant(std::span<const PointRegret> points);

/// Mean, worst and number of a report's points.
Regret summary(std::span<const PointRegret> points);

} // namespace crossover
