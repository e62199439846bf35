// What a model remembers of one text: keys and values of every layer, as int8 with a scale for each head and position.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <vector>

#include "model.hpp"

namespace filament {

constexpr size_t kValueBlock = 32;  // positions that share a scale of the attention weights

// One head of keys and values. Keys are a matrix whose rows are positions, values one whose columns are.
class HeadCache {
  public:
    HeadCache(size_t head, size_t capacity, bool biased);

    // Keys and values are whole tiles of floats, zeros beyond the head.
    void store(const Kernels& kernels, size_t position, const float* key, const float* value);

    // Takes over the first positions of another.
    void copy(const HeadCache& from, size_t positions);

    Matrix keys(size_t positions) const;
    // Of as many positions as whole blocks hold.
    Matrix values(size_t positions) const;
    const float* value_scales() const { return value_scales_.data(); }

  private:
    size_t head_, capacity_;
    uint8_t bias_;
    std::vector<uint16_t> key_scales_;   // [position]
    std::vector<float> value_scales_;    // [position]
    std::vector<uint8_t> keys_, values_;
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
    std::vector<std::vector<HeadCache>> layers_;
};

}  // namespace filament
