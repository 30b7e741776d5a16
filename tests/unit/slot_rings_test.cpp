// The rings of slots that launches get: they fit into the workspace, and no data can land in a slot before the last was
// emptied. The latter by following what every rank can know, by the order of fences alone; tests/emulation runs the
// kernels themselves.

#include "kernels/launch.hpp"
#include "kernels/workspace.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <random>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

using namespace crossover;
using device::SlotLayout;

namespace {

/// One thread on every rank, in a launch of one cluster: which rank it is that owns a row changes from row to row
/// (sharded) or never does (twoshot: of one unit), and of oneshot all do.
struct Protocol {
    Fused algorithm;
    bool sharded;
    int world, ahead, behind;

    int fewest() const {
        return 2 + ahead + (algorithm == Fused::oneshot ? ahead : behind) + (sharded ? world - 1 : 0);
    }
    std::string text() const {
        return std::string(algorithm == Fused::oneshot ? "oneshot" : "twoshot") + (sharded ? " sharded" : "") +
               ", world size " + std::to_string(world) + ", ahead " + std::to_string(ahead) + ", behind " +
               std::to_string(behind);
    }
    int rows_a_stage() const { return sharded ? world : 1; }
    int stages(int rows) const { return (rows + rows_a_stage() - 1) / rows_a_stage(); }

    /// Whether each store into a slot that was used before comes after the emptying of that slot: after in the order
    /// that the memory model gives to emptying, fence, store; load of it, fence, store. Threads fence before every
    /// `fence_rows`-th row, the first time before any of the first so many.
    bool sound(int iterations, int fence_rows, int push_ring, int gather_ring) const {
        for (int first = 1; first <= std::min(fence_rows, iterations + ahead); ++first)
            if (!sound_from(first, iterations, fence_rows, push_ring, gather_ring)) return false;
        return true;
    }

  private:
    bool sound_from(int first, int iterations, int fence_rows, int push_ring, int gather_ring) const {
        struct Rank {
            View known{};    // at the last fence, and what it has done itself since
            View released{}; // at the last fence
            View seen{};     // known at the fences of those from whom it has received since
        };
        struct Slot {
            int emptied = 0; // the receiver's number of that event
            View released{}; // with the data
        };
        const auto ranks = static_cast<std::size_t>(world);
        std::vector<Rank> all(ranks);
        std::vector<std::vector<std::vector<Slot>>> pushed(ranks), gathered(ranks); // [receiver][sender][stage]
        for (auto& of : pushed) of.assign(ranks, std::vector<Slot>(static_cast<std::size_t>(push_ring)));
        for (auto& of : gathered) of.assign(ranks, std::vector<Slot>(static_cast<std::size_t>(gather_ring)));
        bool sound = true;
        const auto store = [&](std::size_t from, std::size_t to, Slot& slot) {
            sound &= all[from].known[to] >= slot.emptied;
            slot.released = all[from].released;
        };
        const auto receive = [&](std::size_t rank, Slot& slot) {
            Rank& mine = all[rank];
            mine.seen = later(mine.seen, slot.released);
            slot.emptied = ++mine.known[rank];
        };
        const auto owner = [&](int row) { return static_cast<std::size_t>(sharded ? row % world : 0); };
        const auto owns = [&](std::size_t rank, int row) { return algorithm == Fused::oneshot || rank == owner(row); };
        const auto stage = [&](int row, int ring) { return static_cast<std::size_t>(row / rows_a_stage() % ring); };
        const int last = algorithm == Fused::oneshot ? 0 : behind;
        for (int step = -ahead; step < iterations + last; ++step) {
            const int next = step + ahead;
            if (next >= first && (next - first) % fence_rows == 0 &&
                (algorithm == Fused::oneshot ? next : step) < iterations)
                for (Rank& rank : all) {
                    rank.known = rank.released = later(rank.known, rank.seen);
                    rank.seen = {};
                }
            for (std::size_t from = 0; from < ranks && next < iterations; ++from)
                for (std::size_t to = 0; to < ranks; ++to)
                    if (to != from && owns(to, next)) store(from, to, pushed[to][from][stage(next, push_ring)]);
            for (std::size_t rank = 0; rank < ranks && step >= 0 && step < iterations; ++rank) {
                if (!owns(rank, step)) continue;
                for (std::size_t from = 0; from < ranks; ++from)
                    if (from != rank) receive(rank, pushed[rank][from][stage(step, push_ring)]);
                for (std::size_t to = 0; to < ranks && algorithm == Fused::twoshot; ++to)
                    if (to != rank) store(rank, to, gathered[to][rank][stage(step, gather_ring)]);
            }
            for (std::size_t rank = 0; rank < ranks && algorithm == Fused::twoshot && step >= behind; ++rank)
                if (!owns(rank, step - behind))
                    receive(rank, gathered[rank][owner(step - behind)][stage(step - behind, gather_ring)]);
        }
        return sound;
    }

    using View = std::array<int, kMaxWorldSize>; // of each rank's events, how many
    static View later(View a, const View& b) {
        for (std::size_t i = 0; i < a.size(); ++i) a[i] = std::max(a[i], b[i]);
        return a;
    }
};

template <class Check>
void for_all_protocols(Check check) {
    for (const auto& [algorithm, sharded] :
         {std::pair{Fused::oneshot, false}, {Fused::twoshot, false}, {Fused::twoshot, true}})
        for (const int world : {2, 4, 8})
            for (const int ahead : {0, 1, 2, 3, 6})
                for (const int behind : {0, 1, 2, 3, 6}) {
                    const Protocol protocol{algorithm, sharded, world, ahead, behind};
                    INFO(protocol.text());
                    check(protocol);
                }
}

/// A call, a launch and a workspace, any of them; the tensors are not looked at.
struct Case {
    Fused algorithm;
    FusedAllReduce call;
    LaunchParameters launch;
    Workspace workspace;

    explicit Case(std::minstd_rand& random) {
        const auto pick = [&](auto... choices) {
            const std::common_type_t<decltype(choices)...> all[] = {choices...};
            return all[random() / 7 % sizeof...(choices)];
        };
        const auto up_to = [&](unsigned most) { return 1 + static_cast<int>(random() / 7 % most); };
        alignas(16) static std::byte tensor[16];
        algorithm = pick(Fused::oneshot, Fused::twoshot, Fused::twoshot);
        if (algorithm == Fused::twoshot && up_to(2) == 1) call.pattern = Pattern::allreduce_residual_rmsnorm_sharded;
        call.dtype = pick(DType::bfloat16, DType::float32);
        call.quant = pick(Quant::none, Quant::fp8, Quant::fp4);
        call.num_tokens = pick(up_to(8), up_to(300), up_to(3000));
        call.hidden_dim = std::int64_t{16} * pick(up_to(16), up_to(512), 512);
        call.input = call.residual_in = call.gamma = tensor;
        call.output = call.residual_out = call.output_scales = tensor;
        call.quant_scale = reinterpret_cast<const float*>(tensor);
        launch = {.cluster_size = pick(1, 2, 8),
                  .clusters = pick(1, up_to(16), up_to(132)),
                  .threads = 32 * up_to(16),
                  .push_ahead = up_to(4) - 1,
                  .consume_behind = up_to(4) - 1};
        workspace.peers.world_size = pick(2, 4, 8);
        workspace.peers.rank = 0;
        workspace.bytes = static_cast<std::size_t>(up_to(1u << 20)) * pick(1u, 8u, 64u);
    }

    bool sharded() const { return is_sharded(call.pattern); }
    std::string unsupported() const { return crossover::unsupported(algorithm, call, workspace, launch).value_or(""); }
    Protocol protocol() const {
        return {algorithm, sharded(), workspace.peers.world_size, launch.push_ahead, launch.consume_behind};
    }
    SlotLayout slots() const { return slot_layout(algorithm, call, workspace, launch); }
    int clusters() const {
        const int used = static_cast<int>(std::min<std::int64_t>(launch.clusters, call.num_tokens));
        return sharded() && used < call.num_tokens && used % 2 == 0 ? used - 1 : used;
    }
    std::size_t ctas() const {
        return static_cast<std::size_t>(clusters()) * static_cast<std::size_t>(launch.cluster_size);
    }
    int iterations() const { return static_cast<int>((call.num_tokens + clusters() - 1) / clusters()); }
};

} // namespace

TEST_CASE("what a launch uses fits into the workspace, and slots are used again only with fences that make it sound") {
    std::minstd_rand random(3);
    int supported = 0, fenced = 0;
    for (int i = 0; i < 20000; ++i) {
        const Case c(random);
        if (!c.unsupported().empty()) continue;
        const SlotLayout slots = c.slots();
        const Protocol protocol = c.protocol();
        const int iterations = c.iterations();
        INFO(protocol.text() << ", " << iterations << " rows, workspace " << c.workspace.bytes);
        REQUIRE(c.ctas() * slots.cta_bytes <= slots.generation_bytes);
        REQUIRE(2 * slots.generation_bytes + kControlBytes <= c.workspace.bytes);
        const std::size_t pushed = slots.push_stage_bytes * static_cast<std::size_t>(slots.push_stages);
        REQUIRE(slots.gather_offset == pushed);
        const std::size_t used = pushed + slots.gather_stage_bytes * static_cast<std::size_t>(slots.gather_stages);
        REQUIRE(slots.cta_bytes >= used);
        REQUIRE(slots.cta_bytes < used + 2 * device::kUnitBytes);
        if (iterations > 1)
            REQUIRE(slots.cta_bytes % (2 * device::kUnitBytes) == device::kUnitBytes); // odd units apart
        REQUIRE(slots.gather_stages == (c.algorithm == Fused::twoshot ? slots.push_stages : 0));
        REQUIRE(slots.first_fence >= 1);
        REQUIRE(slots.first_fence <= slots.fence_rows);
        const bool again = slots.push_stages * protocol.rows_a_stage() < iterations;
        if (again) REQUIRE(slots.fence_rows < iterations);
        if (slots.fence_rows == SlotLayout::kNoFence) REQUIRE_FALSE(again);
        if (iterations <= 200)
            REQUIRE(protocol.sound(iterations, slots.fence_rows, slots.push_stages, slots.gather_stages));
        ++supported;
        fenced += again;
    }
    CHECK(supported > 5000);
    CHECK(fenced > 1000);
}

TEST_CASE("rings are as deep as the workspace allows, and need no more than they say") {
    std::minstd_rand random(4);
    int rings = 0;
    for (int i = 0; i < 20000; ++i) {
        Case c(random);
        if (!c.unsupported().empty()) continue;
        const SlotLayout slots = c.slots();
        if (slots.fence_rows == SlotLayout::kNoFence) continue;
        ++rings;
        // Another stage, and what is lost to an odd number of units.
        REQUIRE(slots.cta_bytes + slots.gather_stage_bytes + slots.push_stage_bytes + 2 * device::kUnitBytes >
                slots.generation_bytes / c.ctas());
        // Without the bytes that are left over; a generation is a whole number of units.
        const std::size_t units = (slots.cta_bytes * c.ctas() + device::kUnitBytes - 1) / device::kUnitBytes;
        c.workspace.bytes = kControlBytes + 2 * units * device::kUnitBytes;
        REQUIRE(c.unsupported() == "");
    }
    CHECK(rings > 1000);
}

TEST_CASE("only where the fewest rows do not fit is a workspace too small") {
    std::minstd_rand random(6);
    int refused = 0;
    for (int i = 0; i < 20000; ++i) {
        const Case c(random);
        if (c.unsupported().find("the workspace of") == std::string::npos) continue;
        ++refused;
        const SlotLayout slots = c.slots();
        const Protocol protocol = c.protocol();
        const int rows = std::min(protocol.fewest(), c.iterations());
        const std::size_t needed =
            (slots.push_stage_bytes + slots.gather_stage_bytes) * static_cast<std::size_t>(protocol.stages(rows));
        constexpr std::size_t kMadeOdd = 2 * device::kUnitBytes - 1;
        REQUIRE((needed + kMadeOdd) * c.ctas() > slots.generation_bytes);
    }
    CHECK(refused > 1000);
}

TEST_CASE("a workspace of workspace_bytes() serves every message up to its size by default") {
    std::minstd_rand random(5);
    for (int i = 0; i < 3000; ++i) {
        Case c(random);
        const auto message =
            static_cast<std::uint64_t>(c.call.num_tokens * c.call.hidden_dim) * element_size(c.call.dtype);
        c.workspace.bytes = workspace_bytes(c.workspace.peers.world_size, message);
        c.launch = default_launch(c.algorithm, c.call, c.workspace, 132, 9);
        INFO(c.call.num_tokens << " x " << c.call.hidden_dim << ", world size " << c.workspace.peers.world_size);
        CHECK(c.unsupported() == "");
    }
}

TEST_CASE("of a world of one rank there is no launch to choose, and unsupported() says so") {
    std::minstd_rand random(7);
    Case c(random);
    c.workspace.peers.world_size = 1;
    c.launch = default_launch(c.algorithm, c.call, c.workspace, 132, 9);
    CHECK(c.unsupported() == "world size 1 is not 2, 4 or 8");
}

TEST_CASE("the fewest rows for fences F rows apart are sound, and one less is not where F divides ahead and behind") {
    for_all_protocols([](const Protocol& protocol) {
        for (const int fence_rows : {1, 2, 3, 4, 5}) {
            INFO("fences " << fence_rows << " rows apart");
            const int rows = protocol.fewest() + 2 * (fence_rows - 1), stages = protocol.stages(rows);
            for (const int more : {1, 2, fence_rows, 40, 41, 42, 43}) // rows in the launch than in the ring
                REQUIRE(protocol.sound(rows + more, fence_rows, stages, stages));
            if (protocol.sharded || protocol.ahead % fence_rows != 0 || protocol.behind % fence_rows != 0) continue;
            const int many = rows + 10 * fence_rows;
            REQUIRE_FALSE(protocol.sound(many, fence_rows, stages - 1, stages));
            if (protocol.algorithm == Fused::twoshot)
                REQUIRE_FALSE(protocol.sound(many, fence_rows, stages, stages - 1));
            REQUIRE_FALSE(protocol.sound(many, SlotLayout::kNoFence, stages, stages));
        }
        if (protocol.sharded && protocol.ahead == 1 && protocol.behind == 1) { // as by default
            const int stages = protocol.stages(protocol.fewest());
            REQUIRE_FALSE(protocol.sound(99, 1, stages - 1, stages));
            REQUIRE_FALSE(protocol.sound(99, 1, stages, stages - 1));
        }
    });
}

TEST_CASE("a CTA's ring has as many bytes as 32 bits count, however large the workspace") {
    FusedAllReduce call;
    call.hidden_dim = 8192;
    call.num_tokens = 1 << 20;
    Workspace workspace;
    workspace.peers.world_size = 8;
    workspace.bytes = std::size_t{64} << 30;
    for (const Fused algorithm : {Fused::oneshot, Fused::twoshot}) {
        const LaunchParameters launch{.cluster_size = 1, .clusters = 1, .threads = 512};
        const SlotLayout slots = slot_layout(algorithm, call, workspace, launch);
        CHECK(slots.cta_bytes <= std::size_t{1} << 31);
        CHECK(slots.cta_bytes > std::size_t{1} << 30);
    }
}
