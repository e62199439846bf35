// What docs/format.md knows of a code point: the lower case of its letter, whether it is a blank, whether a letter.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace filament {

constexpr uint32_t kReplacement = 0xFFFD;  // of a byte that is no UTF-8
constexpr uint32_t kSpace = 0x20;

constexpr bool within(uint32_t point, uint32_t first, uint32_t last) { return point >= first && point <= last; }

constexpr uint32_t lower(uint32_t p) {
    if (within(p, 'A', 'Z') || (within(p, 0xC0, 0xDE) && p != 0xD7) || within(p, 0x391, 0x3A9) ||
        within(p, 0x410, 0x42F))
        return p + 32;
    if (within(p, 0x400, 0x40F)) return p + 80;
    const bool even_is_upper = within(p, 0x100, 0x137) || within(p, 0x14A, 0x177) || within(p, 0x460, 0x481) ||
                               within(p, 0x48A, 0x4BF) || within(p, 0x4D0, 0x52F);
    const bool odd_is_upper = within(p, 0x139, 0x148) || within(p, 0x179, 0x17E);
    return p + ((even_is_upper && p % 2 == 0) || (odd_is_upper && p % 2 == 1) ? 1 : 0);
}

constexpr bool is_blank(uint32_t p) {
    return within(p, 0x9, 0xD) || within(p, 0x1C, 0x20) || p == 0x85 || p == 0xA0 || p == 0x1680 ||
           within(p, 0x2000, 0x200A) || p == 0x2028 || p == 0x2029 || p == 0x202F || p == 0x205F || p == 0x3000;
}

// Of a point that `lower` has seen.
constexpr bool is_letter(uint32_t p) {
    if (p < 0xC0) return within(p, '0', '9') || within(p, 'a', 'z') || p == '_' || p == 0xAA || p == 0xB5 || p == 0xBA;
    return p != 0xD7 && p != 0xF7 && !within(p, 0x2000, 0x206F) && !within(p, 0x3000, 0x303F) &&
           !within(p, 0xFF00, 0xFF0F) && p != kReplacement && !is_blank(p);
}

struct Character {
    uint32_t point;  // in lower case
    bool blank, letter;
};

namespace characters {

constexpr uint32_t kTabled = 0x530;  // beyond it no case is folded
constexpr uint16_t kPoint = 0x0FFF, kLetter = 0x4000, kBlank = 0x8000;

constexpr auto kTable = [] {
    std::array<uint16_t, kTabled> table{};
    for (uint32_t p = 0; p < kTabled; ++p) {
        const uint32_t folded = lower(p);
        table[p] =
            static_cast<uint16_t>(folded | (is_letter(folded) ? kLetter : 0u) | (is_blank(folded) ? kBlank : 0u));
    }
    return table;
}();

}  // namespace characters

inline Character character(uint32_t p) {
    using namespace characters;
    if (p >= kTabled) return {p, is_blank(p), is_letter(p)};
    const uint16_t entry = kTable[p];
    return {entry & uint32_t{kPoint}, (entry & kBlank) != 0, (entry & kLetter) != 0};
}

// The code point that begins at `at`, which moves behind it: U+FFFD and one byte on where none does (Unicode 16, table
// 3-7: no surrogates, no longer forms than needed, nothing beyond U+10FFFF).
inline uint32_t next_point(std::string_view text, size_t& at) {
    const auto byte = [&](size_t i) -> uint32_t { return i < text.size() ? static_cast<uint8_t>(text[i]) : 0; };
    const uint32_t first = byte(at++);
    if (first < 0x80) return first;
    const uint32_t more = within(first, 0xC2, 0xDF)   ? 1
                          : within(first, 0xE0, 0xEF) ? 2
                          : within(first, 0xF0, 0xF4) ? 3
                                                      : 0;
    const uint32_t least = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    const uint32_t most = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (more == 0 || !within(byte(at), least, most)) return kReplacement;
    uint32_t point = first & (0x3Fu >> more);
    for (uint32_t i = 0; i < more; ++i) {
        if ((byte(at + i) & 0xC0) != 0x80) return kReplacement;
        point = point << 6 | (byte(at + i) & 0x3F);
    }
    at += more;
    return point;
}

}  // namespace filament
