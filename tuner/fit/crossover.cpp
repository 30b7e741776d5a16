#include "tuner/fit/crossover.hpp"

#include "tuner/fit/interpolation.hpp"
#include "tuner/fit/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace crossover {
namespace {

/// A size of the curve after neighbours have been merged.
struct Knot {
    double x = 0;   // mean log2 bytes
    double y = 0;   // mean log ratio
    int points = 0; // merged into it
};

std::vector<Knot> merge_neighbours(std::span<const RatioPoint> curve) {
    std::vector<Knot> knots;
    double first = -std::numeric_limits<double>::infinity(); // the newest knot's smallest size
    for (const RatioPoint& point : curve) {
        if (point.log2_bytes - first > kSameSize) {
            first = point.log2_bytes;
            knots.emplace_back();
        }
        Knot& knot = knots.back();
        ++knot.points;
        knot.x += (point.log2_bytes - knot.x) / knot.points;
        knot.y += (point.log_ratio - knot.y) / knot.points;
    }
    return knots;
}

/// How many of the leading knots are to use the first algorithm: the minimum of the running sum.
std::size_t least_regret_cut(const std::vector<Knot>& knots) {
    std::size_t cut = 0, seen = 0;
    double sum = 0, least = 0;
    for (const Knot& knot : knots) {
        sum += knot.points * knot.y;
        ++seen;
        if (sum < least) {
            least = sum;
            cut = seen;
        }
    }
    return cut;
}

double slope(const Knot& from, const Knot& to) { return (to.y - from.y) / (to.x - from.x); }

/// By how much (log ratio) the ratio jumps between knots cut-1 and cut beyond what the brackets on both sides lead to:
/// NCCL changing its protocol somewhere in between. 0 for a smooth curve, whose slope there lies between its
/// neighbours' or not far beyond.
double jump_between(const std::vector<Knot>& knots, std::size_t cut) {
    constexpr double kSmoothShare = 0.1; // an S-shaped ratio is steepest at its crossing
    constexpr double kFloor = 0.01;      // noise
    std::vector<double> slopes;
    if (cut >= 2) slopes.push_back(slope(knots[cut - 2], knots[cut - 1]));
    if (cut + 1 < knots.size()) slopes.push_back(slope(knots[cut], knots[cut + 1]));
    if (slopes.empty()) return 0;
    const auto [least, greatest] = std::minmax_element(slopes.begin(), slopes.end());
    const double width = knots[cut].x - knots[cut - 1].x;
    const double rise = knots[cut].y - knots[cut - 1].y;
    const double jump = rise - std::clamp(rise, *least * width, *greatest * width);
    return std::abs(jump) > kSmoothShare * std::abs(rise) + kFloor ? jump : 0;
}

/// Where the interpolated ratio changes sign between knots cut-1 and cut.
double root_between(const std::vector<Knot>& knots, std::size_t cut) {
    const Knot& left = knots[cut - 1];
    const Knot& right = knots[cut];
    if (left.y >= 0) return left.x; // the cut of least regret has left.y ≤ 0 ≤ right.y
    if (right.y <= 0) return right.x;
    std::vector<double> xs, ys;
    for (const Knot& knot : knots) {
        xs.push_back(knot.x);
        ys.push_back(knot.y);
    }
    const auto ratio = interpolate(std::move(xs), std::move(ys));
    double low = left.x, high = right.x;
    for (int i = 0; i < 40; ++i) { // to 1e-12 octaves
        const double middle = 0.5 * (low + high);
        (ratio(middle) < 0 ? low : high) = middle;
    }
    return 0.5 * (low + high);
}

/// Where the crossing may be, for a step of the ratio and for the shape of the curve between two knots.
std::array<double, 2> possible_roots(const std::vector<Knot>& knots, std::size_t cut, double root) {
    const Knot& left = knots[cut - 1];
    const Knot& right = knots[cut];
    const double straight = std::clamp(left.x - left.y / slope(left, right), left.x, right.x);
    const double shape = std::abs(root - straight); // what the cubic changes of a straight line's root, to either side
    double low = root - shape, high = root + shape;
    if (const double jump = jump_between(knots, cut); jump != 0) {
        // The step may be right after the left knot, right before the right one, or anywhere in between.
        const double trend = slope(left, {right.x, right.y - jump, 1});
        for (const double start : {left.y + jump, left.y}) {
            const double at = start >= 0 ? left.x : trend > 0 ? std::min(left.x - start / trend, right.x) : right.x;
            low = std::min(low, at);
            high = std::max(high, at);
        }
    }
    return {low, high};
}

} // namespace

Crossing find_crossing(std::span<const RatioPoint> curve) {
    if (curve.empty()) throw std::invalid_argument("find_crossing of no points");
    const std::vector<Knot> knots = merge_neighbours(curve);
    const std::size_t cut = least_regret_cut(knots);
    const double first = curve.front().log2_bytes, last = curve.back().log2_bytes;
    if (cut == 0) return {.kind = Crossing::Kind::never, .log2_bytes = first, .possible = {first, first}};
    if (cut == knots.size()) return {.kind = Crossing::Kind::always, .log2_bytes = last, .possible = {last, last}};
    const double root = root_between(knots, cut);
    return {.kind = Crossing::Kind::inside, .log2_bytes = root, .possible = possible_roots(knots, cut, root)};
}

std::optional<std::array<double, 2>> crossing_interval(std::span<const std::vector<RatioPoint>> sessions) {
    if (sessions.size() < 2) return std::nullopt;
    std::vector<double> roots;
    bool below = false, above = false;
    for (const std::vector<RatioPoint>& curve : sessions) {
        const Crossing crossing = find_crossing(curve);
        roots.push_back(crossing.log2_bytes);
        below |= crossing.kind == Crossing::Kind::never;
        above |= crossing.kind == Crossing::Kind::always;
    }
    auto [low, high] = t_interval(roots);
    const auto [least, greatest] = std::minmax_element(roots.begin(), roots.end());
    if (below) low = std::min(low, *least);
    if (above) high = std::max(high, *greatest);
    return std::array{low, high};
}

} // namespace crossover
