// From logits to a token.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

namespace filament {

inline constexpr const char* kDamaged = "the model computes no numbers: its weights are damaged";

// temperature 0 is greedy. Then, of the tokens in falling order of probability, those stay that are at least min_p
// times as likely as the first, and of these the fewest whose probabilities reach top_p together.
struct Sampling {
    double temperature = 0, top_p = 1, min_p = 0;
    uint64_t seed = 0;
};

class Sampler {
  public:
    // Throws Error for what no probability can be cut by.
    explicit Sampler(const Sampling& sampling);

    // Throws Error when the logits are no numbers: the weights are damaged.
    int32_t sample(std::span<const float> logits);

  private:
    Sampling sampling_;
    std::mt19937_64 random_;
    std::vector<std::pair<float, int32_t>> likely_;
};

int32_t likeliest(std::span<const float> logits);
// Natural logarithms of probabilities, in place.
void log_softmax(std::span<float> logits);

}  // namespace filament
