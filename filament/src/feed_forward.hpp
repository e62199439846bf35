// Gated feed-forward networks (Shazeer 2020): down(activation(gate(x)) * up(x)).
#pragma once

#include "layer.hpp"

namespace filament {

class GatedFeedForward : public Branch {
  public:
    Linear gate, up, down;
    Gate activation = nullptr;  // one of the kernels
    Norm down_norm;             // before `down`; may be absent

    void run(const Step& step, const Norm& norm, Output out) const override;
    std::vector<Linear*> linears() override { return {&gate, &up, &down}; }
    std::vector<size_t> buffers() const override { return {up.matrix.rows, up.matrix.rows}; }
};

}  // namespace filament
