#pragma once
/// Samples arranged for the fit: per cell and algorithm a matrix of log times, points × sessions, outliers taken out.

#include "tuner/samples/sample.hpp"

#include <Eigen/Core>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace crossover {

/// Why an algorithm is not to be used at a point, the graver one where several samples differ.
enum class Barred : std::uint8_t { no, skipped, no_workspace, failed };

/// One algorithm in one cell. Rows are the cell's points; NaN where there is no value.
struct Series {
    std::string name;
    Eigen::ArrayXXd log_us;        // points × sessions: ln of the time in µs
    Eigen::ArrayXd typical;        // points: over the sessions, their offsets taken out
    Eigen::ArrayXd session_offset; // sessions: how much slower (+) than typical; NaN for a session without values
    double noise = 0;              // standard deviation of `typical`, by what sessions differ; 0 with one session
    Eigen::Index repeated = 0;     // points that two sessions or more have
    Eigen::ArrayXd rounding;       // points: ± in ln µs that coarse imported times leave open, else 0
    std::vector<Barred> barred;    // points
    std::string reason;            // the note of the first sample that was not ok
    bool empty() const { return !typical.isFinite().any(); }
    /// Two sessions have its time: one alone may have been disturbed, and nothing need tell.
    bool is_confirmed(Eigen::Index point) const { return log_us.row(point).isFinite().count() > 1; }
};

struct CellObservations {
    std::string sku;
    std::string compute_capability;
    CellKey key;
    std::vector<Point> points;  // sorted: every hidden_dim's points follow one another, from few tokens to many
    std::vector<Series> series; // oneshot and twoshot first where they are, then the unfused ones by name
    int sessions = 0;
    std::int64_t samples = 0;  // that were ok
    std::int64_t outliers = 0; // of those, left out

    const Series* find(std::string_view name) const;
    /// The rows of one hidden_dim.
    CellObservations of_hidden_dim(std::int64_t hidden_dim) const;
};

/// Arranges samples by SKU and cell, sorted by both. A session has one sample of an algorithm at a point: journal.hpp
/// refuses others.
///
/// Times are taken apart as point + session offset + rest by median polish (Tukey 1977, "Exploratory Data Analysis"),
/// which leaves a disturbed sample in the rest. It is left out when the sessions at that point agree on another time.
/// Where there is but one session, it is when it alone sticks out from the curve through its neighbours: a step of the
/// curve does not, for its neighbours on one side share it, nor does a feature that two hidden_dims show.
///
/// Launch variants of fused algorithms (tuner/launch_name.hpp) are left out: as_launched() gives those that a table
/// means by the algorithm's name.
std::vector<CellObservations> arrange(std::span<const Sample> samples);
/// The same for samples of one cell, every name a series, launch variants, too.
CellObservations arrange_cell(const std::vector<const Sample*>& samples);

/// By how much (ln) value i of a curve sticks out from what the neighbours on both sides lead to; 0 where the sides
/// disagree about the direction (steps, bends) or i is an end. Between two values alone only what lies above their line
/// sticks out: below it is the bend that every curve has between latency and bandwidth. x ascends.
double spike(std::span<const double> x, std::span<const double> y, std::size_t i);

} // namespace crossover
