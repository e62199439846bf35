#include "sampler.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "error.hpp"

namespace filament {

int32_t likeliest(std::span<const float> logits) {
    std::array<float, 16> most;  // of every 16th: the compiler makes vectors of them
    most.fill(-std::numeric_limits<float>::infinity());
    size_t i = 0;
    for (; i + most.size() <= logits.size(); i += most.size()) {
        for (size_t j = 0; j < most.size(); ++j) most[j] = logits[i + j] > most[j] ? logits[i + j] : most[j];
    }
    float top = *std::max_element(most.begin(), most.end());
    for (; i < logits.size(); ++i) top = std::max(top, logits[i]);
    const auto best = static_cast<size_t>(std::find(logits.begin(), logits.end(), top) - logits.begin());
    if (best == logits.size() || !std::isfinite(top)) throw Error(kDamaged);
    return static_cast<int32_t>(best);
}

void log_softmax(std::span<float> logits) {
    const float most = logits[static_cast<size_t>(likeliest(logits))];
    double total = 0;
    for (const float x : logits) total += std::exp(static_cast<double>(x - most));
    const auto shift = static_cast<float>(most + std::log(total));
    if (!std::isfinite(shift)) throw Error(kDamaged);  // a logit that is no number, other than the greatest
    for (float& x : logits) x -= shift;
}

Sampler::Sampler(const Sampling& sampling) : sampling_(sampling), random_(sampling.seed) {
    if (std::isnan(sampling.temperature) || std::isnan(sampling.top_p) || !(sampling.min_p <= 1)) {
        throw Error("cannot sample with temperature " + std::to_string(sampling.temperature) + ", top_p " +
                    std::to_string(sampling.top_p) + ", min_p " + std::to_string(sampling.min_p));
    }
}

int32_t Sampler::sample(std::span<const float> logits) {
    const int32_t best = likeliest(logits);
    if (sampling_.temperature <= 0) return best;
    const float most = logits[static_cast<size_t>(best)];
    likely_.clear();
    for (size_t i = 0; i < logits.size(); ++i) {
        const double weight = std::exp(static_cast<double>(logits[i] - most) / sampling_.temperature);
        if (weight > 1e-9 && weight >= sampling_.min_p)
            likely_.emplace_back(static_cast<float>(weight), static_cast<int32_t>(i));
    }
    std::sort(likely_.begin(), likely_.end(), [](const auto& a, const auto& b) {
        return a.first != b.first ? a.first > b.first : a.second < b.second;
    });
    double total = 0;
    for (const auto& [weight, _] : likely_) total += weight;
    double kept = 0;
    size_t count = 0;
    while (count < likely_.size() && (count == 0 || kept < sampling_.top_p * total)) kept += likely_[count++].first;
    double left = kept * static_cast<double>(random_() >> 11) * 0x1p-53;
    for (size_t i = 0; i < count; ++i) {
        if ((left -= likely_[i].first) < 0) return likely_[i].second;
    }
    return likely_[count - 1].second;
}

}  // namespace filament
