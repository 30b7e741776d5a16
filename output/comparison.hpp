#pragma once
/// `crossover compare`: what changed between two tables of one machine, and what the change costs.
///
/// A threshold that moved says little: where the curves lie on each other it moves freely and costs nothing, where they
/// cross steeply a small move is a slow kernel. So a verdict needs both: a change beyond the noise between sessions,
/// and more time lost or won than a limit.
///
/// - With the samples of both tables the time is computed: log ratios of NEW's to OLD's times at the points both hold,
///   for the calls as each table dispatches them, and for each fused algorithm around its crossovers.
/// - Tables alone give an estimate: the distance a threshold moved times the slope of the log ratio there. They cannot
///   tell a slower algorithm from a faster rival; both shrink the range.

#include "tuner/samples/sample.hpp"
#include "tuner/table.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace crossover {

/// `same`: no change beyond noise. `moved`: a threshold moved beyond noise, but no time to speak of is lost or won.
/// `better`, `worse`: more than the limit is won or lost. `missing`: measured in OLD, not in NEW. `not_comparable`:
/// what OLD and NEW measured differs, or only one says what happens in the range in question.
enum class CellVerdict : std::uint8_t { same, moved, better, worse, added, missing, not_comparable };
/// As printed, and in the order in which they are counted.
inline constexpr std::array kCellVerdicts{Named<CellVerdict>{CellVerdict::same, "same"},
                                          Named<CellVerdict>{CellVerdict::moved, "moved"},
                                          Named<CellVerdict>{CellVerdict::better, "better"},
                                          Named<CellVerdict>{CellVerdict::worse, "worse"},
                                          Named<CellVerdict>{CellVerdict::added, "new"},
                                          Named<CellVerdict>{CellVerdict::missing, "missing"},
                                          Named<CellVerdict>{CellVerdict::not_comparable, "not comparable"}};
constexpr std::string_view to_string(CellVerdict verdict) { return detail::name_in(kCellVerdicts, verdict); }

/// A table, and its samples if there are any.
struct Measured {
    std::string name; // as given on the command line
    Table table;
    std::vector<Sample> samples;
};

/// What may differ between OLD and NEW without making them incomparable: driver, cuda, nccl, environment, cache,
/// source. Hardware may not.
inline constexpr std::array<std::string_view, 6> kAcrossWords{"driver",      "cuda",  "nccl",
                                                              "environment", "cache", "source"};

struct CompareOptions {
    double max_regression = 0.02;                // fraction of time
    bool strict = false;                         // not comparable fails, too
    std::set<std::string, std::less<>> across{}; // of kAcrossWords: compare although these differ
};

/// One limit of one algorithm, in OLD and NEW. Absent on a side = that side does not say.
struct ThresholdChange {
    std::string_view algorithm; // oneshot, twoshot, or of a MoE cell: baseline
    std::optional<Threshold> before, after;
    CellVerdict verdict = CellVerdict::same; // from the tables alone
    double octaves = 0;                      // log2(NEW / OLD)
    double time_at_stake = 0; // fraction; > 0 = lost: by how much the two curves shifted against each other
    std::string why;          // one line; empty for `same`
};

/// Time of a group of calls in NEW against OLD.
struct TimeChange {
    std::string what; // "oneshot within a factor of 4 of its crossovers"
    int points = 0;
    CellVerdict verdict = CellVerdict::same;
    double lost = 0;              // NEW ÷ OLD − 1
    std::array<double, 2> ci95{}; // of `lost`, from the spread between sessions
};

/// "oneshot within …: +5.1 % time (95 %: +3.9 % … +6.4 %) at 24 points"
std::string to_string(const TimeChange& change);

struct CellComparison {
    CellKey key;
    CellVerdict verdict = CellVerdict::same;
    std::vector<ThresholdChange> thresholds;
    std::vector<TimeChange> times;   // empty without samples
    int common_points = 0;           // points at which both sides timed what their tables choose
    int unmatched_points = 0;        // points at which only one side did
    bool compared = false;           // measured by both, and comparable
    std::optional<double> time_lost; // mean over common points; > 0 = NEW is slower
    std::vector<std::string> why;    // one line each
};

/// What is not the same about how OLD and NEW were measured.
struct Difference {
    std::string text;    // "nccl: 2.28.9 → 2.30.3"
    bool blocks = false; // no cell can be compared
    std::string remedy;  // how to compare all the same; empty if there is no way
};

/// Hardware, software and settings. What `options` lets differ, and what cannot change a time, blocks nothing.
std::vector<Difference> find_differences(const Table& before, const Table& after, const CompareOptions& options);

struct Comparison {
    std::string before, after;           // OLD and NEW, as named by the user
    Fingerprint fingerprint;             // OLD's
    std::vector<Difference> differences; // told once, not a cell
    double max_regression = 0;
    bool strict = false;
    std::string caveat; // what a verdict from tables alone leaves open; empty where it rests on samples
    std::vector<TimeChange> machine_wide; // with samples of more than one cell: the same groups over all cells
    std::vector<CellComparison> cells;    // by key; every key of OLD and NEW

    bool comparable() const; // no difference blocks
    int count(CellVerdict verdict) const;
    bool compared() const; // any cell
    /// `worse` and `missing`, and under --strict `not_comparable`.
    bool fails(const CellComparison& cell) const;
    /// Any cell, or something worse machine-wide, or nothing compared: silence is no consent.
    bool fails() const;
};

/// Compares every cell of both tables; uses samples where both sides have some.
///
/// A machine that did not change is found worse in at most 1 % of comparisons, however many cells it has, if its
/// session means are normally distributed (kFalseAlarms in comparison_evidence.hpp). How small a change is found
/// depends on the noise between sessions, see tests/unit/compare_rates_test.cpp: of machines whose algorithms are off
/// by up to 1 % a session, four sessions see a oneshot that got 5 % slower nearly always.
Comparison compare(const Measured& before, const Measured& after, const CompareOptions& options);

/// One line a cell for people, most urgent first; what changed below it.
std::string compare_text(const Comparison& comparison);
/// A GitHub-flavoured summary for a pull request or $GITHUB_STEP_SUMMARY.
std::string compare_markdown(const Comparison& comparison);
std::string compare_json(const Comparison& comparison);
/// One test case a cell: failures as fails() says, cells that cannot be compared are skipped.
std::string compare_junit(const Comparison& comparison);

} // namespace crossover
