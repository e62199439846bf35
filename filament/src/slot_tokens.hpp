// What `lightbulb-slots` of docs/format.md looks at: the tokens of a text, and hashes of what stands in it and around
// each token.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "hashing.hpp"

namespace filament {

enum Shown : uint8_t { kWord, kShape, kStart, kEnd };

struct SlotToken {
    size_t begin, end;              // bytes of the text
    std::array<uint32_t, 4> shown;  // of each Shown
};

namespace windows {

struct Part {
    Shown shown;
    int8_t on;  // so many tokens
};
struct Window {
    uint32_t parts;
    std::array<Part, 3> part;
};
constexpr Window of(Shown shown, int8_t a) { return {1, {{{shown, a}, {}, {}}}}; }
constexpr Window of(Shown shown, int8_t a, int8_t b) { return {2, {{{shown, a}, {shown, b}, {}}}}; }
constexpr Window of(Shown shown, int8_t a, int8_t b, int8_t c) { return {3, {{{shown, a}, {shown, b}, {shown, c}}}}; }
// In the order of their numbers.
constexpr std::array kAll = {
    of(kWord, 0),    of(kWord, -1),    of(kWord, 1),          of(kWord, -2),      of(kWord, 2),
    of(kWord, -3),   of(kWord, 3),     of(kWord, -1, 0),      of(kWord, 0, 1),    of(kWord, -2, -1),
    of(kWord, 1, 2), of(kWord, -1, 1), of(kWord, -3, -2, -1), of(kWord, 1, 2, 3), of(kShape, 0),
    of(kShape, -1),  of(kShape, 1),    of(kShape, -1, 0, 1),  of(kShape, -2, -1), of(kShape, 1, 2),
    of(kStart, 0),   of(kEnd, 0),
};

}  // namespace windows

// One text at a time, in memory that is kept for the next one.
class SlotTokens {
  public:
    void read(std::string_view text);
    size_t size() const { return tokens_.size(); }
    const SlotToken& operator[](size_t at) const { return tokens_[at]; }

    // The hash of each thing that stands at and around token `at`.
    template <class Take> void around(size_t at, Take take) const {
        uint32_t number = 0;
        for (const auto& [parts, part] : windows::kAll) {
            uint32_t hash = mixed(kBasis ^ number++);
            for (uint32_t i = 0; i < parts; ++i) hash = mixed(step(hash, there(at, part[i].shown, part[i].on)));
            take(hash);
        }
        take(mixed(step(mixed(kBasis ^ number), static_cast<uint32_t>(std::min(size(), kFew)))));
    }

    // The hash of each n-gram of tokens, and of each two that stand near each other, in their order.
    template <class Take> void all(Take take) const {
        for (size_t first = 0; first < size(); ++first) {
            const size_t behind = std::min(size() - first, kReach + 1);
            const uint32_t word = tokens_[first].shown[kWord];
            const uint32_t pair = mixed(step(mixed(kBasis ^ kPair), word));
            for (size_t on = 1; on < behind; ++on) take(mixed(step(pair, tokens_[first + on].shown[kWord])));
            for (uint32_t n = 1; n <= std::min(behind, kLongest); ++n) {
                uint32_t hash = mixed(kBasis ^ (kNgram + n));
                for (uint32_t on = 0; on < n; ++on) hash = mixed(step(hash, tokens_[first + on].shown[kWord]));
                take(hash);
            }
        }
    }

  private:
    static constexpr size_t kFew = 3, kReach = 32, kLongest = 3;
    static constexpr uint32_t kNgram = 64, kPair = 80, kBefore = 1, kBehind = 2;

    // What the token `on` places on from `at` shows.
    uint32_t there(size_t at, Shown shown, int8_t on) const {
        const size_t place = at + static_cast<size_t>(static_cast<ptrdiff_t>(on));  // wraps before the first
        if (place < size()) return tokens_[place].shown[shown];
        return shown == kShape ? 0 : on < 0 ? kBefore : kBehind;
    }
    void end(size_t at, uint32_t classes);

    std::vector<SlotToken> tokens_;
    std::vector<uint32_t> points_;  // of the token that is being read, in lower case
    size_t upper_ = 0;              // of them, that were not
};

}  // namespace filament
