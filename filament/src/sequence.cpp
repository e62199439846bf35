#include "sequence.hpp"

#include <algorithm>

#include "model.hpp"

namespace filament {

constexpr size_t kMostPositions = size_t{1} << 26;

Sequence::Sequence(const Model& model, size_t capacity) : capacity_(capacity) {
    if (capacity == 0 || capacity > kMostPositions)
        throw Error("there is no room for a text of " + std::to_string(capacity) + " tokens");
    size_t bytes = 0;
    for (const Layer& layer : model.layers) {
        if (layer.mixer.branch) bytes += layer.mixer.branch->state_bytes(capacity);
    }
    memory_ = Mapped(bytes);
    uint8_t* place = memory_.data();
    for (const Layer& layer : model.layers) {
        const Mixer* mixer = layer.mixer.branch.get();
        states_.push_back(mixer ? mixer->make_state(capacity, place) : nullptr);
        if (mixer) place += mixer->state_bytes(capacity);
    }
}

void Sequence::copy(const Sequence& from, size_t n) {
    for (size_t i = 0; i < states_.size(); ++i) {
        if (states_[i]) states_[i]->copy(*from.states_[i], n);
    }
    tokens.assign(from.tokens.begin(), from.tokens.begin() + static_cast<std::ptrdiff_t>(n));
}

void Sequence::keep() {
    for (const auto& state : states_) {
        if (state) state->keep(length());
    }
}

size_t Sequence::reach(size_t n) const {
    for (const auto& state : states_) {
        if (state) n = std::min(n, state->reach(n));
    }
    return n;
}

bool Sequence::reaches_all() const {
    return std::all_of(states_.begin(), states_.end(), [](const auto& s) { return !s || s->reaches_all(); });
}

void Sequence::cut(size_t n) {
    for (const auto& state : states_) {
        if (state) state->cut(n);
    }
    tokens.resize(n);
}

}  // namespace filament
