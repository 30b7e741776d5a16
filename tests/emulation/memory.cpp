#include "tests/emulation/memory.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace crossover::emulation {
namespace {
constexpr unsigned kAllWords = 0xF;
} // namespace

Memory::Memory(int window, std::function<void(const std::byte*)> landed)
    : window_(window), landed_(std::move(landed)) {}

void Memory::store(const std::shared_ptr<Sender>& sender, std::byte* slot, const void* value, unsigned bytes) {
    if (!std::exchange(sender->listed, true)) senders_.push_back(sender);
    const unsigned words = (1u << (bytes + 3) / 4) - 1;
    std::memcpy(&sender->stores.emplace_back(Sender::Store{slot, {}, bytes, words, sender->issued++}).value, value,
                bytes);
    while (!sender->stores.empty() &&
           sender->stores[0].number + static_cast<std::uint64_t>(window_) + 1 < sender->issued)
        land(*sender, 0, kAllWords);
}

uint4 Memory::load(Sender& sender, const std::byte* slot) {
    for (std::size_t i = 0; i < sender.stores.size();)
        if (sender.stores[i].slot == slot)
            land(sender, i, kAllWords);
        else
            ++i;
    uint4 value;
    std::memcpy(&value, slot, sizeof value);
    return value;
}

void Memory::store_async(std::function<void()> land) { async_.push_back(std::move(land)); }

void Memory::land(Sender& sender, std::size_t index, unsigned words) {
    const Sender::Store store = sender.stores[index];
    const unsigned value[4] = {store.value.x, store.value.y, store.value.z, store.value.w};
    for (std::size_t word = 0; word < 4; ++word)
        if (store.words & words & 1u << word)
            std::memcpy(store.slot + 4 * word, &value[word], std::min<std::size_t>(4, store.bytes - 4 * word));
    sender.stores[index].words &= ~words;
    if (sender.stores[index].words == 0)
        sender.stores.erase(sender.stores.begin() + static_cast<std::ptrdiff_t>(index));
    landed_(store.slot);
}

void Memory::land_all(Sender& sender) {
    while (!sender.stores.empty()) land(sender, 0, kAllWords);
}

void Memory::land_any(Random& random) {
    std::size_t pick = random() % size();
    if (pick < async_.size()) {
        std::swap(async_[pick], async_.back());
        const std::function<void()> land = std::move(async_.back());
        async_.pop_back();
        land();
        return;
    }
    pick -= async_.size();
    const std::shared_ptr<Sender> sender = senders_[pick];
    if (!sender->stores.empty()) {
        std::size_t index = random() % sender->stores.size();
        for (std::size_t older = 0; older < index; ++older)
            if (sender->stores[older].slot == sender->stores[index].slot) index = older;
        land(*sender, index, random() % 2 ? kAllWords : static_cast<unsigned>(random()) & kAllWords);
    }
    if (sender->stores.empty()) {
        sender->listed = false;
        std::swap(senders_[pick], senders_.back());
        senders_.pop_back();
    }
}

void Memory::land_within(const std::byte* begin, std::size_t bytes) {
    for (const auto& sender : senders_)
        for (std::size_t i = 0; i < sender->stores.size();)
            if (sender->stores[i].slot >= begin && sender->stores[i].slot < begin + bytes)
                land(*sender, i, kAllWords);
            else
                ++i;
}

} // namespace crossover::emulation
