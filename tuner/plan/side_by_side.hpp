#pragma once
/// How many disjoint groups of a world size measure at the same time: all, unless they were seen to slow each other
/// down. That is looked at once a run for each world size, by the first session that measures it, and kept in a file
/// for the later ones, whose processes are others. (`--resume` looks again: others may use the machine by now.)

#include "tuner/plan/plan.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>

namespace crossover {

/// What the groups do, alone and at the same time: the trial with as many tokens as load the links and yet take a
/// fraction of a second, by the algorithms that are not `of_libraries`: ours are enough, and can be trusted.
Trial load_trial(Trial first, const std::set<std::string>& of_libraries, std::uint64_t max_message_bytes);

/// @param groups  that there are
/// @param slower  ln of the time side by side over the time alone
int groups_side_by_side(int groups, double slower);

/// What an earlier session of the run has kept in `folder`; nothing if none has looked, or if that was of a machine
/// with another number of groups.
std::optional<int> kept_side_by_side(const std::filesystem::path& folder, int world_size, int groups);
/// @throws InputError if the folder cannot be written
void keep_side_by_side(const std::filesystem::path& folder, int world_size, int groups_at_a_time);

} // namespace crossover
