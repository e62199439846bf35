// What a model remembers of one text: its tokens and the state of each layer's mixer.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "layer.hpp"
#include "memory.hpp"

namespace filament {

class Model;

class Sequence {
  public:
    // Throws Error for more tokens than any text may have.
    Sequence(const Model& model, size_t capacity);

    // Begins as another text does. Both are of one model; there is room for `n` tokens.
    void copy(const Sequence& from, size_t n);
    MixerState& state(size_t layer) { return *states_[layer]; }
    size_t capacity() const { return capacity_; }
    size_t length() const { return tokens.size(); }

    std::vector<int32_t> tokens;  // read so far; cutting it short forgets the rest

  private:
    size_t capacity_;
    Mapped memory_;                                    // so that room for tokens that never come takes nothing
    std::vector<std::unique_ptr<MixerState>> states_;  // of each layer; none where its mixer has none
};

}  // namespace filament
