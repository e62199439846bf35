// What a layer is made of. It adds two branches to the residual, one after the other, each behind norms of its own:
//
//   x = x + post_norm(mixer(norm(x)))          sees other positions: attention, or what stands in for it
//   x = x + post_norm(feed_forward(norm(x)))   sees one position
//
// Another mixer or feed-forward is a class of its own behind these interfaces, and a line in loader.cpp.
#pragma once

#include <memory>
#include <vector>

#include "kernels.hpp"

namespace filament {

class Step;
struct Scratch;

// A linear map with an optional bias; rows is padded to whole tiles in every output.
struct Linear {
    Matrix matrix;
    std::vector<float> bias;
    size_t packing = 0;  // which of the matrices to pack, while loading

    size_t width() const { return matrix.tiles() * kTile; }
};

// RMSNorm (Zhang & Sennrich 2019) of n numbers; without weights it is none.
struct Norm {
    std::vector<float> weight;  // whole tiles
    float epsilon = 0;

    explicit operator bool() const { return !weight.empty(); }
    void apply(const Kernels& kernels, const float* x, size_t n, float* out) const {
        kernels.rms_norm(x, weight.data(), n, epsilon, out);
    }
};

// What writing a token reads and multiplies.
struct Cost {
    size_t bytes = 0, operations = 0;
};

// Where the values of a branch go, [row][width of the model in whole tiles]: on top of what is there, or in its place.
struct Output {
    float* to;
    bool add;
};

class Branch {
  public:
    virtual ~Branch() = default;
    // Called by every thread of a step; ends behind a barrier. Reads norm(residual) of `step.tokens` rows, writes `out`
    // of the first `step.outputs`, which are fewer only where a mixer has a state. Must not throw.
    virtual void run(const Step& step, const Norm& norm, Output out) const = 0;
    // Its linear maps: what is packed, and what a token reads.
    virtual std::vector<Linear*> linears() = 0;
    // Columns of each of the buffers that all branches share, as far as this one uses them.
    virtual std::vector<size_t> buffers() const { return {}; }
};

// What a mixer remembers of one text. Some states can be cut back to any position; others change as a whole with every
// token, and can be cut back only to where they were kept.
class MixerState {
  public:
    virtual ~MixerState() = default;
    // Takes over the first positions of a text of the same model: as many as its reach() gave.
    virtual void copy(const MixerState& from, size_t positions) = 0;
    // Keeps what the state is now, after `positions` tokens.
    virtual void keep(size_t) {}
    // The most positions, up to so many, to which it can be cut back.
    virtual size_t reach(size_t positions) const { return positions; }
    // Whether reach() gives any position.
    virtual bool reaches_all() const { return true; }
    // Forgets all beyond these, which reach() gave.
    virtual void cut(size_t) {}
};

// A mixer without a state sees one position at a time, or nothing of the others.
class Mixer : public Branch {
  public:
    // Bytes that a text of so many positions needs, and the state that lies there: zeros, on a 64-byte boundary.
    virtual size_t state_bytes(size_t) const { return 0; }
    virtual std::unique_ptr<MixerState> make_state(size_t, uint8_t*) const { return nullptr; }
    // What it takes beside its linear maps, after `context` other tokens.
    virtual Cost cost(size_t) const { return {}; }
    // Makes room in a thread's scratch memory for texts of so many positions.
    virtual void reserve(Scratch&, size_t) const {}
};

template <class Kind> struct Residual {
    Norm norm, post_norm;          // the second may be absent
    std::unique_ptr<Kind> branch;  // absent in a layer that leaves it out
};

struct Layer {
    Residual<Mixer> mixer;
    Residual<Branch> feed_forward;
};

}  // namespace filament
