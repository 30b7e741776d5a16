/// Limits of single hidden_dims: what one pair for all of them costs, and the rows that a table gets where that is
/// much.
#include "tests/support/fitted.hpp"

#include <algorithm>

using namespace crossover;
using namespace crossover::fitted;
using doctest::Approx;

TEST_CASE("is it bytes? One pair of limits for all hidden dims is costed") {
    synthetic::Machine machine = two_crossovers();
    machine.hidden_dims = {2048, 4096, 8192};
    std::vector<Sample> samples = synthetic::measure(machine);
    Cell cell = fit_one(samples);
    CHECK(cell.note.empty());
    CHECK(cell.hidden_dims.empty());
    REQUIRE(cell.spread);
    CHECK(cell.spread->hidden_dims == 3);
    CHECK(cell.spread->worst_cost < 0.01);
    for (const HiddenDimFit& fit : fit_hidden_dims(samples, {&cell, 1}, {})) CHECK(fit.worst_cost < 0.01);

    machine.shape_factor = [](const std::string& name, const Point& point) {
        return name == "oneshot" && point.hidden_dim == 2048 ? 1.4 : 1.0; // its crossover is an octave earlier
    };
    samples = synthetic::measure(machine);
    cell = fit_one(samples);
    CHECK(cell.note.find("hidden_dim 2048") != std::string::npos);
    const std::vector<HiddenDimFit> fits = fit_hidden_dims(samples, {&cell, 1}, {});
    REQUIRE(fits.size() == 3);
    CHECK(fits[0].hidden_dim == 2048);
    CHECK(fits[0].worst_cost > 0.04);
    CHECK(fits[0].mean_cost < fits[0].worst_cost);
    CHECK(fits[0].own.oneshot->max_bytes < fits[2].own.oneshot->max_bytes * 5 / 8);
    CHECK(static_cast<double>(fits[2].own.oneshot->max_bytes) == Approx(512 * kKiB).epsilon(0.1));

    // That hidden_dim gets a row, whose time the cell's regret is then measured by.
    const HiddenDimRow* row = find_row(cell, 2048);
    REQUIRE(row != nullptr);
    CHECK(row->oneshot == fits[0].own.oneshot);
    CHECK(cell.spread->oneshot == std::array{fits[0].own.oneshot->max_bytes,
                                             std::max(fits[1].own.oneshot->max_bytes, fits[2].own.oneshot->max_bytes)});
    CHECK(cell.spread->worst_cost == Approx(fits[0].worst_cost).epsilon(0.001));
    CHECK(cell.regret->max < fits[0].worst_cost);
    check_intervals(for_hidden_dim(cell, 2048));
    // Its samples end at 16 MiB, the others' at 64 MiB: beyond its own the cell's limits hold.
    CHECK(select_algorithm(cell, 32 << 20, 2048) == select_algorithm(cell, 32 << 20));
}

TEST_CASE("a row from samples around one edge takes the rest from the cell") {
    synthetic::Machine machine = two_crossovers();
    machine.noise = synthetic::kNoNoise;
    machine.hidden_dims = {2048, 4096, 8192};
    machine.shape_factor = [](const std::string& name, const Point& point) {
        return name == "oneshot" && point.hidden_dim == 2048 ? 1.4 : 1.0; // its crossover is an octave earlier
    };
    std::vector<Sample> samples = synthetic::measure(machine);
    // As a search does that found the edge with the other hidden_dims: 2048 was timed at 256 and 512 KiB only.
    std::erase_if(samples, [](const Sample& s) {
        const std::uint64_t bytes = message_bytes(s.point);
        return s.point.hidden_dim == 2048 && (bytes < (1 << 18) || bytes > (1 << 19));
    });
    const Cell cell = fit_one(samples);
    const HiddenDimRow* row = find_row(cell, 2048);
    REQUIRE(row != nullptr);
    check_intervals(for_hidden_dim(cell, 2048));
    CHECK(select_algorithm(cell, 1 << 17, 2048) == "oneshot"); // not timed: the cell's
    CHECK(select_algorithm(cell, 1 << 18, 2048) == "twoshot"); // timed: its own
    CHECK(select_algorithm(cell, 4 << 20, 2048) == "twoshot"); // not timed: the cell's
    CHECK(select_algorithm(cell, 32 << 20, 2048) == "nccl_fused_norm");
    CHECK(row->oneshot->max_bytes == (1 << 18) - 1);
    CHECK(row->twoshot == cell.twoshot);
    // That its own samples hold no size for oneshot is no limit of its own.
    REQUIRE(cell.spread->oneshot);
    CHECK((*cell.spread->oneshot)[0] > 0);
}

TEST_CASE("a row whose fused range ends with its samples goes on as the cell does") {
    synthetic::Machine machine = two_crossovers();
    machine.noise = synthetic::kNoNoise;
    machine.hidden_dims = {256, 4096, 8192}; // samples of 256 end at 2 MiB, where twoshot still wins
    machine.shape_factor = [](const std::string& name, const Point& point) {
        return name == "oneshot" && point.hidden_dim == 256 ? 1.4 : 1.0;
    };
    const Cell cell = fit_one(machine);
    const HiddenDimRow* row = find_row(cell, 256);
    REQUIRE(row != nullptr);
    CHECK(row->oneshot->max_bytes < cell.oneshot->max_bytes);
    CHECK(row->twoshot == cell.twoshot);
    CHECK(row->baseline == cell.baseline);
    check_intervals(for_hidden_dim(cell, 256));
    for (const std::uint64_t bytes : {1ull << 20, 4ull << 20, 7ull << 20, 10ull << 20, 1ull << 30})
        CHECK(select_algorithm(cell, bytes, 256) == select_algorithm(cell, bytes));
}

TEST_CASE("a row whose samples end where nothing fused wins goes on as the cell does, too") {
    // NCCL is the fastest from 256 KiB to 1 MiB with this hidden_dim, whose samples end there, and with no other.
    synthetic::Machine machine;
    machine.noise = synthetic::kNoNoise;
    machine.hidden_dims = {1024, 4096, 8192};
    machine.curves = {{"nccl_fused_norm", kNccl}, {"oneshot", synthetic::scaled(kNccl, 0.6)}};
    machine.shape_factor = [](const std::string& name, const Point& point) {
        const std::uint64_t bytes = message_bytes(point);
        const bool slow = name == "oneshot" && point.hidden_dim == 1024 && bytes >= (1 << 18) && bytes <= (1 << 20);
        return slow ? 2.0 : 1.0;
    };
    std::vector<Sample> samples = synthetic::measure(machine);
    std::erase_if(samples, [](const Sample& sample) {
        return sample.point.hidden_dim == 1024 && message_bytes(sample.point) > (1 << 20);
    });
    const Cell cell = fit_one(samples);
    check_intervals(for_hidden_dim(cell, 1024));
    for (const auto& [bytes, algorithm] : {std::pair(1 << 16, "oneshot"),
                                           {1 << 18, "nccl_fused_norm"},
                                           {1 << 20, "nccl_fused_norm"},
                                           {4 << 20, "oneshot"}})
        CHECK(select_algorithm(cell, static_cast<std::uint64_t>(bytes), 1024) == algorithm);
}

TEST_CASE("a hidden_dim of which a search saw little has no limits of its own in the gaps") {
    synthetic::Machine machine;
    machine.noise = synthetic::kNoNoise;
    machine.sessions = 1;
    machine.hidden_dims = {4096, 8192};
    const auto nccl = synthetic::alpha_beta(12, 20);
    machine.curves = {{"nccl_fused_norm", nccl},
                      {"oneshot", synthetic::scaled(nccl, 0.6)},
                      {"twoshot", synthetic::scaled(nccl, 0.63)}};
    machine.shape_factor = [](const std::string& algorithm, const Point& point) {
        const bool slower = algorithm == "oneshot" && point.hidden_dim == 8192 && point.num_tokens >= 16;
        return slower ? 1.2 : 1.0;
    };
    const auto own_limits = [&](const std::vector<Sample>& samples) {
        std::vector<std::int64_t> hidden_dims;
        for (const HiddenDimFit& fit : fit_hidden_dims(samples, fit_cells(samples, {}), {}))
            hidden_dims.push_back(fit.hidden_dim);
        return hidden_dims;
    };
    std::vector<Sample> samples = synthetic::measure(machine);
    CHECK(own_limits(samples) == std::vector<std::int64_t>{4096, 8192});
    std::erase_if(samples, [](const Sample& sample) { // a look every three octaves
        const auto tokens = sample.point.num_tokens;
        return sample.point.hidden_dim == 8192 && tokens != 1 && tokens != 8 && tokens != 64 && tokens != 512;
    });
    CHECK(own_limits(samples) == std::vector<std::int64_t>{4096});
}

TEST_CASE("hidden dims that share no size are held against the same limits") {
    synthetic::Machine machine = two_crossovers();
    machine.noise = synthetic::kNoNoise;
    machine.hidden_dims = {4096, 7168};
    machine.num_tokens = synthetic::default_num_tokens();
    machine.shape_factor = [](const std::string& name, const Point& point) {
        return name == "oneshot" && point.hidden_dim == 7168 ? 1.4 : 1.0; // its crossover is an octave earlier
    };
    const Cell cell = fit_one(machine);
    // Intervals that followed the sizes of the one and of the other in turn would lose nothing, and say nothing.
    CHECK(cell.intervals.size() == 3);
    CHECK(cell.spread->worst_cost > 0.04);
    CHECK(!cell.hidden_dims.empty());
}
