/// Rows of single hidden_dims from times that are written down: when there is one, and what it takes from the cell.
#include "tests/support/fitted.hpp"
#include "tests/support/written_samples.hpp"

using namespace crossover;
using namespace crossover::fitted;
using namespace crossover::written;
using doctest::Approx;

namespace {

constexpr std::int64_t kKept = 4096, kOwn = 2048; // the hidden_dims: as the cell, and with limits of its own

/// Adds a hidden_dim's times in µs at sizes in KiB. NCCL takes 20 µs.
void add_sizes(std::vector<Sample>& samples, std::int64_t hidden_dim, const std::map<int, Times>& fused) {
    for (const auto& [kib, times] : fused) {
        Times all = times;
        all["nccl_fused_norm"] = 20;
        for (const int session : {0, 1})
            add(samples, session, point(std::int64_t{kib} * 512 / hidden_dim, hidden_dim), all);
    }
}

const Times kWins{{"oneshot", 10}}, kLoses{{"oneshot", 30}};

Cell cell_of(const std::map<int, Times>& kept, const std::map<int, Times>& own, const FitOptions& options = {}) {
    std::vector<Sample> samples;
    add_sizes(samples, kKept, kept);
    add_sizes(samples, kOwn, own);
    return fit_one(samples, options);
}

} // namespace

TEST_CASE("a hidden_dim gets a row where the cell's limits cost it more than 1 %") {
    for (const double cost : {0.008, 0.02}) {
        const Cell cell = cell_of({{8, kWins}, {32, kWins}, {128, kWins}, {512, kLoses}},
                                  {{8, kWins}, {32, kWins}, {128, {{"oneshot", 20 * (1 + cost)}}}, {512, kLoses}});
        CHECK((find_row(cell, kOwn) != nullptr) == (cost > 0.01));
        CHECK(find_row(cell, kKept) == nullptr);
        CHECK(cell.spread->worst_cost == Approx(cost));
        CHECK(cell.spread->mean_cost == Approx(cost / 8));
    }
    std::vector<Sample> one;
    add_sizes(one, kKept, {{8, kWins}, {32, kLoses}});
    CHECK_FALSE(fit_one(one).spread);
}

TEST_CASE("what one session of several has gives no row: it may have been disturbed") {
    for (const std::size_t sessions : {1, 2}) {
        std::vector<Sample> samples;
        add_sizes(samples, kKept, {{8, kWins}, {32, kWins}, {128, kWins}, {512, kLoses}});
        add_sizes(samples, kOwn, {{8, kLoses}, {32, kWins}, {128, kWins}, {512, kLoses}}); // at the end of its sizes
        std::erase_if(samples, [&](const Sample& sample) {
            return sample.point == point(2, kOwn) && sample.session > static_cast<int>(sessions) - 1;
        });
        CHECK((find_row(fit_one(samples), kOwn) != nullptr) == (sessions == 2));
    }
    // Where there is but one session, it is all that is known.
    std::vector<Sample> samples;
    add_sizes(samples, kKept, {{8, kWins}, {32, kWins}, {128, kWins}, {512, kLoses}});
    add_sizes(samples, kOwn, {{8, kWins}, {32, kWins}, {128, kLoses}, {512, kLoses}});
    std::erase_if(samples, [](const Sample& sample) { return sample.session > 0; });
    CHECK(find_row(fit_one(samples), kOwn) != nullptr);
}

TEST_CASE("the note says the limits that the row has") {
    const Cell cell = cell_of({{8, kWins}, {32, kWins}, {128, kWins}, {512, kLoses}, {2048, kLoses}},
                              {{128, kLoses}, {512, kLoses}, {2048, kLoses}}); // nothing of its own below 128 KiB
    REQUIRE(find_row(cell, kOwn) != nullptr);
    CHECK(cell.note.find("at hidden_dim 2048, whose own are oneshot up to 131071") != std::string::npos);
}

TEST_CASE("limits of its own are told where its sizes tell them") {
    const auto told = [](const std::map<int, Times>& own) {
        return cell_of({{8, kWins}, {16, kWins}, {32, kWins}, {64, kWins}, {128, kLoses}, {256, kLoses}}, own)
                   .spread->hidden_dims == 2;
    };
    CHECK(told({{8, kWins}, {32, kWins}, {128, kLoses}, {512, kLoses}}));        // two octaves, as in a coarse grid
    CHECK(told({{8, kWins}, {64, kWins}, {128, kLoses}, {1024, kLoses}}));       // three, but one where it matters
    CHECK_FALSE(told({{8, kWins}, {64, kWins}, {512, kLoses}, {1024, kLoses}})); // three where it matters
    CHECK(told({{8, kWins}, {64, kWins}, {512, kWins}}));                        // no limit but the end of its sizes
}

TEST_CASE("below its sizes and above them a row has the cell's limits") {
    const std::map<int, Times> kept{{8, kWins}, {32, kWins}, {128, kWins}, {512, kLoses}, {2048, kLoses}};
    // Its own limit lies among its sizes.
    Cell cell = cell_of(kept, {{32, kWins}, {128, kLoses}, {512, kLoses}, {2048, kLoses}});
    REQUIRE(find_row(cell, kOwn) != nullptr);
    CHECK(find_row(cell, kOwn)->oneshot->max_bytes >= 32 << 10);
    CHECK(find_row(cell, kOwn)->oneshot->max_bytes < 128 << 10);
    // It never wins, from the cell's smallest size on.
    cell = cell_of(kept, {{8, kLoses}, {32, kLoses}, {128, kLoses}, {512, kLoses}});
    REQUIRE(find_row(cell, kOwn) != nullptr);
    CHECK(find_row(cell, kOwn)->oneshot->max_bytes == 0);
    // It never wins where it was measured: below that the cell's limit holds, as far as it goes.
    cell = cell_of(kept, {{128, kLoses}, {512, kLoses}, {2048, kLoses}});
    REQUIRE(find_row(cell, kOwn) != nullptr);
    CHECK(find_row(cell, kOwn)->oneshot->max_bytes == (128 << 10) - 1);
    CHECK(find_row(cell, kOwn)->oneshot->limited_by == LimitedBy::range);
    const auto two = [](double oneshot, double twoshot) { return Times{{"oneshot", oneshot}, {"twoshot", twoshot}}; };
    cell = cell_of({{8, two(10, 15)}, {32, two(10, 15)}, {128, two(15, 10)}, {512, two(30, 10)}, {2048, two(30, 30)}},
                   {{512, two(30, 22)}, {2048, two(30, 30)}});
    REQUIRE(find_row(cell, kOwn) != nullptr);
    CHECK(cell.oneshot->max_bytes < 128 << 10);
    CHECK(find_row(cell, kOwn)->oneshot == cell.oneshot);
    CHECK(find_row(cell, kOwn)->twoshot->max_bytes == (512 << 10) - 1);
}

TEST_CASE("a row's limits are the ends of its intervals, the cell's among them") {
    const auto two = [](double oneshot, double twoshot) { return Times{{"oneshot", oneshot}, {"twoshot", twoshot}}; };
    const std::map<int, Times> kept{
        {8, two(10, 15)}, {32, two(10, 15)}, {128, two(15, 10)}, {512, two(30, 10)}, {2048, two(30, 30)}};
    // Oneshot was not measured with it, and is the cell's below its sizes, where twoshot never wins.
    const Times loses{{"twoshot", 30}};
    const Cell cell = cell_of(kept, {{32, loses}, {128, loses}, {512, loses}, {2048, loses}});
    const HiddenDimRow* const row = find_row(cell, kOwn);
    REQUIRE(row != nullptr);
    CHECK(select_algorithm(cell, (32 << 10) - 1, kOwn) == "oneshot");
    CHECK(select_algorithm(cell, 32 << 10, kOwn) == "nccl_fused_norm");
    for (const auto& limit : {row->oneshot, row->twoshot}) {
        REQUIRE(limit);
        CHECK(limit->max_bytes == (32 << 10) - 1);
        CHECK(limit->limited_by == LimitedBy::range);
    }
}

TEST_CASE("where its algorithm goes no further, in the midst of its sizes, a row's limit is its own") {
    const auto two = [](double oneshot, double twoshot) { return Times{{"oneshot", oneshot}, {"twoshot", twoshot}}; };
    std::vector<Sample> samples;
    add_sizes(samples, kKept, {{8, two(10, 15)}, {32, two(10, 15)}, {256, two(30, 30)}, {2048, two(30, 30)}});
    add_sizes(samples, kOwn, {{8, two(10, 9)}, {128, two(30, 9)}, {512, two(30, 30)}, {2048, two(30, 30)}});
    for (Sample& sample : samples)
        if (sample.point == point(32, kOwn) && sample.algorithm == "twoshot") sample.status = SampleStatus::skipped;
    const Cell cell = fit_one(samples);
    CHECK(cell.twoshot->max_bytes >= 32 << 10);
    const HiddenDimRow* const row = find_row(cell, kOwn);
    REQUIRE(row != nullptr);
    CHECK(row->twoshot->max_bytes == 8 << 10);
    CHECK(row->twoshot->limited_by == LimitedBy::range);
    CHECK(row->intervals.front().max_bytes == row->twoshot->max_bytes);
}

TEST_CASE("a row that goes as far as the cell needs the cell's workspace") {
    FitOptions options;
    options.workspace_bytes = [](const CellKey&, std::uint64_t bytes) { return 3 * bytes; };
    const auto two = [](double oneshot, double twoshot) { return Times{{"oneshot", oneshot}, {"twoshot", twoshot}}; };
    const Cell cell =
        cell_of({{8, two(10, 15)}, {32, two(10, 15)}, {128, two(10, 19)}, {512, two(30, 10)}, {2048, two(30, 30)}},
                {{8, two(10, 15)}, {32, two(10, 15)}, {128, two(15, 10)}}, options); // twoshot still wins at its end
    REQUIRE(find_row(cell, kOwn) != nullptr);
    CHECK(find_row(cell, kOwn)->twoshot == cell.twoshot);
    CHECK(find_row(cell, kOwn)->workspace_bytes == cell.workspace_bytes);
    CHECK(cell.workspace_bytes >= 3 * 512 << 10);
}
