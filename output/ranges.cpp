#include "output/ranges.hpp"

#include <algorithm>

namespace crossover {

std::vector<TokenRange> token_ranges(const Cell& any_model, std::int64_t hidden_dim,
                                     std::int64_t max_num_batched_tokens) {
    const Cell cell = for_hidden_dim(any_model, hidden_dim);
    const auto token_bytes = static_cast<std::uint64_t>(hidden_dim) * element_size(cell.key.dtype);
    const auto max_tokens = static_cast<std::uint64_t>(max_num_batched_tokens);
    std::vector<TokenRange> ranges;
    std::uint64_t next = 1;
    const auto add_up_to = [&](std::uint64_t last, std::string_view name) {
        if (last < next) return; // not one whole token more
        if (!ranges.empty() && ranges.back().algorithm == name)
            ranges.back().last_tokens = static_cast<std::int64_t>(last);
        else
            ranges.push_back({static_cast<std::int64_t>(next), static_cast<std::int64_t>(last), std::string(name)});
        next = last + 1;
    };
    if (cell.status == CellStatus::measured)
        for (const Interval& interval : cell.intervals)
            if (interval.max_bytes)
                add_up_to(std::min(*interval.max_bytes / token_bytes, max_tokens), interval.algorithm);
    add_up_to(max_tokens, select_algorithm(cell, UINT64_MAX));
    return ranges;
}

std::vector<std::int64_t> split_points(std::span<const TokenRange> ranges) {
    std::vector<std::int64_t> points;
    for (std::size_t i = 0; i + 1 < ranges.size(); ++i)
        if (algorithm::is_challenger(ranges[i].algorithm) || algorithm::is_challenger(ranges[i + 1].algorithm))
            points.push_back(ranges[i].last_tokens);
    return points;
}

} // namespace crossover
