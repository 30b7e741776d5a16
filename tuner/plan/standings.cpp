#include "tuner/plan/standings.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

namespace crossover {
namespace {

using Index = Eigen::Index;

/// An algorithm is no contender between two sizes if it is behind (ln) by this much and this much more for each octave
/// to the nearer of them.
constexpr double kContender = 0.1, kContenderAnOctave = 0.15;
/// By how much (ln) another launch may be faster than the one measured.
constexpr double kLaunchGain = 0.2;

} // namespace

Standings::Standings(const std::vector<std::string>& algorithms, std::span<const Sample> samples)
    : algorithms_(algorithms), observations_(std::move(arrange(samples).front())), model_(observations_) {
    for (const std::uint64_t bytes : model_.sizes()) sizes_.push_back(log2_bytes(bytes));
    behind_.resize(std::ssize(observations_.series), size_count());
    for (Index k = 0; k < size_count(); ++k) {
        fastest_.push_back(model_.best(k, [](Index) { return true; }));
        for (Index a = 0; a < behind_.rows(); ++a) behind_(a, k) = model_.advantage(fastest(k), a, k);
    }
}

Index Standings::index_of(const std::string& name) const {
    return std::find_if(observations_.series.begin(), observations_.series.end(),
                        [&](const Series& series) { return series.name == name; }) -
           observations_.series.begin();
}

double Standings::lead(Index size) const {
    double least = std::numeric_limits<double>::infinity();
    for (Index a = 0; a < std::ssize(observations_.series); ++a)
        if (a != fastest(size) && std::isfinite(behind(a, size))) least = std::min(least, behind(a, size));
    return least;
}

bool Standings::is_contender(const std::string& name, double at) const {
    const Index algorithm = index_of(name);
    if (algorithm == std::ssize(observations_.series)) return true; // never measured
    Index left = -1, here = -1, right = -1;
    for (Index k = 0; k < size_count(); ++k) {
        if (!std::isfinite(behind(algorithm, k))) continue;
        if (sizes_[k] < at) left = k;
        if (sizes_[k] == at) here = k;
        if (sizes_[k] > at && right < 0) right = k;
    }
    // Where it was measured, nothing can have happened since the next size.
    const double an_octave = here >= 0 ? 0 : kContenderAnOctave;
    return std::ranges::any_of(std::array{left, here, right}, [&](Index k) {
        return k >= 0 && behind(algorithm, k) <= kContender + an_octave * std::abs(sizes_[k] - at);
    });
}

bool Standings::is_near_best(const std::string& name, double at) const {
    const Index algorithm = index_of(name);
    if (algorithm == std::ssize(observations_.series)) return false;
    std::optional<std::pair<double, double>> left, right; // size, behind
    for (Index k = 0; k < size_count(); ++k) {
        if (!std::isfinite(behind(algorithm, k))) continue;
        if (sizes_[k] <= at) left = {sizes_[k], behind(algorithm, k)};
        if (sizes_[k] >= at && !right) right = {sizes_[k], behind(algorithm, k)};
    }
    if (!left || !right) return (left || right) && (left ? left : right)->second <= kLaunchGain;
    const double share = right->first > left->first ? (at - left->first) / (right->first - left->first) : 0;
    return std::lerp(left->second, right->second, share) <= kLaunchGain;
}

std::string_view Standings::nearest_baseline(double at) const {
    Index nearest = 0;
    for (Index k = 1; k < size_count(); ++k)
        if (std::abs(sizes_[k] - at) < std::abs(sizes_[nearest] - at)) nearest = k;
    return model_.name(model_.baseline_at(nearest));
}

std::vector<std::string> Standings::contenders(const Point& point) const {
    std::vector<std::string> names;
    for (const std::string& name : algorithms_)
        if (is_contender(name, log2_bytes(point))) names.push_back(name);
    if (std::all_of(names.begin(), names.end(), algorithm::is_challenger))
        names.emplace_back(nearest_baseline(log2_bytes(point)));
    return names;
}

} // namespace crossover
