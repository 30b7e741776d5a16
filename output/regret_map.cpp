#include "output/regret_map.hpp"

#include "output/format.hpp"
#include "output/svg.hpp"
#include "tuner/fit/observations.hpp"
#include "tuner/fit/regret.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <vector>

namespace crossover {
namespace {

struct Bin {
    double below;           // regret
    std::string_view words; // in the key
    std::string_view light, dark;
};

constexpr std::array kBins{
    Bin{1e-9, "the best", "#f3f4f6", "#26292f"},   Bin{0.005, "< 0.5 %", "#fdf0d5", "#3d3326"},
    Bin{0.02, "< 2 %", "#fdd49e", "#5c4427"},      Bin{0.05, "< 5 %", "#fdae6b", "#86571f"},
    Bin{0.10, "< 10 %", "#ef6548", "#b9701c"},     Bin{0.25, "< 25 %", "#c4281d", "#eb9a2d"},
    Bin{HUGE_VAL, "≥ 25 %", "#7a0303", "#ffe08a"},
};

std::string bin_style(double regret) {
    const auto found = std::find_if(kBins.begin(), kBins.end(), [&](const Bin& bin) { return regret < bin.below; });
    return "r" + std::to_string(std::min<std::ptrdiff_t>(found - kBins.begin(), std::ssize(kBins) - 1));
}

std::string microseconds(double us) { return fixed(us, us < 100 ? 2 : 1) + " µs"; }

std::string shape_text(const Point& point) {
    return std::to_string(point.num_tokens) + " tokens × hidden_dim " + std::to_string(point.hidden_dim) + ", " +
           size_text(message_bytes(point));
}

std::string tooltip(const PointRegret& point) {
    const std::string chosen = "table: " + point.chosen + ", " + microseconds(point.chosen_us);
    if (point.chosen == point.best) return shape_text(point.point) + ": " + chosen + ", the best";
    return shape_text(point.point) + ": " + chosen + "; best: " + point.best + ", " + microseconds(point.best_us) +
           "; lost: " + microseconds(point.chosen_us - point.best_us) + " (" + percent(point.regret()) + ")";
}

double log2_tokens(const Point& point) { return std::log2(static_cast<double>(point.num_tokens)); }

/// Half the width of a field towards a neighbour, in octaves of num_tokens: up to the middle between both, and never so
/// far that a lone point seems to speak for shapes that nobody measured.
double half_width(const Point& point, const Point* neighbour) {
    constexpr double kFarthest = 0.5;
    const bool joins = neighbour && neighbour->hidden_dim == point.hidden_dim;
    return joins ? std::min(kFarthest, 0.5 * std::abs(log2_tokens(*neighbour) - log2_tokens(point))) : kFarthest;
}

struct Field {
    Point point;
    std::string style, title;
    std::string chosen; // empty without a regret
};

/// @param remark  goes to the end of the tooltips
void add_fields(std::vector<Field>& fields, const Cell& cell, const CellObservations& observations,
                const std::string& style, const std::string& remark) {
    const Choice choice = choice_of(std::span(&cell, 1));
    const RegretReport report = regret_report(std::span(&observations, 1), choice);
    std::map<Point, const PointRegret*> told;
    for (const PointRegret& point : report.points) told[point.point] = &point;
    for (const Point& point : observations.points) {
        if (const auto found = told.find(point); found != told.end()) {
            fields.push_back({.point = point,
                              .style = style + bin_style(found->second->regret()),
                              .title = tooltip(*found->second) + remark,
                              .chosen = found->second->chosen});
            continue;
        }
        const std::string chosen = choice(observations.compute_capability, point);
        const std::string why =
            chosen == algorithm::not_measured ? "the table says nothing" : "no time of what the table says, " + chosen;
        fields.push_back(
            {.point = point, .style = style + "rn", .title = shape_text(point) + ": " + why + remark, .chosen = {}});
    }
}

} // namespace

std::string regret_map(const Cell& cell, const CellObservations& fitted, const CellObservations* held_out,
                       const AlgorithmStyles& styles) {
    constexpr double kLeft = 56, kRight = 744, kRow = 22, kTop = 2, kBar = 4; // px
    std::vector<Field> fields;
    add_fields(fields, cell, fitted, "field ", "");
    if (held_out) add_fields(fields, cell, *held_out, "field held ", "; held out of the fit");
    if (fields.empty()) return "";
    std::sort(fields.begin(), fields.end(), [](const Field& a, const Field& b) { return a.point < b.point; });
    svg::Axis x{.low = HUGE_VAL, .high = -HUGE_VAL, .from = kLeft, .to = kRight};
    for (const Field& field : fields) {
        x.low = std::min(x.low, log2_tokens(field.point) - 0.5);
        x.high = std::max(x.high, log2_tokens(field.point) + 0.5);
    }

    std::string rows;
    double top = kTop - kRow;
    for (std::size_t f = 0; f < fields.size(); ++f) {
        const Field& field = fields[f];
        const double at = log2_tokens(field.point);
        const Point* before = f > 0 ? &fields[f - 1].point : nullptr;
        const Point* after = f + 1 < fields.size() ? &fields[f + 1].point : nullptr;
        if (!before || before->hidden_dim != field.point.hidden_dim) {
            top += kRow;
            rows +=
                svg::text({kLeft - 6, top + 0.5 * kRow + 4}, "end", "tick", std::to_string(field.point.hidden_dim)) +
                "\n";
        }
        const double left = x(at - half_width(field.point, before)), right = x(at + half_width(field.point, after));
        const double width = right - left > 5 ? right - left - 1 : right - left; // a gap where there is room
        rows += svg::rect({left, top}, width, kRow - 1, field.style, field.title);
        if (!field.chosen.empty())
            rows += svg::rect({left, top + kRow - 1 - kBar}, width, kBar, "bar " + styles.style(field.chosen));
        rows += "\n";
    }
    const double bottom = top + kRow;
    for (const int exponent : svg::powers_of_two(x, 40))
        rows += svg::text({x(exponent), bottom + 13}, "middle", "tick", std::to_string(std::uint64_t{1} << exponent)) +
                "\n";
    return "<svg viewBox=\"0 0 760 " + fixed(bottom + 34, 0) +
           "\" role=\"img\" aria-label=\"regret by hidden_dim and num_tokens, " + svg::escaped(to_string(cell.key)) +
           "\">\n" + rows +
           svg::text({kLeft, bottom + 29}, "start", "label", "num_tokens (columns) by hidden_dim (rows)") +
           "\n</svg>\n";
}

std::string regret_key() {
    std::string out = "<ul class=\"key\">";
    const auto entry = [&](const std::string& style, std::string_view words) {
        out += "<li><svg class=\"swatch\" viewBox=\"0 0 14 12\">" + svg::rect({0.5, 0.5}, 13, 11, "field " + style) +
               "</svg>" + svg::escaped(words) + "</li>";
    };
    for (std::size_t i = 0; i < kBins.size(); ++i) entry("r" + std::to_string(i), kBins[i].words);
    entry("rn", "not told");
    entry("held r0", "held out of the fit");
    return out + "</ul>\n";
}

std::string regret_css() {
    std::string light, dark;
    for (std::size_t i = 0; i < kBins.size(); ++i) {
        const std::string rule = ".r" + std::to_string(i) + "{fill:";
        light.append(rule).append(kBins[i].light).append("}");
        dark.append(rule).append(kBins[i].dark).append("}");
    }
    return light + "\n@media screen and (prefers-color-scheme:dark){" + dark + "}\n";
}

} // namespace crossover
