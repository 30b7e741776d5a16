// Relayed rows of moe_dispatch on the emulated machine: which are, that all arrive with the same bits as ever, in
// sequences and with late ranks; and broken in every way that can be had from outside of the kernel.

#include "tests/emulation/emulated_moe.hpp"

#include <doctest/doctest.h>

#include <random>

using namespace crossover;
using namespace crossover::testing;
using device::DispatchRelay;
using device::MoeArguments;

namespace {

/// What the fullest link carries, in rows × (world size − 1).
std::int64_t fullest(const TokensPerRank& tokens, int world, std::int64_t direct) {
    const auto relayed = [&](std::size_t rank) { return std::max<std::int64_t>(0, tokens[rank] - direct); };
    std::int64_t fullest = 0;
    for (std::size_t rank = 0; rank < static_cast<std::size_t>(world); ++rank) {
        std::int64_t sent = (world - 1) * ((world - 1) * std::min(tokens[rank], direct) + relayed(rank));
        for (std::size_t other = 0; other < static_cast<std::size_t>(world); ++other)
            if (other != rank) sent += (world - 2) * relayed(other);
        fullest = std::max(fullest, sent);
    }
    return fullest;
}

DispatchRelay relay_of(MoeDispatch call, int world, const MoeLaunch& launch) {
    const EmulatedWorld emulated(world);
    alignas(16) static std::byte tensor[16];
    static float scale;
    call.input = tensor;
    call.output.fill(tensor);
    call.output_scales.fill(tensor);
    call.quant_scale = &scale;
    return moe_arguments(call, emulated.workspaces[0], launch).dispatch_relay;
}

/// Half a dozen pieces and more.
void cut_small(MoeArguments& a) {
    const unsigned steps = a.dispatch_relay.pieces * a.dispatch_relay.piece_steps;
    a.dispatch_relay.piece_steps = 2;
    a.dispatch_relay.pieces = (steps + 1) / 2;
}

/// Whether the call is relayed by default.
bool relays(const MoeDispatch& call, int world) {
    Workspace workspace;
    workspace.peers.world_size = world;
    return default_launch(call, workspace, 132).relays;
}

/// Bytes that relays take off the fullest link.
std::int64_t saved(const MoeDispatch& call, int world) {
    const auto [fewest, most] = std::minmax_element(call.tokens.begin(), call.tokens.begin() + world);
    const auto elements = call.hidden_dim;
    const std::int64_t row_bytes = call.quant == Quant::none  ? elements * static_cast<int>(element_size(call.dtype))
                                   : call.quant == Quant::fp8 ? elements
                                                              : elements * 9 / 16;
    return (fullest(call.tokens, world, *most) - fullest(call.tokens, world, *fewest)) / (world - 1) * row_bytes;
}

/// Rows of which some pieces are relayed, in the proportions of `tokens`.
MoeDispatch relayed(MoeDispatch call, int world, const TokensPerRank& tokens) {
    for (std::int64_t factor = 1;; ++factor) {
        for (std::size_t rank = 0; rank < tokens.size(); ++rank) call.tokens[rank] = factor * tokens[rank];
        if (saved(call, world) >= 1 << 19) return call;
    }
}

/// Splits with different relays: one hot rank, the first or not; two; each rank with some rows.
std::vector<TokensPerRank> uneven_splits(int world) {
    std::vector<TokensPerRank> splits{{1}, {}, {}, tokens_of(Distribution::zipf, world, 7), {1, 4, 1, 1}};
    const auto last = static_cast<std::size_t>(world - 1);
    splits[1][last] = 1;
    splits[2] = {3, 1};
    splits[2][last] = 3;
    return splits;
}

/// Runs the call on a world of its own; every rank must have what gathering and quantizing gives, padding untouched.
void check_dispatch(const MoeDispatch& shape, int size, const MoeLaunch& launch, const emulation::Options& options) {
    INFO(describe(shape, size) << " ctas " << launch.ctas << " threads " << launch.threads << " seed " << options.seed);
    CHECK(relay_of(shape, size, launch).pieces > 0);
    DispatchTensors tensors(shape, size, options.seed);
    EmulatedWorld world(size, options);
    tensors.enqueue(world, launch);
    world.machine.run();
    if (const auto timeout = world.timeout()) FAIL(to_string(*timeout));
    const auto expected = tensors.gathered_then_quantized();
    int wrong = 0;
    for (const auto& of_rank : tensors.ranks) wrong += of_rank != expected;
    CHECK(wrong == 0);
}

/// Dispatches, relayed and not, between all-reduces and combines, in random order; all enqueued at once.
struct Sequence {
    int world_size = 8;
    int count = 6;

    /// What goes wrong; empty if nothing does.
    std::string outcome(emulation::Options options) const {
        std::minstd_rand random(static_cast<unsigned>(options.seed));
        const auto pick = [&](std::size_t choices) { return random() / 7 % choices; };
        MoeSequence calls(world_size, std::move(options), std::size_t{256} << 10, std::size_t{4} << 20, 0);
        const auto splits = uneven_splits(world_size);
        for (int i = 0; i < count; ++i) {
            const auto seed = static_cast<std::uint64_t>(i);
            MoeLaunch launch{.ctas = 2 + static_cast<int>(pick(3)), .threads = 64 << pick(2), .pdl = pick(4) != 0};
            const std::size_t kind = pick(5);
            launch.relays = i == 0 || kind < 2;
            if (launch.relays || kind == 2) {
                MoeDispatch shape{.quant = pick(3) == 0 ? Quant::fp8 : Quant::none, .hidden_dim = 4096};
                shape.tokens = splits[pick(splits.size())];
                calls.dispatch(launch.relays ? relayed(shape, world_size, shape.tokens) : shape, seed, launch);
            } else if (kind == 3) {
                calls.combine({.hidden_dim = 512, .tokens = splits[0]}, seed, launch);
            } else {
                calls.all_reduce(i % 2 ? Fused::oneshot : Fused::twoshot);
            }
        }
        return calls.outcome();
    }

    std::string first_failure(emulation::Options options, int tries) const {
        if (!options.alter_moe) options.alter_moe = cut_small;
        return first_failure_of([this](const emulation::Options& seeded) { return outcome(seeded); }, options, tries);
    }
};

std::optional<WaitTimeout> timeout_at(const EmulatedWorld& world, std::size_t rank) {
    return timeout_of(*reinterpret_cast<const device::Control*>(world.workspaces[rank].peers.base[rank]));
}

} // namespace

TEST_CASE("rows are relayed where the fullest link is spared 3 MiB, and no more of them than that takes") {
    const auto relay = [](Quant quant, const TokensPerRank& tokens, int world) {
        return relays({.quant = quant, .hidden_dim = 4096, .tokens = tokens}, world);
    };
    // 8 KiB a row. One rank of n has all R: (n − 2) R fewer.
    CHECK(relay(Quant::none, {192}, 4));
    CHECK_FALSE(relay(Quant::none, {0, 0, 191}, 4));
    CHECK(relay(Quant::none, {0, 64}, 8));
    CHECK_FALSE(relay(Quant::none, {0, 63}, 8));
    CHECK_FALSE(relay(Quant::none, {1 << 20, 0}, 2));
    // 4 KiB and 2304 bytes.
    CHECK(relay(Quant::fp8, {384}, 4));
    CHECK_FALSE(relay(Quant::fp8, {383}, 4));
    CHECK(relay(Quant::fp4, {683}, 4));
    CHECK_FALSE(relay(Quant::fp4, {682}, 4));
    // The hot ranks pass on each other's: 2/3 (4 × 288 − 576) = 384 rows fewer.
    CHECK(relay(Quant::none, {288, 288}, 4));
    CHECK_FALSE(relay(Quant::none, {287, 287}, 4));
    for (const int world : {2, 4, 8})
        CHECK_FALSE(relay(Quant::none, tokens_of(Distribution::even, world, 100000), world));

    std::minstd_rand random(3);
    for (int i = 0; i < 60; ++i) {
        const int world = 2 << i % 3;
        TokensPerRank tokens{};
        for (int rank = 0; rank < world; ++rank)
            tokens[static_cast<std::size_t>(rank)] = static_cast<std::int64_t>(random() / 7 % 600);
        const std::int64_t most = *std::ranges::max_element(tokens);
        const std::int64_t fewest = *std::min_element(tokens.begin(), tokens.begin() + world);
        std::int64_t least = fullest(tokens, world, most);
        for (std::int64_t other = 0; other <= most; ++other) least = std::min(least, fullest(tokens, world, other));
        INFO(describe(tokens, world));
        const std::int64_t spared = (fullest(tokens, world, most) - least) / (world - 1) * 8192;
        CHECK(relay(Quant::none, tokens, world) == (spared >= 3 << 20));
        if (world == 2) continue;
        CHECK(fullest(tokens, world, fewest) == least); // so many are direct
        if (fewest < most) CHECK(fullest(tokens, world, fewest + 1) > least);
    }
}

TEST_CASE("a rank's first units are relayed, as many as it has rows beyond the direct ones, in pieces") {
    const MoeLaunch launch{.ctas = 100, .threads = 256, .relays = true};
    // 1024 vectors a step, 2 rows: 1100 rows are 550 units, and 600 (whole rounds of the CTAs) since none is direct.
    // Pieces of 2 of 6 steps of 16 KiB: 2 × 2 × 16 ≥ 6 × 6 KiB.
    DispatchRelay relay = relay_of({.hidden_dim = 4096, .tokens = {0, 1100}}, 4, launch);
    CHECK(relay.units[0] == 0);
    CHECK(relay.units[1] == 600);
    CHECK(relay.piece_steps == 2);
    CHECK(relay.pieces == 3);
    // 1600 − 100 of 1600 rows are 15/16 of 800 units; 3 × 3 × 8 ≥ 8 × 6 KiB.
    relay = relay_of({.quant = Quant::fp8, .hidden_dim = 4096, .tokens = {100, 100, 1600, 100}}, 4, launch);
    CHECK(relay.units[0] == 0);
    CHECK(relay.units[2] == 750);
    CHECK(relay.piece_steps == 3);
    CHECK(relay.pieces == 3);
    relay = relay_of({.quant = Quant::fp8, .hidden_dim = 4096, .tokens = {100, 100, 16000, 100}}, 4, launch);
    CHECK(relay.units[2] == 7950);
    CHECK(relay.piece_steps == 8);
    CHECK(relay.pieces == 10);
    // In tiles: rows 100…1139 lie in 9 of them, each 4 groups of 8 warps' rows × 16 chunks of 32 vectors; 94 % of 576.
    relay = relay_of({.quant = Quant::fp4, .hidden_dim = 4096, .tokens = {100, 1040, 60, 70}}, 4, launch);
    CHECK(relay.units[0] == 26); // 40 of 100 rows, of 64
    CHECK(relay.units[1] == 543);
    CHECK(relay.units[2] == 0);
    // Nothing to relay: the kernel without.
    CHECK(relay_of({.hidden_dim = 4096, .tokens = {100, 100, 100, 100}}, 4, launch).pieces == 0);
    CHECK(relay_of({.hidden_dim = 4096, .tokens = {100000, 0}}, 2, launch).pieces == 0);
}

TEST_CASE("relayed rows have the bits of gather, then quantize: every quant mode, layout and split") {
    std::uint64_t seed = 0;
    for (std::size_t split = 0; split < 5; ++split)
        for (const auto& quant : kQuants)
            for (const ScaleLayout layout : {ScaleLayout::swizzled, ScaleLayout::linear}) {
                if (layout == ScaleLayout::linear && (quant.value != Quant::fp4 || split % 2 == 0)) continue;
                if (++seed % CROSSOVER_EMULATED_SHARE != 0) continue;
                const int size = split < 2 ? 4 : 8; // more rows take too long
                const MoeDispatch shape{.dtype = kDTypes[seed % kDTypes.size()].value,
                                        .quant = quant.value,
                                        .scale_layout = layout,
                                        .hidden_dim = 2064}; // 129 blocks: most of a row's last tile is padding
                const MoeLaunch launch{.ctas = 3 + static_cast<int>(seed % 3),
                                       .threads = 128 << seed % 2,
                                       .pdl = seed % 2 == 0,
                                       .relays = true};
                const auto alter = seed % 5 == 0 ? [](MoeArguments&) {} : cut_small;
                check_dispatch(relayed(shape, size, uneven_splits(size)[split]), size, launch,
                               {.seed = seed, .alter_moe = alter});
            }
}

TEST_CASE("few long rows of fp4 with swizzled scales are relayed in turns") {
    MoeDispatch shape{.quant = Quant::fp4, .hidden_dim = 65536, .tokens = {0, 16}};
    CHECK_FALSE(deals_in_tiles(shape));
    check_dispatch(shape, 4, {.ctas = 2, .threads = 64, .relays = true}, {.seed = 1});
}

TEST_CASE("sequences of dispatches with relays and without, all-reduces and combines on one workspace") {
    constexpr int kTries = 1 + 2 / CROSSOVER_EMULATED_SHARE;
    CHECK(Sequence{}.first_failure({}, kTries) == "");
    CHECK(Sequence{.world_size = 4, .count = 4}.first_failure({}, kTries) == "");
    for (const std::size_t late : {0, 3}) {
        std::vector<double> speed(4, 1.0);
        speed[late] = 0.01;
        CHECK(Sequence{.world_size = 4, .count = 3}.first_failure({.rank_speed = speed}, kTries) == "");
    }
}

TEST_CASE("a missing rank ends relays in a time-out that names it, and a reset makes the workspace usable again") {
    EmulatedWorld world(4);
    DispatchTensors rows(relayed({.hidden_dim = 8192}, 4, {2, 0, 3, 0}), 4, 1);
    const MoeLaunch launch{.ctas = 2, .threads = 64, .relays = true};
    for (const std::size_t rank : {0, 1, 3})
        moe_dispatch(rows.call_of(static_cast<int>(rank), rows), world.workspaces[rank], launch, &world.streams[rank]);
    world.machine.run();
    const auto timeout = world.timeout();
    REQUIRE(timeout);
    CHECK(timeout->peer == 2);
    CHECK(std::ranges::all_of(rows.of(2).output, [](std::byte byte) { return byte == kPoison; }));
    world.reset();
    rows.enqueue(world, launch);
    world.machine.run();
    REQUIRE_FALSE(world.timeout().has_value());
    CHECK(rows.of(0) == rows.gathered_then_quantized());
}

TEST_CASE("who gives up on rows to relay lets no other end a dispatch without them") {
    // Ranks 1 and 3 have heard all from rank 2 that there is to hear; rank 0 hears of no piece to relay.
    EmulatedWorld world(4);
    for (const std::size_t rank : {1, 3}) world.workspaces[rank].timeout_ns *= 100;
    DispatchTensors rows(relayed({.hidden_dim = 8192}, 4, {0, 0, 1, 0}), 4, 1);
    const std::uint32_t said[] = {1, 1, 1000}; // begun, done, pieces; of the first launch's only CTA
    for (const std::size_t rank : {0, 1, 3})
        for (std::size_t flag = 0; flag < 3; ++flag)
            if (rank != 0 || flag < 2)
                std::memcpy(world.workspaces[rank].peers.base[rank] + kControlBytes + flag * device::kFlagsBytes +
                                std::size_t{2} * device::kVectorBytes,
                            &said[flag], sizeof said[flag]);
    for (const std::size_t rank : {0, 1, 3})
        moe_dispatch(rows.call_of(static_cast<int>(rank), rows), world.workspaces[rank],
                     {.ctas = 1, .threads = 64, .relays = true}, &world.streams[rank]);
    world.machine.run();
    REQUIRE(timeout_at(world, 0));
    CHECK(timeout_at(world, 0)->peer == 2);
    CHECK(timeout_at(world, 0)->iteration >= 2);
    for (const std::size_t rank : {1, 3}) {
        REQUIRE(timeout_at(world, rank));
        CHECK(timeout_at(world, rank)->peer == 0);
    }
}

TEST_CASE("broken relays are found") {
    const Sequence sequence{.world_size = 4, .count = 4};
    const int tries = 8;
    CHECK(sequence.first_failure({.without_flags = true}, tries) != "");
    CHECK(sequence.first_failure({.without_release = true}, tries) != "");
    CHECK(sequence.first_failure({.without_emptying = true}, tries) != "");
    const auto idle = [](MoeArguments& a) { // knows of nothing that it is to relay
        cut_small(a);
        if (a.peers.rank == 1)
            for (int source = 0; source < 4; ++source)
                if (source != 1) a.dispatch_relay.units[source] = 0;
    };
    CHECK(sequence.first_failure({.alter_moe = idle}, tries) != "");
}
