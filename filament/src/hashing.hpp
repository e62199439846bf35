// The 32-bit hashes of docs/format.md.
#pragma once

#include <cstdint>

namespace filament {

constexpr uint32_t kBasis = 2166136261u, kPrime = 16777619u;  // FNV-1a (Fowler, Noll, Vo)

constexpr uint32_t step(uint32_t hash, uint32_t part) { return (hash ^ part) * kPrime; }

// The last step of a hash (MurmurHash3's finalizer, Appleby).
constexpr uint32_t mixed(uint32_t h) {
    h ^= h >> 16, h *= 0x85ebca6bu;
    h ^= h >> 13, h *= 0xc2b2ae35u;
    return h ^ h >> 16;
}

}  // namespace filament
