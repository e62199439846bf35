#include "bert.hpp"

#include <algorithm>
#include <cmath>

namespace filament {

Bert::Bert(const std::shared_ptr<const File>& file, const Means& means)
    : Classifier(*file),
      file_(file),
      encoder_(*file, means, answers().size()),
      words_(*file, encoder_.model().positions),
      temperature_(file->number("lightbulb.temperature", 1)) {
    if (words_.size() != encoder_.model().vocabulary)
        throw Error("token_embd.weight does not fit the " + std::to_string(words_.size()) + " tokens");
    if (!(temperature_ > 0) || !std::isfinite(temperature_))
        throw Error("lightbulb.temperature cannot be " + std::to_string(temperature_));
    file->forget();
}

// Texts go through the model together as long as they are kMostRows tokens; a longer one goes alone.
void Bert::choose(std::span<const std::string_view> texts, std::span<Choice> choices) {
    size_t room = kMostRows, done = 0;
    tokens_.clear();
    for (size_t i = 0; i < texts.size(); ++i) {
        Encoder::Tokens tokens = words_.tokens(texts[i]);
        if (tokens.size() > room && !tokens_.empty()) {
            choose_some(choices.subspan(done, tokens_.size()));
            room = kMostRows, done = i;
            tokens_.clear();
        }
        room -= std::min(room, tokens.size());
        tokens_.push_back(std::move(tokens));
    }
    choose_some(choices.subspan(done));
}

void Bert::choose_some(std::span<Choice> choices) {
    if (choices.empty()) return;
    const float* scores = encoder_.scores(tokens_);
    for (size_t i = 0; i < choices.size(); ++i) choices[i] = likeliest(scores + i * encoder_.stride());
}

// softmax(scores / temperature), of the highest score.
Choice Bert::likeliest(const float* scores) const {
    const std::span all(scores, answers().size());
    if (!std::all_of(all.begin(), all.end(), [](float s) { return std::isfinite(s); }))
        throw Error("the model computes what is no number: its weights are damaged");
    const auto best = std::max_element(all.begin(), all.end());
    double total = 0;
    for (const float score : all) total += std::exp((double(score) - double(*best)) / temperature_);
    return {static_cast<uint32_t>(best - all.begin()), static_cast<float>(1 / total), 0};
}

}  // namespace filament
