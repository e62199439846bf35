// The mixer of models without matrix products on what they remember: the MLGRU (Zhu et al. 2024, arXiv:2406.02528).
//
//   f = lower + (1 - lower) * sigmoid(forget(x)),   c = silu(candidate(x)),   g = sigmoid(gate(x))
//   h = f * h + (1 - f) * c,                        out = output(norm(g * h))
#pragma once

#include <map>
#include <vector>

#include "layer.hpp"

namespace filament {

// h of one text, and what it was where that was kept.
class MlgruState : public MixerState {
  public:
    MlgruState(size_t width, uint8_t* place) : width_(width), h_(reinterpret_cast<float*>(place)) {}

    float* h() { return h_; }
    void copy(const MixerState& from, size_t positions) override;
    void keep(size_t positions) override;
    size_t reach(size_t positions) const override;
    bool reaches_all() const override { return false; }
    void cut(size_t positions) override;

  private:
    size_t width_;  // whole tiles
    float* h_;
    std::map<size_t, std::vector<float>> kept_;  // by the positions that it knew then
};

class Mlgru : public Mixer {
  public:
    size_t layer = 0;          // whose state it is
    std::vector<float> lower;  // bound of the forget gate, of each column; whole tiles
    Norm out_norm;             // may be absent
    Linear forget, candidate, gate, output;

    void run(const Step& step, const Norm& norm, Output out) const override;
    std::vector<Linear*> linears() override { return {&forget, &candidate, &gate, &output}; }
    std::vector<size_t> buffers() const override { return {width(), width(), width()}; }
    size_t state_bytes(size_t) const override { return width() * sizeof(float); }
    std::unique_ptr<MixerState> make_state(size_t capacity, uint8_t* place) const override;
    Cost cost(size_t context) const override;

  private:
    size_t width() const { return forget.width(); }
    void remember(const Step& step, size_t begin, size_t end) const;
};

}  // namespace filament
