#include "tuner/fit/fit_cell.hpp"

#include "tuner/fit/cell_model.hpp"
#include "tuner/fit/regret.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace crossover {
namespace {

using Index = Eigen::Index;

std::uint64_t bytes_of(double log2_bytes) {
    return static_cast<std::uint64_t>(std::exp2(std::clamp(log2_bytes, 0.0, 62.0)));
}

/// Fits one cell. Members are the stages' results.
class CellFit {
  public:
    CellFit(const CellObservations& observations, const FitOptions& options)
        : observations_(observations), options_(options), model_(observations) {
        cell_.key = observations.key;
    }

    Cell run() {
        if (!can_be_measured()) return cell_;
        const std::vector<std::uint64_t>& sizes = model_.sizes();
        cell_.measured_min_bytes = sizes.front();
        cell_.measured_max_bytes = sizes.back();
        free_ = model_.segments(options_.guard_band, false);
        ordered_ = is_ordered(free_) ? free_ : model_.segments(options_.guard_band, true);
        if (!model_.is_better(free_, ordered_, options_.guard_band)) free_ = ordered_;
        if (model_.is_tie(options_.guard_band)) {
            cell_.status = CellStatus::tie;
            cell_.baseline = model_.name(model_.baseline());
            if (has(algorithm::oneshot)) cell_.oneshot = Threshold{};
            if (has(algorithm::twoshot)) cell_.twoshot = Threshold{};
            if (is_moe(cell_.key.pattern)) cell_.onset = Onset{};
            cell_.intervals = {{.min_bytes = 0, .max_bytes = std::nullopt, .algorithm = cell_.baseline}};
        } else {
            cell_.status = CellStatus::measured;
            is_moe(cell_.key.pattern) ? set_onset() : set_thresholds();
            set_intervals();
        }
        const RegretReport regret = regret_report(std::span(&observations_, 1), choice_of(std::span(&cell_, 1)));
        cell_.regret = summary(regret.points);
        set_note();
        return cell_;
    }

  private:
    bool has(std::string_view name) const {
        const Series* series = observations_.find(name);
        return series && !series->empty();
    }

    /// Sets status and note where there is nothing to compare.
    bool can_be_measured() {
        const bool moe = is_moe(cell_.key.pattern);
        if (std::any_of(observations_.series.begin(), observations_.series.end(), [](const Series& series) {
                return algorithm::is_challenger(series.name) && !series.empty();
            })) {
            if (!model_.sizes().empty()) return true;
            cell_.note = moe ? "no baseline was measured" : "no unfused algorithm was measured";
            return false;
        }
        bool failed = false, skipped = false;
        for (const Series& series : observations_.series) {
            if (!algorithm::is_challenger(series.name)) continue;
            for (const Barred barred : series.barred) {
                failed |= barred == Barred::failed;
                skipped |= barred == Barred::skipped || barred == Barred::no_workspace;
            }
            if (!series.reason.empty()) add_note(cell_.note, series.name + ": " + series.reason);
        }
        if (skipped && !failed) cell_.status = CellStatus::unsupported;
        if (cell_.note.empty())
            cell_.note = moe ? "no challenger of the baseline was measured" : "no fused algorithm was measured";
        return false;
    }

    /// By rising rank (oneshot, then twoshot, then unfused): what limits can say.
    bool is_ordered(const std::vector<Segment>& segments) const {
        return std::is_sorted(segments.begin(), segments.end(), [&](const Segment& a, const Segment& b) {
            return model_.rank(a.algorithm) < model_.rank(b.algorithm);
        });
    }

    /// The segments around a cut must not hold another change of mind; single sessions would find that one instead.
    Contest contest_around(Index cut) const {
        Contest contest{
            .first = 0, .cut = cut, .last = static_cast<Index>(model_.sizes().size()), .below = {}, .above = {}};
        if (is_ordered(free_)) return contest;
        for (const Segment& segment : free_) {
            if (segment.begin < cut && cut <= segment.end) contest.first = segment.begin;
            if (segment.begin <= cut && cut < segment.end) contest.last = segment.end;
        }
        return contest;
    }

    /// The limit at `cut` (index of the first size above it) of the sizes below, the last of which go to `algorithm`.
    /// @param contest  around the cut: what meets there
    Threshold threshold(Index cut, Index algorithm, const Contest& contest) const {
        const std::vector<std::uint64_t>& sizes = model_.sizes();
        Threshold threshold;
        if (cut == 0) return threshold;
        threshold.max_bytes = sizes[cut - 1];
        const Index next = contest.above[cut - 1];
        if (next >= 0) {
            const double gain = model_.advantage(algorithm, next, cut - 1);
            if (std::isfinite(gain)) threshold.gain_at_edge = rounded_share(std::expm1(gain));
        }
        if (cut == static_cast<Index>(sizes.size())) {
            threshold.limited_by = LimitedBy::range;
        } else if (const Barred barred = model_.barred(algorithm, cut); barred != Barred::no) {
            threshold.limited_by = barred == Barred::no_workspace ? LimitedBy::workspace : LimitedBy::range;
        } else {
            const Edge edge = model_.edge(contest);
            threshold.max_bytes = std::clamp(bytes_of(edge.log2_bytes), sizes[cut - 1], sizes[cut] - 1);
            if (edge.interval) {
                const auto [low, high] = *edge.interval;
                const bool perhaps_never = low <= log2_bytes(sizes.front());
                threshold.ci95 = {perhaps_never ? 0 : std::min(bytes_of(low), threshold.max_bytes),
                                  std::clamp(bytes_of(high) + 1, threshold.max_bytes, sizes.back())};
            }
        }
        return threshold;
    }

    void set_thresholds() {
        const auto sizes = static_cast<Index>(model_.sizes().size());
        Index oneshot_end = 0, fused_end = 0; // sizes served
        Index topmost = -1;                   // the fused algorithm that serves the largest of them
        for (const Segment& segment : ordered_) {
            if (!model_.is_challenger(segment.algorithm)) continue;
            if (model_.name(segment.algorithm) == algorithm::oneshot) oneshot_end = segment.end;
            fused_end = segment.end;
            topmost = segment.algorithm;
        }
        const auto is_fused = [&](Index a) { return model_.is_challenger(a); };
        const auto is_oneshot = [&](Index a) { return model_.name(a) == algorithm::oneshot; };

        if (has(algorithm::oneshot)) {
            Contest contest = contest_around(oneshot_end);
            Index oneshot = -1;
            for (Index k = 0; k < sizes; ++k) {
                contest.below.push_back(model_.best(k, is_oneshot));
                contest.above.push_back(model_.best(k, [&](Index a) { return !is_oneshot(a); }));
                oneshot = std::max(oneshot, contest.below.back());
            }
            cell_.oneshot = threshold(oneshot_end, oneshot, contest);
        }
        if (has(algorithm::twoshot)) {
            if (fused_end == oneshot_end && cell_.oneshot) {
                cell_.twoshot = cell_.oneshot;
            } else {
                Contest contest = contest_around(fused_end);
                for (Index k = 0; k < sizes; ++k) {
                    // Below the twoshot range the best fused one, in it and above the one whose limit this is.
                    const bool served = k < oneshot_end;
                    contest.below.push_back(served ? model_.best(k, is_fused)
                                                   : model_.best(k, [&](Index a) { return a == topmost; }));
                    contest.above.push_back(model_.baseline_at(k));
                }
                cell_.twoshot = threshold(fused_end, topmost, contest);
            }
        }
        cell_.baseline = model_.name(baseline_above(fused_end));
        const std::uint64_t largest_fused =
            std::max(cell_.oneshot.value_or(Threshold{}).max_bytes, cell_.twoshot.value_or(Threshold{}).max_bytes);
        if (options_.workspace_bytes && largest_fused > 0)
            cell_.workspace_bytes = options_.workspace_bytes(cell_.key, largest_fused);
    }

    /// MoE: where the baseline's range, the lower one, ends.
    void set_onset() {
        const auto sizes = static_cast<Index>(model_.sizes().size());
        const auto is_challenger = [&](Index a) { return model_.is_challenger(a); };
        Index cut = 0, baseline = model_.baseline(); // the last one before the challengers
        for (const Segment& segment : ordered_)
            if (!is_challenger(segment.algorithm)) {
                cut = segment.end;
                baseline = segment.algorithm;
            }
        cell_.baseline = model_.name(baseline);
        Contest contest = contest_around(cut);
        for (Index k = 0; k < sizes; ++k) {
            contest.below.push_back(model_.baseline_at(k));
            contest.above.push_back(model_.best(k, is_challenger));
        }
        const Threshold below = threshold(cut, baseline, contest);
        Onset onset;
        if (cut < sizes) {
            onset.min_bytes = cut == 0 ? 0 : below.max_bytes + 1;
            const double gain = model_.advantage(contest.above[cut], contest.below[cut], cut);
            if (std::isfinite(gain)) onset.gain_at_edge = rounded_share(std::expm1(gain));
        }
        if (below.ci95) {
            const auto [low, high] = *below.ci95;
            onset.ci95 = {low == 0 ? 0 : low + 1, std::min(high + 1, model_.sizes().back())};
        }
        cell_.onset = onset;
    }

    /// What follows the fused range, by the intervals; the fastest at the largest size where nothing does. Unfused ones
    /// within half the guard band of each other share an interval, and the table must not give it two names.
    Index baseline_above(Index fused_end) const {
        for (const Segment& segment : ordered_)
            if (!model_.is_challenger(segment.algorithm) && segment.end > fused_end) return segment.algorithm;
        return model_.baseline_at(static_cast<Index>(model_.sizes().size()) - 1);
    }

    /// The last byte that goes to segment i of `segments`.
    std::uint64_t end_of(const std::vector<Segment>& segments, std::size_t i) const {
        const std::vector<std::uint64_t>& sizes = model_.sizes();
        const Segment& segment = segments[i];
        const Segment& next = segments[i + 1];
        const bool ordered = is_ordered(free_);
        if (ordered && is_moe(cell_.key.pattern) && model_.rank(segment.algorithm) < model_.rank(next.algorithm))
            return *cell_.onset->min_bytes - 1;
        if (ordered && !is_moe(cell_.key.pattern) && model_.is_challenger(segment.algorithm)) { // a threshold's edge
            const bool is_oneshot = model_.name(segment.algorithm) == algorithm::oneshot;
            return (is_oneshot ? cell_.oneshot : cell_.twoshot)->max_bytes;
        }
        if (model_.barred(segment.algorithm, next.begin) != Barred::no) return sizes[next.begin - 1];
        Contest contest{.first = segment.begin, .cut = next.begin, .last = next.end, .below = {}, .above = {}};
        contest.below.assign(sizes.size(), segment.algorithm);
        contest.above.assign(sizes.size(), next.algorithm);
        return std::clamp(bytes_of(model_.edge(contest).log2_bytes), sizes[next.begin - 1], sizes[next.begin] - 1);
    }

    void set_intervals() {
        std::uint64_t begin = 0;
        for (std::size_t i = 0; i < free_.size(); ++i) {
            Interval interval{.min_bytes = begin,
                              .max_bytes = std::nullopt,
                              .algorithm = std::string(model_.name(free_[i].algorithm))};
            const bool last = i + 1 == free_.size();
            if (!last) interval.max_bytes = end_of(free_, i);
            // Beyond the samples goes on what can only gain with size.
            const bool goes_on = model_.is_challenger(free_[i].algorithm) == is_moe(cell_.key.pattern);
            if (last && !goes_on) interval.max_bytes = cell_.measured_max_bytes;
            if (interval.max_bytes) begin = *interval.max_bytes + 1;
            cell_.intervals.push_back(std::move(interval));
        }
        if (cell_.intervals.back().max_bytes)
            cell_.intervals.push_back(
                {.min_bytes = begin, .max_bytes = std::nullopt, .algorithm = std::string(algorithm::not_measured)});
    }

    /// What the two limits lose where the intervals do not, at the worst point.
    double cost_of_two_limits() const {
        const RegretReport report =
            regret_report(std::span(&observations_, 1), [&](const std::string&, const Point& point) -> std::string {
                const std::uint64_t bytes = message_bytes(point);
                if (cell_.oneshot && bytes <= cell_.oneshot->max_bytes) return std::string(algorithm::oneshot);
                if (cell_.twoshot && bytes <= cell_.twoshot->max_bytes) return std::string(algorithm::twoshot);
                return std::string(kUnfused);
            });
        return summary(report.points).max;
    }

    void set_note() {
        for (const Series& series : observations_.series) {
            const auto failed = std::count(series.barred.begin(), series.barred.end(), Barred::failed);
            const auto skipped = std::count_if(series.barred.begin(), series.barred.end(), [](Barred b) {
                return b == Barred::skipped || b == Barred::no_workspace;
            });
            const std::string reason = series.reason.empty() ? "" : " (" + series.reason + ")";
            if (failed > 0)
                add_note(cell_.note, series.name + " failed at " + std::to_string(failed) +
                                         " points and is not used at their sizes" + reason);
            if (skipped > 0 && algorithm::is_challenger(series.name))
                add_note(cell_.note, series.name + " cannot run at " + std::to_string(skipped) + " points" + reason);
        }
        if (is_ordered(free_) || cell_.status != CellStatus::measured) return;
        if (is_moe(cell_.key.pattern))
            add_note(cell_.note, "the baseline and what displaces it alternate with size: the intervals say where");
        else
            add_note(cell_.note, "fused and unfused alternate with size: two limits lose up to " +
                                     percent_text(cost_of_two_limits()) + " where the intervals do not");
    }

    const CellObservations& observations_;
    const FitOptions& options_;
    CellModel model_;
    std::vector<Segment> free_;    // the best algorithm by size; ordered_ where that costs no more than the guard band
    std::vector<Segment> ordered_; // the best that two limits can say
    Cell cell_;
};

} // namespace

std::string percent_text(double share) {
    char text[32];
    std::snprintf(text, sizeof text, "%.1f %%", 100 * share);
    return text;
}

void add_note(std::string& note, const std::string& remark) { note += (note.empty() ? "" : "; ") + remark; }

Cell fit_cell(const CellObservations& observations, const FitOptions& options) {
    return CellFit(observations, options).run();
}

} // namespace crossover
