// The n-grams of a text, as hashes (docs/format.md). What takes them is inlined into the loops that make them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "hashing.hpp"

namespace filament {

// Lengths of n-grams, both included; shortest 0: none.
struct Lengths {
    uint32_t shortest = 0, longest = 0;
};

// One text at a time, in memory that is kept for the next one.
class TextNgrams {
  public:
    // Makes room for texts of so many bytes, so that `read` takes no memory.
    void reserve(size_t bytes);
    void read(std::string_view text);

    template <class Take> void words(Lengths lengths, Take take) const {
        if (lengths.shortest == 0) return;
        for (size_t first = 0; first < words_.size(); ++first) {
            uint32_t hash = kWordBasis;
            for (uint32_t n = 1; n <= lengths.longest && first + n <= words_.size(); ++n) {
                if (n > 1) hash = step(hash, ' ');
                const Part word = words_[first + n - 1];
                for (size_t i = word.begin; i < word.end; ++i) hash = step(hash, points_[i]);
                if (n >= lengths.shortest) take(mixed(hash));
            }
        }
    }

    template <class Take> void characters(Lengths lengths, Take take) const {
        if (lengths.shortest == 0) return;
        for (const Part token : tokens_) {
            for (size_t first = token.begin; first < token.end; ++first) {
                const size_t most = token.end - first < lengths.longest ? token.end - first : lengths.longest;
                uint32_t hash = kBasis;
                for (size_t n = 1; n <= most; ++n) {
                    hash = step(hash, points_[first + n - 1]);
                    if (n >= lengths.shortest) take(mixed(hash));
                }
            }
        }
    }

  private:
    struct Part {
        size_t begin, end;
    };
    static constexpr uint32_t kWordBasis = kBasis ^ 0x9e3779b9u;

    std::vector<uint32_t> points_;  // in lower case; each run of blanks is one U+0020, at both ends, too
    std::vector<Part> words_;       // runs of letters
    std::vector<Part> tokens_;      // each with the U+0020 before and behind it
};

}  // namespace filament
