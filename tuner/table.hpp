#pragma once
/// The table: what `fit` concludes and every emitter, comparison and evaluation reads.

#include "kernels/launch_parameters.hpp"
#include "tuner/workload.hpp"

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace crossover {

inline constexpr int kTableSchemaVersion = 1;

/// `measured`: thresholds are numbers, and 0 means "never". `tie`: at every size the fastest fused algorithm and the
/// baseline are within the guard band of each other, so that the choice does not matter; the baseline is used and the
/// thresholds are 0. `not_measured`: no usable samples. `unsupported`: the fused kernels cannot run this cell (`note`
/// says why). The last two have no thresholds.
enum class CellStatus : std::uint8_t { measured, tie, not_measured, unsupported };
inline constexpr std::array kCellStatuses{Named<CellStatus>{CellStatus::measured, "measured"},
                                          Named<CellStatus>{CellStatus::tie, "tie"},
                                          Named<CellStatus>{CellStatus::not_measured, "not_measured"},
                                          Named<CellStatus>{CellStatus::unsupported, "unsupported"}};
constexpr std::string_view to_string(CellStatus status) { return detail::name_in(kCellStatuses, status); }

/// Why a threshold lies where it does: the curves meet there (`crossover`), the algorithm's samples end there while it
/// still wins (`range`: beyond is not measured, or it cannot run there), or the workspace cannot hold more
/// (`workspace`).
enum class LimitedBy : std::uint8_t { crossover, range, workspace };
inline constexpr std::array kLimitedBy{Named<LimitedBy>{LimitedBy::crossover, "crossover"},
                                       Named<LimitedBy>{LimitedBy::range, "range"},
                                       Named<LimitedBy>{LimitedBy::workspace, "workspace"}};
constexpr std::string_view to_string(LimitedBy limit) { return detail::name_in(kLimitedBy, limit); }

/// The largest message (bytes of one rank's input, inclusive) for which an algorithm is to be used; 0 = never.
struct Threshold {
    std::uint64_t max_bytes = 0;
    /// Absent with one session (coarse imported times excepted: then it is what their rounding leaves open), when
    /// limited by range or workspace, and for 0. A lower end of 0 says that "never" cannot be ruled out.
    std::optional<std::array<std::uint64_t, 2>> ci95;
    LimitedBy limited_by = LimitedBy::crossover;
    /// (time of the next algorithm ÷ time of this one) − 1 at the largest measured size not above the threshold.
    std::optional<double> gain_at_edge;

    bool operator==(const Threshold&) const = default;
};

/// MoE patterns: from how many bytes (inclusive) the baseline's challengers are to be used: those that quantize before
/// the gather, or scatter what they reduce.
struct Onset {
    std::optional<std::uint64_t> min_bytes;           // 0 = always; nothing = at no size that was measured
    std::optional<std::array<std::uint64_t, 2>> ci95; // as Threshold's; an upper end at the largest size measured says
                                                      // that "never" cannot be ruled out
    std::optional<double> gain_at_edge;               // of the challenger, at the smallest measured size from min_bytes

    bool operator==(const Onset&) const = default;
};

/// What an onset is called: quantize_before_gather of a dispatch, reduce_scatter of a combine.
constexpr std::string_view onset_name(Pattern pattern) {
    return is_moe_dispatch(pattern) ? "quantize_before_gather" : "reduce_scatter";
}

/// Sizes min_bytes…max_bytes (inclusive; no max = open) are to use `algorithm`: a name, unfused ones included.
struct Interval {
    std::uint64_t min_bytes = 0;
    std::optional<std::uint64_t> max_bytes;
    std::string algorithm;

    bool operator==(const Interval&) const = default;
};

/// Time with the table ÷ time with the best algorithm − 1, over `points` measured points.
struct Regret {
    double mean = 0;
    double max = 0;
    int points = 0;
    bool held_out = false; // shapes that the fit did not see; else those that it fitted

    bool operator==(const Regret&) const = default;
};

/// What one hidden_dim is to use where the cell's own limits, which know of bytes only, cost it over 1 %. The fields
/// are those of Cell, for this hidden_dim alone; beyond its samples they are the cell's.
struct HiddenDimRow {
    std::int64_t hidden_dim = 0;
    CellStatus status = CellStatus::measured; // or tie
    std::optional<Threshold> oneshot = {}, twoshot = {};
    std::optional<Onset> onset = {};
    std::string baseline = {};
    std::uint64_t workspace_bytes = 0;
    std::vector<Interval> intervals = {};

    bool operator==(const HiddenDimRow&) const = default;
};

/// Is it bytes? How far the limits of single hidden_dims lie apart, and what it costs that a cell has one pair for all.
struct HiddenDimSpread {
    int hidden_dims = 0; // that were fitted each on its own
    /// Smallest and largest limit of a single hidden_dim; absent where no curves cross within its samples.
    std::optional<std::array<std::uint64_t, 2>> oneshot, twoshot;
    /// Time with the cell's limits ÷ time with the hidden_dim's own − 1: over all points, and at the worst one.
    double mean_cost = 0;
    double worst_cost = 0;

    bool operator==(const HiddenDimSpread&) const = default;
};

/// How a fused algorithm was fastest for messages of one hidden_dim, where the kernel's default was slower by more than
/// the guard band. No other shape has launch parameters of its own.
struct LaunchRow {
    std::string algorithm; // oneshot or twoshot
    std::int64_t hidden_dim = 0;
    std::uint64_t min_bytes = 0; // inclusive, both
    std::uint64_t max_bytes = 0;
    LaunchParameters launch = {};

    bool operator==(const LaunchRow&) const = default;
};

/// Consumers select by two limits: oneshot if bytes <= oneshot.max_bytes, else twoshot if bytes <= twoshot.max_bytes,
/// else unfused. That agrees with `intervals` everywhere, unless these cannot be said with two limits (fused and
/// unfused alternate, which `note` then says): the limits are then the pair of least regret.
struct Cell {
    CellKey key;
    CellStatus status = CellStatus::not_measured;
    std::optional<Threshold> oneshot; // absent = oneshot not measured (or unsupported)
    /// Upper end of the fused range: twoshot serves oneshot.max_bytes + 1 … twoshot.max_bytes. Where twoshot is the
    /// best at no size above that, it equals oneshot (0 if that is 0). Never below it. Absent = twoshot not measured
    /// (or unsupported), and then it is to be used nowhere.
    std::optional<Threshold> twoshot;
    std::optional<Onset> onset; // MoE patterns alone, and these have neither of the above
    std::string baseline; // the unfused algorithm above the upper fused threshold: the fastest, or within half the
                          // band. MoE: what the challengers displace
    std::uint64_t workspace_bytes = 0;
    std::uint64_t measured_min_bytes = 0; // the range that samples cover
    std::uint64_t measured_max_bytes = 0;
    /// Contiguous from 0, the last one open. Where a fused algorithm still wins at the largest size measured, the last
    /// one is `not_measured`; where an unfused one has overtaken it, that one goes on. MoE: likewise, but it is the
    /// challenger that goes on.
    std::vector<Interval> intervals;
    std::optional<HiddenDimSpread> spread; // with samples of two hidden_dims or more
    std::vector<HiddenDimRow> hidden_dims; // ascending; those for which the above is over 1 % wrong
    std::vector<LaunchRow> launches;       // by algorithm, hidden_dim, bytes; the times above are with these
    std::optional<Regret> regret;
    std::string note; // one line: why unsupported, what costs over 1 %, …

    bool operator==(const Cell&) const = default;
};

/// What a fingerprint's topology can be, and a table's source.
inline constexpr std::array<std::string_view, 3> kTopologies{"nvswitch", "nvlink", "pcie"};
inline constexpr std::array<std::string_view, 3> kSources{"gpu", "recording", "import"};

/// What the numbers depend on. Two tables compare only where this is equal.
struct Fingerprint {
    std::string sku;
    std::string compute_capability;
    std::string topology = "nvswitch"; // of kTopologies
    bool multicast = false;
    int nodes = 1;

    bool operator==(const Fingerprint&) const = default;
};

/// Whether a text is like "9.0", as CUDA and tables write it; engines' own 90 is not.
bool is_compute_capability(std::string_view text);

/// Begins the keys of `extra` that tell of kernels that are not ours (tuner/roles.hpp): "candidate acme_oneshot".
inline constexpr std::string_view kCandidatePrefix = "candidate ";

struct Provenance {
    std::string driver, cuda, nccl, date;
    int sessions = 0;
    std::int64_t samples = 0;
    std::map<std::string, std::string> environment; // variables that change results, e.g. NCCL_NVLS_ENABLE
    std::map<std::string, std::string> extra;       // cache, graph_calls, trials, recording, imported_from, candidates

    bool operator==(const Provenance&) const = default;
};

struct Table {
    int schema_version = kTableSchemaVersion;
    std::string crossover_version;
    Fingerprint fingerprint;
    std::string source = "gpu"; // of kSources
    Provenance provenance;
    std::vector<Cell> cells; // sorted by key

    bool operator==(const Table&) const = default;
};

/// A share of time (gain, regret) as tables hold it: to a millionth, far below any noise, so that no stray digits of
/// binary fractions get into files and reviews.
double rounded_share(double share);

/// The cell with this key, or nullptr.
const Cell* find_cell(const Table& table, const CellKey& key);

/// Where oneshot's and twoshot's ranges end, if two limits can say what the intervals say: by rising size oneshot,
/// twoshot, unfused ones, not_measured. 0 without a range; twoshot's repeats oneshot's where it has none of its own.
struct RangeEnds {
    std::uint64_t oneshot = 0, twoshot = 0;
};
std::optional<RangeEnds> range_ends(const std::vector<Interval>& intervals);

/// MoE: the onset's min_bytes, if one limit can say what the intervals say: by rising size baselines, challengers,
/// not_measured. Of those, none if there is no challenger.
struct OnsetBegin {
    std::optional<std::uint64_t> min_bytes;
};
std::optional<OnsetBegin> onset_begin(const std::vector<Interval>& intervals);

/// What the table says to run: the name in the interval that holds `bytes`; the baseline for a tie; `not_measured` when
/// the cell is absent, not measured or unsupported.
std::string_view select_algorithm(const Cell& cell, std::uint64_t bytes);
/// The same for a model's hidden_dim: by its row, if the cell has one.
std::string_view select_algorithm(const Cell& cell, std::uint64_t bytes, std::int64_t hidden_dim);

/// The row of this hidden_dim, or nullptr: the cell itself holds.
const HiddenDimRow* find_row(const Cell& cell, std::int64_t hidden_dim);
/// The cell as a model of this hidden_dim sees it: its row, if there is one, in the place of the cell's limits.
Cell for_hidden_dim(Cell cell, std::int64_t hidden_dim);

/// The row by which a fused algorithm is to be launched for this shape, or nullptr: by the kernel's default.
const LaunchRow* find_launch(const std::vector<LaunchRow>& launches, std::string_view algorithm,
                             std::int64_t hidden_dim, std::uint64_t bytes);

} // namespace crossover
