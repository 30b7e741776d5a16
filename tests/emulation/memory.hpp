#pragma once
/// Stores on their way. A store to a slot or a peer lands late, word by word, after later ones of its thread or before,
/// but those of one thread to one address in order. How late does not matter: at the latest at the end of its launch on
/// the own GPU, and before what is ordered after it by a release and an acquire. Nothing lands because of a fence
/// alone.

#include "kernels/device/arguments.hpp"
#include "tests/emulation/cuda_language.hpp"

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <random>
#include <unordered_map>
#include <utility>
#include <vector>

namespace crossover::emulation {

struct Sender;

/// What a warp's lanes have fenced: of each lane the stores before this number. Released with every later store.
struct Fenced {
    std::uint64_t warp = 0;
    std::uint64_t version = 0; // of two of one warp the greater one says more
    std::array<std::uint64_t, device::kWarp> before{};
};
/// Of several warps, at most one of each.
class Fences {
  public:
    void add(const std::shared_ptr<const Fenced>& fenced);
    void add(const Fences& others);
    void clear() { of_.clear(); }
    /// Whether the store of this number is before them.
    bool cover(const Sender& sender, std::uint64_t number) const;

  private:
    std::vector<std::shared_ptr<const Fenced>> of_;
};
/// What is released with a flag: of each thread the stores before this number.
using Flagged = std::vector<std::pair<std::weak_ptr<Sender>, std::uint64_t>>;
struct Release {
    std::shared_ptr<const Fenced> fenced = nullptr;
    std::shared_ptr<const Flagged> flagged = nullptr;
};

/// A thread's stores that have not landed, oldest first; and what is ordered before its next ones.
struct Sender {
    struct Store {
        std::byte* slot = nullptr;
        uint4 value{}; // its first `bytes`
        unsigned bytes = 0;
        Release release = {};
        bool lazy = false;  // lands when nobody can go on without it
        unsigned words = 0; // a bit for each that has not landed
        std::uint64_t number = 0;

        /// Those of `which` words that have not landed.
        void put(void* to, unsigned which) const;
    };
    std::uint64_t warp = 0;
    std::size_t lane = 0;
    std::vector<Store> stores;
    std::uint64_t issued = 0;
    Fences seen, acquired; // with what it has loaded since its last fence, and before
};

class Memory {
  public:
    using Random = std::minstd_rand;

    /// `landed(slot)` is called whenever a word has landed there.
    Memory(std::uint64_t seed, std::function<void(const std::byte*)> landed);

    /// Up to 16 bytes.
    void store(const std::shared_ptr<Sender>& sender, std::byte* slot, const void* value, unsigned bytes,
               Release release = {});
    void store(const std::shared_ptr<Sender>& sender, std::byte* slot, const uint4& value, Release release = {}) {
        store(sender, slot, &value, sizeof value, std::move(release));
    }
    /// What the sender's thread sees in up to 16 bytes: its own stores as if they had landed.
    uint4 load(Sender& sender, const std::byte* slot, unsigned bytes);
    /// With what has landed there last.
    Release release_of(const std::byte* slot) const;
    /// A store to another CTA's shared memory; `land` performs it.
    void store_async(std::function<void()> land);

    bool empty() const { return on_way_.empty() && async_.empty(); }
    /// How many may land now, about.
    std::size_t size() const { return willing_.size() + async_.size(); }
    void land_all(const Flagged& flagged);
    /// All of a thread's.
    void land_all(Sender& sender);
    /// One, or a part of it; a lazy one if there is no other.
    void land_any();
    /// A thread's stores to [begin, begin + bytes).
    void land_within(Sender& sender, const std::byte* begin, std::size_t bytes);

  private:
    void land(Sender& sender, std::size_t index, unsigned words);
    void land_acquired(const Sender& sender, const std::byte* slot);

    std::function<void(const std::byte*)> landed_;
    Random random_;
    unsigned lazy_one_in_;
    std::vector<std::shared_ptr<Sender>> willing_,
        lazy_; // for each store on its way its sender, and some that have none
    std::unordered_multimap<const std::byte*, Sender*> on_way_;
    std::vector<std::function<void()>> async_;
    std::unordered_map<const std::byte*, Release> release_of_;
};

} // namespace crossover::emulation
