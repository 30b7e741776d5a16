#include "tests/emulation/memory.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace crossover::emulation {
namespace {
constexpr unsigned kAllWords = 0xF;
} // namespace

void Fences::add(const std::shared_ptr<const Fenced>& fenced) {
    for (auto& known : of_) {
        if (known->warp != fenced->warp) continue;
        if (known->version < fenced->version) known = fenced;
        return;
    }
    of_.push_back(fenced);
}

void Fences::add(const Fences& others) {
    for (const auto& fenced : others.of_) add(fenced);
}

bool Fences::cover(const Sender& sender, std::uint64_t number) const {
    return std::ranges::any_of(
        of_, [&](const auto& fenced) { return fenced->warp == sender.warp && number < fenced->before[sender.lane]; });
}

Memory::Memory(std::uint64_t seed, std::function<void(const std::byte*)> landed)
    : landed_(std::move(landed)), random_(static_cast<unsigned>(seed * 16807 + 1)) {
    random_.discard(8);
    constexpr std::array<unsigned, 4> one_in{4, 16, 64, 1u << 30};
    lazy_one_in_ = one_in[random_() / 7 % one_in.size()];
}

void Memory::store(const std::shared_ptr<Sender>& sender, std::byte* slot, const void* value, unsigned bytes,
                   Release release) {
    land_acquired(*sender, slot);
    Sender::Store store{.slot = slot, .bytes = bytes, .release = std::move(release)};
    std::memcpy(&store.value, value, bytes);
    store.words = (1u << (bytes + 3) / 4) - 1;
    store.number = sender->issued++;
    store.lazy = random_() / 7 % lazy_one_in_ == 0;
    (store.lazy ? lazy_ : willing_).push_back(sender);
    on_way_.emplace(slot, sender.get());
    sender->stores.push_back(std::move(store));
}

uint4 Memory::load(Sender& sender, const std::byte* slot, unsigned bytes) {
    land_acquired(sender, slot);
    uint4 value{};
    std::memcpy(&value, slot, bytes);
    for (const Sender::Store& store : sender.stores)
        if (store.slot == slot) store.put(&value, kAllWords);
    return value;
}

Release Memory::release_of(const std::byte* slot) const {
    const auto found = release_of_.find(slot);
    return found == release_of_.end() ? Release{} : found->second;
}

void Memory::store_async(std::function<void()> land) { async_.push_back(std::move(land)); }

void Sender::Store::put(void* to, unsigned which) const {
    const unsigned from[4] = {value.x, value.y, value.z, value.w};
    for (std::size_t word = 0; word < 4; ++word) {
        if (!(words & which & 1u << word)) continue;
        std::byte* const at = static_cast<std::byte*>(to) + 4 * word;
        std::memcpy(at, &from[word], std::min<std::size_t>(4, bytes - 4 * word));
    }
}

void Memory::land(Sender& sender, std::size_t index, unsigned words) {
    Sender::Store& store = sender.stores[index];
    std::byte* const slot = store.slot;
    store.put(slot, words);
    if (store.release.fenced || store.release.flagged)
        release_of_[slot] = store.release;
    else
        release_of_.erase(slot);
    store.words &= ~words;
    if (store.words == 0) {
        const auto [first, last] = on_way_.equal_range(slot);
        on_way_.erase(std::find_if(first, last, [&](const auto& entry) { return entry.second == &sender; }));
        sender.stores.erase(sender.stores.begin() + static_cast<std::ptrdiff_t>(index));
    }
    landed_(slot);
}

/// Others' stores to `slot` that come before the sender's next load or store there.
void Memory::land_acquired(const Sender& sender, const std::byte* slot) {
    const auto [first, last] = on_way_.equal_range(slot);
    if (first == last) return;
    std::vector<Sender*> others;
    for (auto at = first; at != last; ++at)
        if (at->second != &sender) others.push_back(at->second);
    for (Sender* const other : others) {
        std::vector<Sender::Store>& stores = other->stores;
        for (std::size_t i = 0; i < stores.size();)
            if (stores[i].slot == slot && sender.acquired.cover(*other, stores[i].number))
                land(*other, i, kAllWords);
            else
                ++i;
    }
}

void Memory::land_all(const Flagged& flagged) {
    for (const auto& [of, end] : flagged)
        if (const auto sender = of.lock())
            while (!sender->stores.empty() && sender->stores[0].number < end) land(*sender, 0, kAllWords);
}

void Memory::land_all(Sender& sender) {
    while (!sender.stores.empty()) land(sender, 0, kAllWords);
}

void Memory::land_any() {
    const auto pick = [this](std::size_t count) { return random_() / 7 % count; };
    const auto take = [&](auto& from) {
        std::swap(from[pick(from.size())], from.back());
        auto taken = std::move(from.back());
        from.pop_back();
        return taken;
    };
    if (!async_.empty() && pick(size()) < async_.size()) {
        take(async_)();
        return;
    }
    while (!willing_.empty() || !lazy_.empty()) {
        const bool lazy = willing_.empty();
        const std::shared_ptr<Sender> sender = take(lazy ? lazy_ : willing_);
        std::vector<std::size_t> choices;
        for (std::size_t i = 0; i < sender->stores.size(); ++i)
            if (sender->stores[i].lazy == lazy) choices.push_back(i);
        if (choices.empty()) continue; // they have landed otherwise
        const std::size_t chosen = choices[pick(choices.size())];
        std::size_t index = chosen;
        for (std::size_t older = 0; older < index; ++older)
            if (sender->stores[older].slot == sender->stores[index].slot) index = older;
        const bool whole = pick(2) == 0;
        if (!whole || index != chosen) (lazy ? lazy_ : willing_).push_back(sender); // it is still to land
        land(*sender, index, whole ? kAllWords : static_cast<unsigned>(random_() / 7) & kAllWords);
        return;
    }
}

void Memory::land_within(Sender& sender, const std::byte* begin, std::size_t bytes) {
    for (std::size_t i = 0; i < sender.stores.size();)
        if (sender.stores[i].slot >= begin && sender.stores[i].slot < begin + bytes)
            land(sender, i, kAllWords);
        else
            ++i;
}

} // namespace crossover::emulation
