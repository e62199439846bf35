// Classifiers of the architecture `bert`: WordPiece, an encoder and its head. Layout: docs/format.md.
#pragma once

#include "classifier.hpp"
#include "encoder.hpp"
#include "wordpiece.hpp"

namespace filament {

class Bert : public Classifier {
  public:
    static constexpr const char* kArchitecture = "bert";

    Bert(const std::shared_ptr<const File>& file, const Means& means);
    std::vector<std::string> kinds() const override { return {kArchitecture}; }
    const WordPiece& words() const { return words_; }

  private:
    void choose(std::span<const std::string_view> texts, std::span<Choice> choices) override;
    void choose_some(std::span<Choice> choices);
    Choice likeliest(const float* scores) const;

    std::shared_ptr<const File> file_;
    Encoder encoder_;
    WordPiece words_;
    double temperature_;
    std::vector<Encoder::Tokens> tokens_;  // of the texts of a step
};

}  // namespace filament
