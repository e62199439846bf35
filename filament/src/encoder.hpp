// A BERT encoder with a label head (Devlin et al. 2019): tokens of some texts in, the scores of their answers out.
//
//   x = norm(token + position)          of each token
//   x = norm(x + attention(x))          over the whole text: no token waits for those before
//   x = norm(x + down(gelu(up(x))))     layer by layer
//   scores = head(the mean of x, or x of the first token)
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "classifier.hpp"
#include "encoder_model.hpp"
#include "step.hpp"

namespace filament {

class Encoder {
  public:
    using Tokens = std::vector<int32_t>;

    Encoder(const File& file, const Means& means, size_t answers);

    const EncoderModel& model() const { return model_; }
    // The scores of the answers, [text][answer], rows `stride()` apart: the caller's until the next step. Several texts
    // have at most kMostRows tokens together.
    const float* scores(std::span<const Tokens> texts);
    size_t stride() const { return model_.head.width(); }

  private:
    // One text's rows in a step.
    struct Rows {
        const Tokens* tokens;
        size_t first, count;
    };
    // One thread's memory: keys, values, scores and what is attended of one head of a text.
    struct Scratch {
        std::vector<float> keys, values, scores, attended;
    };

    void make_room();
    void reserve(size_t longest);

    void run(const Worker& worker);
    void embed(size_t t, const Rows& rows, size_t position);
    void attend(const Rows& rows, size_t head, Scratch& scratch);
    void mix(const Worker& worker, const EncoderLayer& layer);
    void feed_forward(const Worker& worker, const EncoderLayer& layer, const EncoderLayer& next);
    void pool(const Rows& rows, float* out) const;
    // Each of this worker's rows: make(t).
    template <class Make> void each_row(const Worker& worker, Make make) {
        const auto [begin, end] = worker.share(tokens_);
        for (size_t t = begin; t < end; ++t) make(t);
        worker.barrier();
    }
    // Norms row t and makes it the input of `readers`.
    void norm(size_t t, const LayerNorm& norm, Readers readers);
    float* row(size_t t) const { return &residual_[t * round_up(model_.width)]; }

    const Kernels& kernels_;
    std::shared_ptr<ThreadPool> pool_;
    EncoderModel model_;

    size_t tokens_ = 0;  // of the step
    std::vector<Rows> rows_;
    Array<float> residual_, q_, k_, v_, attended_, raised_;  // [token][columns in whole tiles]
    std::vector<float> scores_;
    Input input_, pooled_;
    std::vector<Scratch> scratch_;  // of each thread
};

}  // namespace filament
