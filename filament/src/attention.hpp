// Attention (Vaswani et al. 2017) with heads that share keys (Ainslie et al. 2023) and rotary positions (Su et al.
// 2021).
#pragma once

#include "kv_cache.hpp"
#include "layer.hpp"

namespace filament {

class Attention : public Mixer {
  public:
    size_t layer = 0;  // whose state is read
    size_t heads = 0, kv_heads = 0, head_width = 0;
    size_t window = 0;  // positions that are seen, the token's own among them; 0: all
    size_t rope = 0;    // which of the model's
    float scale = 0;    // of the scores
    bool biased = false;
    Norm q_norm, k_norm;  // of each head; may be absent
    Norm out_norm;        // of what all heads give, before `output`; may be absent
    Linear q, k, v, output;

    void run(const Step& step, const Norm& norm, Output out) const override;
    std::vector<Linear*> linears() override { return {&q, &k, &v, &output}; }
    std::vector<size_t> buffers() const override;
    size_t state_bytes(size_t capacity) const override { return kv_heads * HeadCache::bytes(head_width, capacity); }
    std::unique_ptr<MixerState> make_state(size_t capacity, uint8_t* place) const override;
    Cost cost(size_t context) const override;
    void reserve(Scratch& scratch, size_t longest) const override;

  private:
    size_t group() const { return heads / kv_heads; }  // heads that share their keys
    // The first position that is seen from `position`, and the first of its block of values.
    size_t first_seen(size_t position) const { return window != 0 && position >= window ? position + 1 - window : 0; }
    HeadCache& cache(const Step& step, size_t row, size_t kv_head) const;
    void store_keys(const Step& step, size_t row, size_t kv_head) const;
    void attend(const Step& step, size_t row, size_t first, size_t last) const;
    void apply_rope(const Step& step, const float* from, float* out, size_t row, const Norm& norm) const;
};

// The "linear attention" of DeciLM (Bercovich et al. 2024): one matrix in the place of attention, of each position
// alone.
class LinearMixer : public Mixer {
  public:
    Linear output;

    void run(const Step& step, const Norm& norm, Output out) const override;
    std::vector<Linear*> linears() override { return {&output}; }
};

}  // namespace filament
