// Which rank sums which units of a moe_combine, and in which turn.

#include "kernels/combine_shares.hpp"
#include "tests/support/moe_calls.hpp"

#include <doctest/doctest.h>

#include <random>
#include <set>
#include <tuple>

using namespace crossover;
using device::CombineShares;

namespace {

/// Rows of one unit: 256 bfloat16.
MoeCombine units(const TokensPerRank& tokens) { return {.hidden_dim = 256, .tokens = tokens}; }

struct Turn {
    int owner;
    unsigned unit;
};

/// What a rank sums in a turn, if anything: as combine_kernel reads the table.
std::optional<Turn> at(const CombineShares& shares, int world, int summer, unsigned turn) {
    const auto& begin = shares.begin[summer];
    if (turn >= begin[world + 1]) return std::nullopt;
    int place = 0;
    while (place < world && turn >= begin[place + 1]) ++place;
    const std::uint64_t pace = shares.pace[summer][place], since = turn - begin[place];
    const std::uint64_t count = pace ? since * pace >> 32 : since;
    if (pace && (since + 1) * pace >> 32 == count) return std::nullopt;
    return Turn{(summer + place) % world, shares.unit[summer][place] + static_cast<unsigned>(count)};
}

} // namespace

TEST_CASE("every unit is summed once, whatever the split, in sequences of one length") {
    std::minstd_rand random(3);
    const auto pick = [&](std::size_t choices) { return static_cast<std::int64_t>(random() / 7 % choices); };
    int relayed = 0, left_out = 0;
    for (int i = 0; i < 600; ++i) {
        const int world = std::array{2, 4, 8}[static_cast<std::size_t>(pick(3))];
        TokensPerRank tokens{};
        for (int rank = 0; rank < world; ++rank)
            tokens[static_cast<std::size_t>(rank)] = pick(3) == 0 ? 0 : pick(pick(3) == 0 ? 2000 : 60);
        INFO(testing::describe(tokens, world));
        for (const bool relays : {false, true}) {
            const CombineShares shares = combine_shares(units(tokens), world, relays);
            REQUIRE((relays || !shares.relays));
            std::set<std::pair<int, unsigned>> summed;
            bool both = false;
            for (int summer = 0; summer < world; ++summer) {
                const unsigned end = shares.begin[summer][world + 1];
                REQUIRE((end == 0 || end == shares.turns));
                for (unsigned turn = 0; turn < end; ++turn) {
                    const auto found = at(shares, world, summer, turn);
                    left_out += !found;
                    if (!found) continue;
                    REQUIRE(found->unit < tokens[static_cast<std::size_t>(found->owner)]);
                    REQUIRE(summed.insert({found->owner, found->unit}).second);
                    REQUIRE((shares.relays || found->owner == summer));
                    relayed += found->owner != summer;
                    both |= found->owner != summer && shares.begin[found->owner][world + 1] > 0;
                }
            }
            REQUIRE(static_cast<std::int64_t>(summed.size()) == sum_of(tokens));
            REQUIRE(shares.one_ring == !both);
        }
    }
    CHECK(relayed > 10000);
    CHECK(left_out > 10000);
}

TEST_CASE("one hot rank sums nothing, its peers a third each") {
    const CombineShares shares = combine_shares(units({9, 0, 0, 0}), 4, true);
    CHECK(shares.relays);
    CHECK(shares.one_ring);
    CHECK(shares.turns == 3);
    CHECK_FALSE(at(shares, 4, 0, 0).has_value());
    for (const int summer : {1, 2, 3})
        for (const unsigned turn : {0u, 1u, 2u}) {
            const auto found = at(shares, 4, summer, turn);
            REQUIRE(found.has_value());
            CHECK(found->owner == 0);
            CHECK(found->unit == static_cast<unsigned>(summer - 1) * 3 + turn);
        }
    CHECK(units_into_fullest(units({9, 0, 0, 0}), 4, false) == 27);
    CHECK(units_into_fullest(units({9, 0, 0, 0}), 4, true) == 9);
}

TEST_CASE("what nobody has more of than others is not relayed, nor is anything between two ranks") {
    for (const TokensPerRank& tokens : {TokensPerRank{5, 5, 5, 5}, TokensPerRank{0, 5, 5, 5}, TokensPerRank{}}) {
        CHECK_FALSE(combine_shares(units(tokens), 4, true).relays);
        CHECK(units_into_fullest(units(tokens), 4, true) == units_into_fullest(units(tokens), 4, false));
    }
    CHECK_FALSE(combine_shares(units({100, 1}), 2, true).relays);
}

TEST_CASE("no other number of units kept by each would fill the fullest link less") {
    std::minstd_rand random(5);
    for (int i = 0; i < 300; ++i) {
        const int world = random() % 2 ? 4 : 8;
        TokensPerRank tokens{};
        std::int64_t most = 0;
        for (int rank = 0; rank < world; ++rank) {
            tokens[static_cast<std::size_t>(rank)] = static_cast<std::int64_t>(random() / 7 % 4 * 210);
            most = std::max(most, tokens[static_cast<std::size_t>(rank)]);
        }
        INFO(testing::describe(tokens, world));
        double best = static_cast<double>(world - 1) * static_cast<double>(most);
        for (std::int64_t kept = 0; kept <= most; kept += 7) { // of which relayed units come into every rank
            std::int64_t relayed = 0;
            for (int rank = 0; rank < world; ++rank)
                relayed += std::max<std::int64_t>(0, tokens[static_cast<std::size_t>(rank)] - kept);
            best = std::min(best, static_cast<double>((world - 1) * kept + relayed));
        }
        // Shares are whole units: up to one more of each peer's, n − 1 times.
        CHECK(static_cast<double>(units_into_fullest(units(tokens), world, true)) <= best + (world - 1) * (world - 1));
    }
}

TEST_CASE("Zipf's: what comes into the first rank, of results and of units to sum, is spread over all turns") {
    const TokensPerRank tokens = tokens_of(Distribution::zipf, 4, 500);
    const CombineShares shares = combine_shares(units(tokens), 4, true);
    REQUIRE(shares.relays);
    CHECK_FALSE(shares.one_ring);
    const unsigned half = shares.turns / 2;
    std::array<int, 2> into_first{};
    for (unsigned turn = 0; turn < shares.turns; ++turn)
        for (int summer = 0; summer < 4; ++summer) {
            const auto found = at(shares, 4, summer, turn);
            if (!found) continue;
            if (summer == 0) into_first[turn >= half] += 3;
            if (summer != 0 && found->owner == 0) ++into_first[turn >= half];
        }
    CHECK(into_first[0] + into_first[1] == units_into_fullest(units(tokens), 4, true));
    CHECK(std::abs(into_first[0] - into_first[1]) < into_first[0] / 3);
}
