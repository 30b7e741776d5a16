#include "tuner/fit/segments.hpp"

namespace crossover {

std::vector<Segment> least_regret_segments(const Eigen::ArrayXXd& cost, std::span<const int> rank, double switch_cost,
                                           bool ordered) {
    const Eigen::Index algorithms = cost.rows(), sizes = cost.cols();
    if (sizes == 0) return {};
    Eigen::ArrayXXd total = cost; // of the best path that ends with this algorithm at this size
    Eigen::ArrayXXi previous = Eigen::ArrayXXi::Zero(algorithms, sizes);
    for (Eigen::Index k = 1; k < sizes; ++k)
        for (Eigen::Index to = 0; to < algorithms; ++to) {
            double best = total(to, k - 1); // staying is preferred
            Eigen::Index best_from = to;
            for (Eigen::Index from = 0; from < algorithms; ++from) {
                if (from == to || (ordered && rank[from] > rank[to])) continue;
                if (total(from, k - 1) + switch_cost < best) {
                    best = total(from, k - 1) + switch_cost;
                    best_from = from;
                }
            }
            total(to, k) += best;
            previous(to, k) = static_cast<int>(best_from);
        }

    Eigen::Index last = algorithms - 1;
    for (Eigen::Index a = algorithms - 1; a >= 0; --a)
        if (total(a, sizes - 1) < total(last, sizes - 1)) last = a;
    std::vector<Segment> segments;
    for (Eigen::Index k = sizes - 1, a = last; k >= 0; a = previous(a, k), --k) {
        if (segments.empty() || segments.back().algorithm != a)
            segments.push_back({.begin = k, .end = k + 1, .algorithm = a});
        segments.back().begin = k;
    }
    return {segments.rbegin(), segments.rend()};
}

} // namespace crossover
