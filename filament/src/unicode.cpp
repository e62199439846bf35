#include "unicode.hpp"

#include <algorithm>
#include <array>
#include <span>
#include <unordered_map>

#include "unicode_tables.hpp"

namespace filament {
namespace {

using namespace unicode;

constexpr char32_t kAscii = 0x80;
// Syllables of Hangul are made of letters by arithmetic (Unicode 16, section 3.12).
constexpr char32_t kSyllables = 0xAC00, kSyllablesEnd = 0xD7A4;
constexpr char32_t kLead = 0x1100, kVowel = 0x1161, kTail = 0x11A7, kVowels = 21, kTails = 28;
constexpr char32_t kIdeographsFirst = 0xF900, kMoreFirst = 0x2F800;

bool contains(std::span<const Range> ranges, char32_t point) {
    const auto behind = std::upper_bound(ranges.begin(), ranges.end(), point,
                                         [](char32_t p, const Range& range) { return p < range.first; });
    return behind != ranges.begin() && point <= std::prev(behind)->last;
}

// Where one character becomes another.
std::unordered_map<char32_t, char32_t> read_moves() {
    std::unordered_map<char32_t, char32_t> moves;
    for (const auto& [first, last, step, to] : kRuns) {
        for (char32_t p = first; p <= last; p += step) moves[p] = to + (p - first);
    }
    for (const Text other : kOthers) {
        for (const char32_t from : other.substr(1)) moves[from] = other[0];
    }
    for (size_t i = 0; i < kIdeographs.size(); ++i) moves[kIdeographsFirst + i] = kIdeographs[i];
    for (size_t i = 0; i < kMoreIdeographs.size(); ++i) moves[kMoreFirst + i] = kMoreIdeographs[i];
    return moves;
}

Folded several(Part part, Text characters) {
    Folded folded{part, characters.size(), {}};
    std::copy(characters.begin(), characters.end(), folded.characters);
    return folded;
}

Folded syllable(char32_t point) {
    const char32_t i = point - kSyllables, tail = i % kTails;
    return {Part::OfWord,
            tail != 0 ? size_t{3} : size_t{2},
            {kLead + i / (kVowels * kTails), kVowel + i / kTails % kVowels, kTail + tail}};
}

Folded look_up(char32_t point) {
    static const std::unordered_map<char32_t, char32_t> moves = read_moves();
    if (contains(kBlanks, point)) return {Part::Blank, 0, {}};
    if (contains(kDropped, point)) return {};
    if (point >= kSyllables && point < kSyllablesEnd) return syllable(point);
    for (const Text each : kSeveral) {
        if (each[0] == point) return several(Part::OfWord, each.substr(1));
    }
    const auto found = moves.find(point);
    const char32_t to = found == moves.end() ? point : found->second;
    const bool alone = contains(kChinese, point) || contains(kPunctuation, to);
    return {alone ? Part::Alone : Part::OfWord, 1, {to}};
}

}  // namespace

Folded fold(char32_t point) {
    static const std::array<Folded, kAscii> ascii = [] {
        std::array<Folded, kAscii> table;
        for (char32_t p = 0; p < kAscii; ++p) table[p] = look_up(p);
        return table;
    }();
    return point < kAscii ? ascii[point] : look_up(point);
}

}  // namespace filament
