#include "text_ngrams.hpp"

#include "characters.hpp"

namespace filament {

void TextNgrams::reserve(size_t bytes) {
    points_.reserve(bytes + 2);
    words_.reserve(bytes / 2 + 1);
    tokens_.reserve(bytes / 2 + 1);
}

void TextNgrams::read(std::string_view text) {
    points_.clear(), words_.clear(), tokens_.clear();
    points_.push_back(kSpace);
    size_t token = 0, word = 0;  // where this one began: at the blank before it, at its first letter
    const auto end_word = [&] {
        if (word != 0) words_.push_back({word, points_.size()});
        word = 0;
    };
    const auto end_token = [&] {
        if (points_.size() == token + 1) return;  // a blank after a blank
        points_.push_back(kSpace);
        tokens_.push_back({token, points_.size()});
        token = points_.size() - 1;
    };
    for (size_t at = 0; at < text.size();) {
        const Character next = character(next_point(text, at));
        if (!next.letter) end_word();
        else if (word == 0) word = points_.size();
        if (next.blank) end_token();
        else points_.push_back(next.point);
    }
    end_word();
    end_token();
}

}  // namespace filament
