#include "drafter.hpp"

#include <algorithm>

namespace filament {
namespace {

constexpr double kPrice = 0.25;   // of a row beside others, of a step of one row; measured, see docs/decisions.md
constexpr double kMemory = 0.85;  // of what is known of the chance, after one more token
constexpr size_t kPatience = 24;  // steps without a guess until one is tried again
constexpr size_t kMost = 15;      // tokens of a guess

}  // namespace

std::span<const int32_t> Drafter::guess(std::span<const int32_t> text, size_t most) {
    guess_.clear();
    size_t common = 0, next = 0;
    for (size_t end = text.size() - 1; end >= kShortest && common < kLongest; --end) {  // the latest of the longest
        size_t same = 0;
        while (same < std::min(end, kLongest) && text[end - 1 - same] == text[text.size() - 1 - same]) ++same;
        if (same > common) common = same, next = end;
    }
    if (common < kShortest) return {};
    common_ = common;
    size_t count = worth(chance_[common], std::min(most, kMost));
    if (count == 0 && most > 0 && ++waited_ > kPatience) count = 1;
    if (count > 0) waited_ = 0;
    for (size_t i = next; i < next + count; ++i)  // a text that repeats itself goes on so
        guess_.push_back(i < text.size() ? text[i] : guess_[i - text.size()]);
    return guess_;
}

// A token is worth its row while it is likelier right, with all before it, than a row costs.
size_t Drafter::worth(double chance, size_t most) const {
    size_t count = 0;
    for (double right = chance; count < most && right > kPrice; right *= chance) ++count;
    return count;
}

void Drafter::learn(size_t guessed, size_t right) {
    double& chance = chance_[common_];
    for (size_t i = 0; i < std::min(guessed, right + 1); ++i)
        chance = kMemory * chance + (1 - kMemory) * (i < right ? 1 : 0);
}

}  // namespace filament
