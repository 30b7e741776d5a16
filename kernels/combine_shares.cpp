// Which rank sums which rows of a moe_combine. No CUDA.
//
// Say that each rank keeps up to T units of its rows, and its n − 1 peers sum the rest of them in equal shares. Into
// the rank with the most come (n − 1)·T units to be summed by it, and one for each unit, of whatever rank, that is
// relayed: as a sum if it is its own, else shares of n − 1 of them. That falls with T as long as fewer than n − 1 ranks
// have more than T: to what the second smallest has.

#include "kernels/combine_shares.hpp"
#include "kernels/launch.hpp"

#include <algorithm>

namespace crossover {
namespace {

using namespace device;

struct Units {
    std::array<unsigned, kMaxWorldSize> all{}, kept{}; // of each rank
    std::size_t world;
    std::size_t peers = std::max<std::size_t>(1, world - 1);

    /// Of what the owner does not keep its i-th peer's share begins here.
    unsigned bound(std::size_t owner, std::size_t i) const {
        return kept[owner] + static_cast<unsigned>((all[owner] - kept[owner]) * std::uint64_t{i} / peers);
    }
    /// The first of the owner's units that another rank sums, and the end.
    std::array<unsigned, 2> share(std::size_t owner, std::size_t summer) const {
        const std::size_t peer = (summer + world - owner - 1) % world;
        return {bound(owner, peer), bound(owner, peer + 1)};
    }
    /// That a rank sums.
    unsigned summed_by(std::size_t summer) const {
        unsigned units = kept[summer];
        for (std::size_t owner = 0; owner < world; ++owner)
            if (owner != summer) units += share(owner, summer)[1] - share(owner, summer)[0];
        return units;
    }
};

Units units_of(const MoeCombine& call, int world_size, bool relays) {
    Units units{.world = static_cast<std::size_t>(world_size)};
    const std::int64_t vectors = call.hidden_dim * static_cast<std::int64_t>(element_size(call.dtype)) / kVectorBytes;
    for (std::size_t rank = 0; rank < units.world; ++rank)
        units.kept[rank] = units.all[rank] = static_cast<unsigned>(ceil_div(call.tokens[rank] * vectors, kWarp));
    if (!relays) return units;
    auto sorted = units.all;
    std::sort(sorted.begin(), sorted.begin() + world_size);
    for (unsigned& kept : units.kept) kept = std::min(kept, sorted[1]);
    return units;
}

} // namespace

CombineShares combine_shares(const MoeCombine& call, int world_size, bool relays) {
    const Units units = units_of(call, world_size, relays);
    const std::size_t world = units.world;
    CombineShares shares{};
    for (std::size_t rank = 0; rank < world; ++rank) shares.turns = std::max(shares.turns, units.summed_by(rank));
    shares.one_ring = true;
    for (std::size_t summer = 0; summer < world; ++summer) {
        // What a rank keeps comes in part before what it sums for others, and each in another part: then an owner has
        // sums from few at a time.
        const auto before = static_cast<unsigned>(units.kept[summer] * std::uint64_t{summer} / units.peers);
        const std::uint64_t all = units.summed_by(summer);
        unsigned count = 0; // of the places before
        const auto turn = [&] {
            return all == 0 ? 0 : static_cast<unsigned>(count * std::uint64_t{shares.turns} / all);
        };
        for (std::size_t place = 0; place <= world; ++place) {
            const auto [first, last] = place == 0       ? std::array<unsigned, 2>{0, before}
                                       : place == world ? std::array<unsigned, 2>{before, units.kept[summer]}
                                                        : units.share((summer + place) % world, summer);
            const std::uint64_t in_place = last - first;
            const unsigned begin = turn();
            count += static_cast<unsigned>(in_place);
            const unsigned turns = turn() - begin;
            shares.begin[summer][place] = begin;
            shares.begin[summer][place + 1] = begin + turns;
            shares.unit[summer][place] = first;
            if (turns > 0 && turns > in_place)
                shares.pace[summer][place] = static_cast<unsigned>(((in_place << 32) + turns - 1) / turns);
            shares.relays |= place > 0 && place < world && in_place > 0;
        }
        shares.one_ring &= all == 0 || units.kept[summer] == units.all[summer];
    }
    return shares;
}

std::int64_t units_into_fullest(const MoeCombine& call, int world_size, bool relays) {
    const Units units = units_of(call, world_size, relays);
    std::int64_t most = 0;
    for (std::size_t rank = 0; rank < units.world; ++rank)
        most =
            std::max(most, std::int64_t{world_size - 1} * units.summed_by(rank) + (units.all[rank] - units.kept[rank]));
    return most;
}

} // namespace crossover
