// What becomes of each code point in BERT's uncased tokenizer. Not for use by itself: unicode.hpp reads it.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace filament::unicode {

using Text = std::u32string_view;

struct Range {
    char32_t first, last;
};
// Every `step`-th of first..last; the first becomes `to`, the next ones what is as far from it as they are.
struct Run {
    char32_t first, last, step, to;
};

// Sorted, as are the runs, which may interleave.
extern const std::span<const Range> kDropped, kPunctuation, kChinese, kBlanks;
extern const std::span<const Run> kRuns;
extern const std::span<const Text> kOthers;   // a character, then those that become it
extern const std::span<const Text> kSeveral;  // a character, then what it becomes
// What the characters from U+F900 and from U+2F800 on become, in their order.
extern const Text kIdeographs, kMoreIdeographs;

}  // namespace filament::unicode
