// A cheap classifier that hands on what it is not sure of: two or three files in one (docs/format.md).
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "classifier.hpp"

namespace filament {

class Cascade final : public Classifier {
  public:
    static constexpr const char* kArchitecture = "lightbulb-cascade";

    // Throws Error for a file that is damaged or not understood.
    Cascade(const std::shared_ptr<const File>& file, const Means& means);
    std::vector<std::string> kinds() const override;

  private:
    void choose(std::span<const std::string_view> texts, std::span<Choice> choices) override;

    std::vector<std::unique_ptr<Classifier>> stages_;
    std::vector<float> thresholds_;  // one less than there are stages
    // Of what one stage hands to the next: its texts, and their places among all.
    std::vector<std::string_view> handed_;
    std::vector<size_t> places_;
    std::vector<Choice> chosen_;
};

}  // namespace filament
