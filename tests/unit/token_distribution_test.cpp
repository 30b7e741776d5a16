#include "kernels/token_distribution.hpp"

#include <doctest/doctest.h>

using namespace crossover;

TEST_CASE("distributions have names") {
    CHECK(to_string(Distribution::even) == "even");
    CHECK(to_string(Distribution::one_hot) == "one_hot");
    CHECK(to_string(Distribution::zipf) == "zipf");
}

TEST_CASE("known distributions of tokens") {
    CHECK(tokens_of(Distribution::even, 4, 3) == TokensPerRank{3, 3, 3, 3});
    CHECK(tokens_of(Distribution::one_hot, 4, 3) == TokensPerRank{12});
    // 1 : 1/2 : 1/3 : 1/4 = 12 : 6 : 4 : 3
    CHECK(tokens_of(Distribution::zipf, 4, 25) == TokensPerRank{48, 24, 16, 12});
    // 1.92, 0.96, 0.64, 0.48: cut by .92, .96, .64 and .48
    CHECK(tokens_of(Distribution::zipf, 4, 1) == TokensPerRank{2, 1, 1, 0});
    // 2/3 · 2, 1/3 · 2
    CHECK(tokens_of(Distribution::zipf, 2, 1) == TokensPerRank{1, 1});
}

TEST_CASE("no token is lost, and no rank has more than one before it") {
    for (const auto& distribution : kDistributions)
        for (int world = 1; world <= kMaxWorldSize; ++world)
            for (const std::int64_t mean : {0, 1, 2, 3, 7, 64, 4096, 1'000'003}) {
                INFO(distribution.name, " n=", world, " mean=", mean);
                const TokensPerRank tokens = tokens_of(distribution.value, world, mean);
                CHECK(sum_of(tokens) == world * mean);
                CHECK(offset_of(tokens, world) == world * mean);
                for (int rank = 1; rank < kMaxWorldSize; ++rank) {
                    CHECK(tokens[rank] <= tokens[rank - 1]);
                    CHECK(tokens[rank] >= 0);
                    CHECK((rank < world || tokens[rank] == 0));
                }
            }
}

TEST_CASE("a world that there is not") {
    CHECK_THROWS_AS(tokens_of(Distribution::even, 0, 1), std::invalid_argument);
    CHECK_THROWS_AS(tokens_of(Distribution::even, 9, 1), std::invalid_argument);
    CHECK_THROWS_AS(tokens_of(Distribution::even, 2, -1), std::invalid_argument);
}
