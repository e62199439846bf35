// A text being written: what Python holds of the native part, beside the model.
#pragma once

#include <memory>
#include <vector>

#include "engine.hpp"
#include "sampler.hpp"

namespace filament {

// A model ready to work. Calls from several threads take turns, step by step.
class Runtime {
  public:
    Runtime(const std::string& path, size_t threads, const Kernels& kernels) : model(path, threads, kernels), engine(model) {}

    // Reads `tokens` after what the sequence holds. Logits after the last one, or (all) after each: [n][vocabulary].
    std::vector<float> read(Sequence& sequence, std::span<const int32_t> tokens, bool all);
    // The sums of log-probabilities of each continuation of `prompt`; the prompt is read once.
    std::vector<double> score(std::span<const int32_t> prompt, const std::vector<std::vector<int32_t>>& continuations);

    const Model model;
    Engine engine;
};

class Stream {
  public:
    Stream(std::shared_ptr<Runtime> runtime, const std::vector<int32_t>& prompt, size_t room, const Sampling& sampling, std::vector<int32_t> stop);

    // At most n further tokens, a stop token being the last. Nothing when the end was reached.
    std::vector<int32_t> next(size_t n);

  private:
    int32_t take();

    std::shared_ptr<Runtime> runtime_;
    Sequence sequence_;
    Sampler sampler_;
    std::vector<int32_t> stop_;
    std::vector<int32_t> unread_;  // the prompt, then the token written last
    size_t left_;                  // tokens that may still be written
};

}  // namespace filament
