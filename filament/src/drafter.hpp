// What a text may go on with, guessed from the text itself: what followed its last tokens where they stood before
// (prompt lookup: Saxena 2023; one case of speculative decoding, Leviathan et al. 2023).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace filament {

// Guesses more where more of its guesses were right, and next to never where they are not: a row that is read in vain
// costs a share of a step.
class Drafter {
  public:
    // At most `most` tokens that may follow `text`; none where none are worth their reading. Kept until the next call.
    std::span<const int32_t> guess(std::span<const int32_t> text, size_t most);
    // Of the tokens that guess() gave last, the model agreed with the first `right`.
    void learn(size_t guessed, size_t right);

  private:
    size_t worth(double chance, size_t most) const;

    static constexpr size_t kShortest = 2, kLongest = 4;  // tokens in common; the longest stands for all above
    std::array<double, kLongest + 1> chance_ = {0, 0, 0.5, 0.6, 0.8};  // that a token is right, by tokens in common
    std::vector<int32_t> guess_;
    size_t common_ = 0;  // tokens, of the last guess
    size_t waited_ = 0;  // guesses withheld since the last one
};

}  // namespace filament
