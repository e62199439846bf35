// One step of a model: some tokens of some sequences in, logits out.
#pragma once

#include <mutex>
#include <span>
#include <vector>

#include "model.hpp"
#include "sequence.hpp"
#include "step.hpp"
#include "thread_tuner.hpp"

namespace filament {

class Engine {
  public:
    explicit Engine(const Model& model);

    // Reads at most kMostRows rows. Tokens of one sequence follow each other. Logits of the wanted rows, in their
    // order: `logits_stride()` floats each, the caller's until the next step; with `among`, only those of these tokens.
    // Throws Error for a length out of range.
    float* step(std::span<const Row> rows, std::span<const int32_t> among = {});
    size_t logits_stride() const { return model_.logits.width(); }
    std::mutex& mutex() { return mutex_; }

  private:
    void check(std::span<const Row> rows) const;
    void start(std::span<const Row> rows, std::span<const int32_t> among);
    void place(const Row& row, size_t t);
    void know_angles(size_t positions);
    void run(const Worker& worker);
    template <class Kind> void add(const Step& step, const Residual<Kind>& residual) const;

    const Model& model_;
    std::mutex mutex_;
    ThreadTuner tuner_;
    Workspace space_;
    size_t mixing_ = 0;          // layers up to the last whose mixer has a state
    size_t wanted_ = 0;          // rows whose logits are wanted, the first
    std::vector<size_t> tiles_;  // of the head, which are wanted; all, if none is named
    std::vector<float> logits_;
};

}  // namespace filament
