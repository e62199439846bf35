// What a model remembers of one text: keys and values of every layer, as int8. Keys have a scale for each block of a head and
// position, values one for each head and position.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "model.hpp"

namespace filament {

constexpr size_t kValueBlock = 32;  // positions that share a scale of the attention weights
// Columns of a head that share a scale in keys and queries: few, because some columns of keys are much larger than others.
constexpr size_t key_block(size_t head) { return head % 32 == 0 ? 32 : 16; }

// One head of keys and values. Keys are a matrix whose rows are positions, values one whose columns are.
class HeadCache {
  public:
    // `place`: zeros, `bytes` of them, on a 64-byte boundary.
    HeadCache(size_t head, size_t capacity, bool biased, uint8_t* place);
    static size_t bytes(size_t head, size_t capacity);

    // Keys and values are whole tiles of floats, zeros beyond the head.
    void store(const Kernels& kernels, size_t position, const float* key, const float* value);
    // Asks for the first keys and values, of as many positions, while there is other work.
    void fetch(size_t positions) const;
    // Takes over the first positions of another.
    void copy(const HeadCache& from, size_t positions);

    Matrix keys(size_t positions) const;
    // Of as many positions as whole blocks hold.
    Matrix values(size_t positions) const;
    const float* value_scales() const { return value_scales_; }

  private:
    size_t head_, capacity_, blocks_;  // blocks: of a key
    uint8_t bias_;
    uint8_t *keys_, *values_;
    float* value_scales_;   // [position]
    uint16_t* key_scales_;  // [tile of positions][block][position]
};

class Sequence {
  public:
    Sequence(const Model& model, size_t capacity);

    // Begins as another text does. Both are of one model; there is room for `n` tokens.
    void copy(const Sequence& from, size_t n);
    HeadCache& head(size_t layer, size_t kv_head) { return layers_[layer][kv_head]; }
    size_t capacity() const { return capacity_; }
    size_t length() const { return tokens.size(); }

    std::vector<int32_t> tokens;  // read so far; cutting it short forgets the rest

  private:
    size_t capacity_;
    Mapped memory_;  // so that room for tokens that never come takes nothing
    std::vector<std::vector<HeadCache>> layers_;
};

}  // namespace filament
