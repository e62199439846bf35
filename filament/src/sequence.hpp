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

    // Begins as another text does, whose reach() gave `n`. Both are of one model; there is room for `n` tokens.
    void copy(const Sequence& from, size_t n);
    // The text can be cut back to what it is now.
    void keep();
    // The most tokens, up to `n`, to which it can be cut back, or that another may copy.
    size_t reach(size_t n) const;
    // Whether that is any number of them.
    bool reaches_all() const;
    // Forgets all tokens but the first `n`, which reach() gave.
    void cut(size_t n);
    MixerState& state(size_t layer) { return *states_[layer]; }
    size_t capacity() const { return capacity_; }
    size_t length() const { return tokens.size(); }

    std::vector<int32_t> tokens;  // read so far

  private:
    size_t capacity_;
    Mapped memory_;                                    // so that room for tokens that never come takes nothing
    std::vector<std::unique_ptr<MixerState>> states_;  // of each layer; none where its mixer has none
};

}  // namespace filament
