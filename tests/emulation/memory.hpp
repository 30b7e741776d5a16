#pragma once
/// Stores on their way. A store to a slot or a peer lands late, word by word, after later ones of its thread or before,
/// but those of one thread to one address in order, and no later than `window` further stores of the thread.

#include "tests/emulation/cuda_language.hpp"

#include <cstddef>
#include <functional>
#include <memory>
#include <random>
#include <vector>

namespace crossover::emulation {

class Memory {
  public:
    using Random = std::minstd_rand;

    /// A thread's stores that have not landed, oldest first.
    struct Sender {
        struct Store {
            std::byte* slot;
            uint4 value; // its first `bytes`
            unsigned bytes;
            unsigned words; // a bit for each that has not landed
            std::uint64_t number;
        };
        std::vector<Store> stores;
        std::uint64_t issued = 0;
        bool listed = false; // in senders_
    };

    /// `landed(slot)` is called whenever a word has landed there.
    Memory(int window, std::function<void(const std::byte*)> landed);

    /// Up to 16 bytes.
    void store(const std::shared_ptr<Sender>& sender, std::byte* slot, const void* value, unsigned bytes);
    void store(const std::shared_ptr<Sender>& sender, std::byte* slot, const uint4& value) {
        store(sender, slot, &value, sizeof value);
    }
    /// What the sender's thread sees: its own stores first.
    uint4 load(Sender& sender, const std::byte* slot);
    /// A store to another CTA's shared memory; `land` performs it.
    void store_async(std::function<void()> land);

    bool empty() const { return senders_.empty() && async_.empty(); }
    std::size_t size() const { return senders_.size() + async_.size(); }
    /// All of a thread's.
    void land_all(Sender& sender);
    void land_any(Random& random);
    /// All stores to [begin, begin + bytes).
    void land_within(const std::byte* begin, std::size_t bytes);

  private:
    void land(Sender& sender, std::size_t index, unsigned words);

    int window_;
    std::function<void(const std::byte*)> landed_;
    std::vector<std::shared_ptr<Sender>> senders_; // all that have stores on their way
    std::vector<std::function<void()>> async_;
};

} // namespace crossover::emulation
