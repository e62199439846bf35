// Softmax in whole numbers, as docs/format.md has it: the same probabilities wherever a file is read.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <span>

namespace filament {

class Likelihood {
  public:
    static constexpr uint64_t kOne = 1u << 24;  // of the highest score

    // logit = score / (root x unit), of a unit above 0.
    explicit Likelihood(double unit) {
        int exponent = 0;
        const double fraction = std::frexp(unit * 0.6931471805599453, &exponent);
        octave_ = static_cast<uint64_t>(std::nearbyint(fraction * 0x1p16));
        shift_ = std::clamp(16 - exponent, -63, 63);
        for (size_t i = 0; i < table_.size(); ++i)
            table_[i] = static_cast<uint64_t>(std::lround(std::exp2(24 - static_cast<double>(i) / kPlaces)));
    }

    // The likelihoods of all scores, added up. `best`: the highest of them; `root`: below 2^29.
    uint64_t total(std::span<const int64_t> scores, int64_t best, int64_t root) const {
        const uint64_t span = static_cast<uint64_t>(root) * octave_;
        uint64_t sum = 0;
        for (const int64_t score : scores) sum += of(static_cast<uint64_t>(best) - static_cast<uint64_t>(score), span);
        return sum;
    }

  private:
    static constexpr uint64_t kPlaces = 32, kParts = 256, kFar = 32;

    uint64_t of(uint64_t gap, uint64_t span) const {
        const uint64_t end = span * kFar;
        if (shift_ >= 0 ? gap > (end - 1) >> shift_ : gap >> -shift_ >= end) return 0;
        const uint64_t steps = shift_ >= 0 ? gap << shift_ : gap >> -shift_;
        const uint64_t parts = steps * (kPlaces * kParts) / span;
        const uint64_t place = parts / kParts % kPlaces;
        const uint64_t between = (table_[place] - table_[place + 1]) * (parts % kParts) >> 8;
        return (table_[place] - between) >> parts / (kPlaces * kParts);
    }

    uint64_t octave_ = 0;
    int shift_ = 0;
    std::array<uint64_t, kPlaces + 1> table_{};
};

}  // namespace filament
