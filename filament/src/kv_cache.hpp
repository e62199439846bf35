// Keys and values of a text, as int8. Keys have a scale for each block of a head and position, values one for each head
// and position.
#pragma once

#include <cstdint>
#include <vector>

#include "layer.hpp"

namespace filament {

constexpr size_t kMostHeadWidth = 1024;  // of a key or value; what lies on the stack is made for it
constexpr size_t kValueBlock = 32;       // positions that share a scale of the attention weights
// Columns of a head that share a scale in keys and queries: few, because some columns of keys are much larger than
// others.
constexpr size_t key_block(size_t head) { return head % 32 == 0 ? 32 : 16; }

// One head of keys and values. Keys are a matrix whose rows are positions, values one whose columns are.
class HeadCache {
  public:
    // `place`: zeros, `bytes` of them, on a 64-byte boundary.
    HeadCache(size_t head, size_t capacity, bool biased, uint8_t* place);
    static size_t bytes(size_t head, size_t capacity);

    // Keys and values are whole tiles of floats, zeros beyond the head.
    void store(const Kernels& kernels, size_t position, const float* key, const float* value);
    // Asks for the first keys and values of [begin, end), while there is other work.
    void fetch(size_t begin, size_t end) const;
    // Takes over the first positions of another.
    void copy(const HeadCache& from, size_t positions);

    // Of positions [begin, end); begin is a multiple of kValueBlock. Values are of as many positions as whole blocks
    // hold.
    Matrix keys(size_t begin, size_t end) const;
    Matrix values(size_t begin, size_t end) const;
    const float* value_scales() const { return value_scales_; }

  private:
    size_t head_, capacity_, blocks_;  // blocks: of a key
    uint8_t bias_;
    uint8_t *keys_, *values_;
    float* value_scales_;   // [position]
    uint16_t* key_scales_;  // [tile of positions][block][position]
};

struct KvCache : MixerState {
    KvCache(size_t kv_heads, size_t head, size_t capacity, bool biased, uint8_t* place);
    void copy(const MixerState& from, size_t positions) override;

    std::vector<HeadCache> heads;
};

}  // namespace filament
