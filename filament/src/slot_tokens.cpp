#include "slot_tokens.hpp"

#include <span>

#include "characters.hpp"

namespace filament {
namespace {

enum Class : uint32_t { kBlank, kLetters, kDigits, kOther };
constexpr size_t kEdge = 3, kMostDigits = 15;
constexpr uint32_t kLower = 1, kUpper = 2, kCapital = 3, kDigitShapes = 16, kOtherShapes = 32;

Class class_of(const Character& c) {
    if (c.blank) return kBlank;
    if (within(c.point, '0', '9')) return kDigits;
    return c.letter ? kLetters : kOther;
}

uint32_t hash_of(std::span<const uint32_t> points) {
    uint32_t hash = kBasis;
    for (const uint32_t point : points) hash = step(hash, point);
    return mixed(hash);
}

}  // namespace

void SlotTokens::read(std::string_view text) {
    tokens_.clear(), points_.clear();
    Class before = kBlank;
    for (size_t at = 0; at < text.size();) {
        const size_t begin = at;
        const uint32_t point = next_point(text, at);
        const Character c = character(point);
        const Class now = class_of(c);
        if (now != before || now == kOther) {
            end(begin, before);
            if (now != kBlank) tokens_.push_back({begin, 0, {}});
        }
        if (now != kBlank) points_.push_back(c.point), upper_ += c.point != point;
        before = now;
    }
    end(text.size(), before);
}

// The token that ends before byte `at`, if there is one.
void SlotTokens::end(size_t at, uint32_t classes) {
    if (points_.empty()) return;
    const std::span all(points_);
    const size_t size = all.size(), edge = std::min(size, kEdge);
    const uint32_t cased = upper_ == 0 ? kLower : upper_ == size ? kUpper : kCapital;
    const uint32_t shape = classes == kLetters  ? cased
                           : classes == kDigits ? kDigitShapes + static_cast<uint32_t>(std::min(size, kMostDigits))
                                                : kOtherShapes + points_[0];
    tokens_.back().end = at;
    tokens_.back().shown = {hash_of(all), shape, hash_of(all.first(edge)), hash_of(all.last(edge))};
    points_.clear();
    upper_ = 0;
}

}  // namespace filament
