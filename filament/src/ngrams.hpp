// The classifier `lightbulb-ngrams` of docs/format.md: rows of small integers for the n-grams of a text, added up.
#pragma once

#include <memory>
#include <vector>

#include "classifier.hpp"
#include "likelihood.hpp"
#include "memory.hpp"
#include "text_ngrams.hpp"

namespace filament {

class Ngrams final : public Classifier {
  public:
    static constexpr const char* kArchitecture = "lightbulb-ngrams";

    // Throws Error for a file that is damaged or not understood.
    Ngrams(const std::shared_ptr<const File>& file, const Means& means);
    std::vector<std::string> kinds() const override { return {kArchitecture}; }

  private:
    struct Row {
        int16_t idf, scale;
    };
    // What one thread works with, kept from text to text.
    struct Work {
        TextNgrams text;
        std::vector<uint16_t> times;        // of each row: how often it came
        std::vector<uint32_t> found;        // rows that came
        std::vector<const int8_t*> rows;    // of the weights
        std::vector<int16_t> by;            // times which they are added up
        std::vector<int64_t> sums, scores;  // in whole tiles
        std::vector<int16_t> narrowed;      // sums, shifted to 16 bits
    };

    void choose(std::span<const std::string_view> texts, std::span<Choice> choices) override;
    Choice answer(Work& work, std::string_view text) const;
    void find_rows(Work& work, std::string_view text) const;
    int64_t add_rows(Work& work) const;  // the root
    void apply_head(Work& work) const;

    void read_keys(const File& file);
    void read_rows(const File& file);
    void read_answers(const File& file);
    void check_bounds() const;

    Means means_;
    Lengths words_, characters_;
    Likelihood likelihood_{1};
    std::vector<uint32_t> hashes_;  // ascending
    std::vector<uint32_t> starts_;  // where hashes with these first bits begin
    uint32_t shift_ = 0;            // to these bits
    std::vector<Row> rows_;
    std::vector<int16_t> counts_;
    size_t width_ = 0, stride_ = 0;  // columns, and those in whole tiles
    Buffer weights_;                 // [row][stride]
    std::vector<int32_t> bias_;
    std::vector<int16_t> head_;  // in tiles, as Kernels::multiply_words reads it; empty where there is none
    std::vector<Work> work_;     // of each thread
};

}  // namespace filament
