#include "tuner/plan/side_by_side.hpp"

#include "tuner/write_atomically.hpp"

#include <algorithm>
#include <fstream>

namespace crossover {
namespace {

namespace fs = std::filesystem;

/// Groups that slow each other down by more than this (ln) are not measured side by side. Sessions of one machine
/// differ by about half of it.
constexpr double kDisturbed = 0.01;

/// Of one rank's message.
constexpr std::uint64_t kLoad = std::uint64_t{4} << 20;

fs::path file_of(const fs::path& folder, int world_size) {
    return folder / ("side_by_side." + std::to_string(world_size));
}

} // namespace

Trial load_trial(Trial first, const std::set<std::string>& of_libraries, std::uint64_t max_message_bytes) {
    std::erase_if(first.algorithms, [&](const std::string& name) { return of_libraries.contains(name); });
    if (first.algorithms.empty()) first.algorithms = {std::string(algorithm::nccl_fused_norm)};
    const auto row_bytes = first.point.hidden_dim * static_cast<std::int64_t>(element_size(first.point.cell.dtype));
    first.point.num_tokens =
        std::max<std::int64_t>(1, static_cast<std::int64_t>(std::min(kLoad, max_message_bytes)) / row_bytes);
    return first;
}

int groups_side_by_side(int groups, double slower) { return slower > kDisturbed ? 1 : groups; }

std::optional<int> kept_side_by_side(const fs::path& folder, int world_size, int groups) {
    std::ifstream file(file_of(folder, world_size));
    int kept = 0;
    if (!(file >> kept) || (kept != 1 && kept != groups)) return std::nullopt;
    return kept;
}

void keep_side_by_side(const fs::path& folder, int world_size, int groups_at_a_time) {
    write_atomically(file_of(folder, world_size), std::to_string(groups_at_a_time) + "\n");
}

} // namespace crossover
