#include "output/latency_figure.hpp"

#include "output/format.hpp"
#include "output/svg.hpp"
#include "tuner/fit/crossover.hpp"
#include "tuner/fit/observations.hpp"
#include "tuner/fit/regret.hpp"
#include "tuner/fit/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <set>

namespace crossover {
namespace {

using svg::Axis;
using svg::Vertex;

constexpr double kWidth = 760;
constexpr double kLimitRows[] = {13, 28}; // baselines of the limits' labels: oneshot, twoshot; MoE has one
constexpr double kTimeTop = 38, kTimeBottom = 290;
constexpr double kStripTop = 297, kStripHeight = 9;
constexpr double kRatioTop = 336, kRatioBottom = 486;
constexpr double kHeight = 526;

/// What a cell's limits tell apart.
struct Sides {
    std::string_view challengers, baselines;
};

constexpr Sides sides_of(Pattern pattern) {
    if (is_moe_dispatch(pattern)) return {"quantize before gather", "quantize after gather"};
    if (is_moe(pattern)) return {"reduce-scatter", "all-reduce"};
    return {"fused", "unfused"};
}

/// A limit of a cell, as drawn. What a cell without one says is in the label.
struct Limit {
    std::string name; // "oneshot max"
    std::string text;
    std::string style;
    std::optional<std::uint64_t> bytes; // none, or 0: no line
    std::optional<std::array<std::uint64_t, 2>> ci95;
};

std::vector<Limit> limits_of(const Cell& cell, const AlgorithmStyles& styles) {
    if (is_moe(cell.key.pattern)) {
        // In the colour of what is used from there on, or else of the baseline.
        const std::optional<std::uint64_t> bytes = cell.onset ? cell.onset->min_bytes : std::nullopt;
        const std::string_view name = bytes ? select_algorithm(cell, *bytes) : cell.baseline;
        return {{.name = std::string(sides_of(cell.key.pattern).challengers) + " from",
                 .text = onset_text(cell),
                 .style = styles.style(name),
                 .bytes = bytes,
                 .ci95 = cell.onset ? cell.onset->ci95 : std::nullopt}};
    }
    std::vector<Limit> limits;
    for (const std::string_view name : {algorithm::oneshot, algorithm::twoshot}) {
        const std::optional<Threshold>& threshold = threshold_of(cell, name);
        limits.push_back({.name = std::string(name) + " max",
                          .text = threshold_text(cell, name),
                          .style = styles.style(name),
                          .bytes = threshold ? std::optional(threshold->max_bytes) : std::nullopt,
                          .ci95 = threshold ? threshold->ci95 : std::nullopt});
    }
    if (cell.oneshot == cell.twoshot) limits.back().ci95.reset(); // is drawn already
    return limits;
}

struct CurvePoint {
    double log2_bytes = 0;
    std::int64_t hidden_dim = 0;
    double value = 0;
};

/// What is drawn of one algorithm, by size.
struct Curve {
    std::string name;
    std::vector<CurvePoint> points;
};

/// Of each algorithm for which `wanted` holds, value(its ln µs at a point, the point), where both are finite.
template <class Wanted, class Value>
std::vector<Curve> curves_of(const CellObservations& observations, Wanted wanted, Value value) {
    std::vector<Curve> curves;
    for (const Series& series : observations.series) {
        if (!wanted(series.name)) continue;
        Curve curve{.name = series.name, .points = {}};
        for (std::size_t p = 0; p < observations.points.size(); ++p) {
            const Point& point = observations.points[p];
            const double drawn = value(series.typical[static_cast<Eigen::Index>(p)], point);
            if (std::isfinite(drawn)) curve.points.push_back({log2_bytes(point), point.hidden_dim, drawn});
        }
        std::stable_sort(curve.points.begin(), curve.points.end(),
                         [](const CurvePoint& a, const CurvePoint& b) { return a.log2_bytes < b.log2_bytes; });
        if (!curve.points.empty()) curves.push_back(std::move(curve));
    }
    return curves;
}

std::vector<Curve> time_curves(const CellObservations& observations) {
    return curves_of(
        observations, [](const std::string&) { return true; }, [](double ln_us, const Point&) { return ln_us; });
}

/// ln(challenger ÷ fastest baseline) of each challenger.
std::vector<Curve> ratio_curves(const CellObservations& observations) {
    const auto baseline =
        regret_report(std::span(&observations, 1), [](const auto&, const Point&) { return std::string(kUnfused); });
    std::map<Point, double> baseline_us;
    for (const PointRegret& point : baseline.points) baseline_us[point.point] = point.chosen_us;
    return curves_of(
        observations, [](const std::string& name) { return algorithm::is_challenger(name); },
        [&](double ln_us, const Point& point) {
            const auto found = baseline_us.find(point);
            return found == baseline_us.end() ? std::nan("") : ln_us - std::log(found->second);
        });
}

/// Median over hidden_dims at each size. Sizes that the fit counts as one (kSameSize) are one here, too, unless they
/// are of the same hidden_dim: else the line would jump between hidden_dims whose sizes differ a little.
std::vector<CurvePoint> middle_of(const Curve& curve) {
    std::vector<CurvePoint> middle;
    for (auto first = curve.points.begin(), last = first; first != curve.points.end(); first = last) {
        std::set<std::int64_t> hidden_dims;
        std::vector<double> sizes, values;
        for (; last != curve.points.end() && last->log2_bytes - first->log2_bytes <= kSameSize &&
               hidden_dims.insert(last->hidden_dim).second;
             ++last) {
            values.push_back(last->value);
            sizes.push_back(last->log2_bytes);
        }
        middle.push_back({.log2_bytes = median(sizes), .hidden_dim = 0, .value = median(values)});
    }
    return middle;
}

/// Least and greatest value of all curves.
std::array<double, 2> range_of(const std::vector<Curve>& curves) {
    std::array range{std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()};
    for (const Curve& curve : curves)
        for (const CurvePoint& point : curve.points)
            range = {std::min(range[0], point.value), std::max(range[1], point.value)};
    return range;
}

/// Draws one cell. Members are the axes that all parts share.
class Drawing {
  public:
    explicit Drawing(const LatencyFigure& figure)
        : figure_(figure), x_{.low = figure.log2_bytes[0],
                              .high = figure.log2_bytes[1],
                              .from = kPlotLeft,
                              .to = kPlotRight},
          limits_(limits_of(figure.cell, figure.styles)) {}

    std::string svg() const {
        const std::vector<Curve> times = time_curves(figure_.observations);
        if (times.empty()) return "";
        const std::string name = to_string(figure_.cell.key);
        return "<svg viewBox=\"0 0 " + fixed(kWidth, 0) + " " + fixed(kHeight, 0) +
               "\" role=\"img\" aria-label=\"latency over message bytes, " + svg::escaped(name) + "\">\n" +
               intervals() + byte_axis() + time_panel(times) + strip() +
               ratio_panel(ratio_curves(figure_.observations)) + limits() + "</svg>\n";
    }

  private:
    std::string style(std::string_view kind, std::string_view algorithm) const {
        return std::string(kind) + " " + figure_.styles.style(algorithm);
    }

    /// The 95 % intervals, behind everything.
    std::string intervals() const {
        std::string out;
        for (const Limit& limit : limits_) {
            if (!limit.ci95) continue;
            const auto [low, high] = *limit.ci95;
            const double left = x_(std::clamp(low == 0 ? x_.low : log2_bytes(low), x_.low, x_.high));
            const double right = x_(std::clamp(log2_bytes(high), x_.low, x_.high));
            for (const auto& [top, bottom] : {std::pair(kTimeTop, kTimeBottom), std::pair(kRatioTop, kRatioBottom)})
                out += svg::rect({left, top}, std::max(1.0, right - left), bottom - top, "ci " + limit.style,
                                 "95 % interval of " + limit.name + ": " + range_text(limit.ci95)) +
                       "\n";
        }
        return out;
    }

    std::string byte_axis() const {
        std::string out;
        for (const int exponent : svg::powers_of_two(x_, 58)) { // "512 KiB" takes 46 px
            const double x = x_(exponent);
            out += svg::line({x, kTimeTop}, {x, kTimeBottom}, "grid") +
                   svg::line({x, kRatioTop}, {x, kRatioBottom}, "grid") +
                   svg::text({x, kRatioBottom + 15}, "middle", "tick", human_bytes(std::uint64_t{1} << exponent)) +
                   "\n";
        }
        return out +
               svg::text({0.5 * (kPlotLeft + kPlotRight), kRatioBottom + 33}, "middle", "label",
                         is_moe(figure_.cell.key.pattern)
                             ? "message bytes (input tensor of one rank, mean over the ranks)"
                             : "message bytes (input tensor of one rank)") +
               "\n";
    }

    std::string row_of_axis(double y, const std::string& label, std::string_view line_style) const {
        return svg::line({kPlotLeft, y}, {kPlotRight, y}, line_style) +
               svg::text({kPlotLeft - 6, y + 4}, "end", "tick", label) + "\n";
    }

    std::string curves(const std::vector<Curve>& all, const std::function<double(double)>& y) const {
        const auto on_paper = [&](const std::vector<CurvePoint>& points) {
            std::vector<Vertex> vertices;
            for (const CurvePoint& point : points) vertices.push_back({x_(point.log2_bytes), y(point.value)});
            return vertices;
        };
        std::string out;
        for (auto curve = all.rbegin(); curve != all.rend(); ++curve) { // the fused ones last, so on top
            const std::vector<Vertex> middle = on_paper(middle_of(*curve));
            if (middle.size() < curve->points.size())
                out += svg::dots(on_paper(curve->points), style("dots", curve->name)) + "\n";
            out += (middle.size() == 1 ? svg::dots(middle, style("dot", curve->name))
                                       : svg::polyline(middle, style("curve", curve->name), curve->name)) +
                   "\n";
        }
        return out;
    }

    std::string time_panel(const std::vector<Curve>& times) const {
        auto [low, high] = range_of(times);
        const double margin = std::max(0.05 * (high - low), high - low < 0.5 ? 0.4 : 0.0); // 0.4: × 1.5
        const Axis y{.low = low - margin, .high = high + margin, .from = kTimeBottom, .to = kTimeTop};
        std::string out;
        for (const svg::Tick& tick : svg::time_ticks(y)) out += row_of_axis(y(tick.value), tick.label, "grid");
        return out + svg::text({kPlotLeft - 6, kTimeTop - 6}, "end", "label", "µs") + "\n" + curves(times, y);
    }

    /// What the table chooses at each size.
    std::string strip() const {
        std::string out = svg::text({kPlotLeft - 6, kStripTop + 9}, "end", "label", "table") + "\n";
        for (const Interval& interval : figure_.cell.intervals) {
            const double low =
                std::clamp(interval.min_bytes == 0 ? x_.low : log2_bytes(interval.min_bytes), x_.low, x_.high);
            const double high =
                std::clamp(interval.max_bytes ? log2_bytes(*interval.max_bytes) : x_.high, x_.low, x_.high);
            if (high <= low) continue;
            out += svg::rect({x_(low), kStripTop}, x_(high) - x_(low), kStripHeight,
                             style("choice", interval.algorithm), interval_text(interval)) +
                   "\n";
        }
        return out;
    }

    std::string ratio_panel(const std::vector<Curve>& ratios) const {
        const auto [challengers, baselines] = sides_of(figure_.cell.key.pattern);
        const std::string challenger(challengers), baseline(baselines);
        std::string out =
            svg::text({kPlotLeft, kRatioTop - 7}, "start", "label",
                      challenger + " ÷ fastest " + baseline + " − 1 (below 0: " + challenger + " is faster)") +
            "\n";
        if (ratios.empty())
            return out +
                   svg::text({kPlotLeft + 8, kRatioTop + 20}, "start", "label",
                             "no point has times of both " + challenger + " and " + baseline) +
                   "\n";
        // Linear around 0, where the decision falls, and logarithmic far from it.
        const double guard = std::log1p(std::max(figure_.guard_band, 0.002));
        const auto stretched = [guard](double ln_ratio) { return std::asinh(ln_ratio / guard); };
        const auto [least, greatest] = range_of(ratios);
        const Axis axis{.low = stretched(std::min(least, -guard)) - 0.5,
                        .high = stretched(std::max(greatest, guard)) + 0.5,
                        .from = kRatioBottom,
                        .to = kRatioTop};
        const auto y = [&](double ln_ratio) { return axis(stretched(ln_ratio)); };
        out += svg::rect({kPlotLeft, y(guard)}, kPlotRight - kPlotLeft, y(-guard) - y(guard), "guard",
                         "guard band: " + percent(figure_.guard_band) + " either way") +
               "\n" + row_of_axis(y(0), "0 %", "zero");
        for (const auto& percents : {std::vector{2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000},
                                     std::vector{-2, -5, -10, -20, -35, -50, -65, -80, -90, -95, -98}}) {
            double last = y(0);
            for (const int each : percents) {
                const double at = y(std::log1p(each / 100.0));
                if (at < kRatioTop || at > kRatioBottom || std::abs(at - last) < 13) continue;
                out += row_of_axis(at, percent(each / 100.0, 0), "grid");
                last = at;
            }
        }
        return out + curves(ratios, y);
    }

    /// Lines and labels of the limits, in front.
    std::string limits() const {
        std::string lines, labels;
        for (std::size_t row = 0; const Limit& limit : limits_) {
            const double y = kLimitRows[row++];
            const bool drawn = limit.bytes && *limit.bytes > 0;
            const double at = drawn ? log2_bytes(*limit.bytes) : x_.low;
            const double x = x_(std::clamp(at, x_.low, x_.high));
            if (drawn && x_.holds(at))
                lines += svg::line({x, y - 9}, {x, kStripTop + kStripHeight}, "limit " + limit.style) +
                         svg::line({x, kRatioTop}, {x, kRatioBottom}, "limit " + limit.style) + "\n";
            const bool left_half = x < 0.5 * (kPlotLeft + kPlotRight);
            labels += svg::text({x + (left_half ? 5 : -5), y}, left_half ? "start" : "end", "name " + limit.style,
                                limit.name + ": " + limit.text) +
                      "\n";
        }
        return lines + labels;
    }

    const LatencyFigure& figure_;
    Axis x_; // log2 bytes
    std::vector<Limit> limits_;
};

} // namespace

std::string latency_figure(const LatencyFigure& figure) { return Drawing(figure).svg(); }

} // namespace crossover
