// What BERT's uncased tokenizer makes of a code point (Devlin et al. 2019): lower case without accents, control
// characters dropped, and where words end.
#pragma once

#include <cstddef>
#include <cstdint>

namespace filament {

enum class Part : uint8_t {
    OfWord,  // with its neighbours
    Alone,   // a word by itself: punctuation and Chinese characters
    Blank,
};

// What is left of a code point: no characters, or some.
struct Folded {
    static constexpr size_t kMost = 4;
    Part part = Part::OfWord;
    size_t count = 0;
    char32_t characters[kMost] = {};
};

Folded fold(char32_t point);

}  // namespace filament
