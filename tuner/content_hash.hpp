#pragma once

#include <cstdint>
#include <string_view>

namespace crossover {

/// FNV-1a, 64 bits: the same on every machine and in every version. Tells contents apart; no protection from anybody.
constexpr std::uint64_t content_hash(std::string_view content) {
    std::uint64_t hash = 0xcbf29ce484222325u;
    for (const char c : content) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    return hash;
}

} // namespace crossover
