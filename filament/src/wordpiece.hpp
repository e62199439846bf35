// BERT's WordPiece tokenizer (Devlin et al. 2019), as docs/format.md describes it: words in lower case without accents,
// cut into the longest pieces that the vocabulary has.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "gguf.hpp"

namespace filament {

class WordPiece {
  public:
    // positions: the most tokens of a text. Throws Error for a vocabulary that is damaged or of another kind.
    WordPiece(const File& file, size_t positions);

    // Numbers of the tokens of a text, [CLS] and [SEP] among them; what is too long loses its end.
    std::vector<int32_t> tokens(std::string_view text) const;
    size_t size() const { return pieces_.size(); }

  private:
    // Pieces by their text, and how many characters the longest has.
    struct Pieces {
        std::unordered_map<std::string_view, int32_t> numbers;
        size_t longest = 0;
        void add(std::string_view text, int32_t number);
    };
    struct Word {
        std::string text;
        std::vector<size_t> ends;  // of each character
        void add(char32_t point);
        void clear() { text.clear(), ends.clear(); }
    };
    int32_t special(const File& file, const char* role) const;
    void cut(const Word& word, std::vector<int32_t>& tokens) const;

    size_t positions_;
    std::vector<std::string> pieces_;
    Pieces beginning_, going_on_;  // the pieces that may begin a word, and those that may follow
    int32_t cls_, sep_, unknown_;
};

}  // namespace filament
