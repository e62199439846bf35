// How the weights of a matrix lie in memory: one table, from which packing, kernels and the engine take their sizes.
//
// A matrix is cut into tiles of 16 rows. Of a tile, block by block along the row, the codes of 4 neighbouring columns
// of one row lie side by side, and the 16 rows follow each other: 64 bytes, one multiply-add of 16 sums of 4 products.
// The other operand, 4 columns of the activations, is the same for all rows. Scales lie in a stream of their own, as
// the file has them, rows side by side. ARCHITECTURE.md draws it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace filament {

constexpr size_t kTile = 16;   // rows of a tile
constexpr size_t kChunk = 64;  // bytes of codes that are read at once: 4 for each row
// n, or the next larger multiple of `step`.
constexpr size_t round_up(size_t n, size_t step = kTile) { return (n + step - 1) / step * step; }

// clang-format off
enum class Layout : uint8_t {
    F32, F16, BF16,
    Nibbles,       // codes 0..15, zero at 8                              Q4_0
    NibblesMin,    // codes 0..15 and a minimum for each block            Q4_1
    NibblesMinK,   // the same with scales and minima of 6 bits           Q4_K
    NibblesTable,  // codes 0..15 that name one of 16 numbers             IQ4_NL
    SixBits,       // codes 0..63, zero at 32, with scales of 8 bits      Q6_K
    Bytes,         // codes -128..127, stored plus 128 where biased       Q8_0, keys
    Bytes16,       // the same in blocks of 16                            keys of odd widths
    BytesUnit,     // the same as Bytes with no scale                     values
    Ternary,       // codes 0..2, zero at 1                               TQ2_0
};
// clang-format on
constexpr size_t kLayouts = 12;

// Scales of one tile and group of columns. The halves are those of the file.
struct Scales {
    uint16_t scale[kTile];
};
struct ScalesMin {
    uint16_t scale[kTile], min[kTile];
};
struct ScalesMinK {
    uint16_t scale[kTile], min[kTile];
    uint32_t packed[3][kTile];  // the 12 bytes of a row, as the file packs 8 scales and 8 minima of 6 bits
};
struct ScalesSixBits {
    uint16_t scale[kTile];
    int8_t block[16][kTile];  // of each block of 16 columns
};
static_assert(sizeof(Scales) == 32 && sizeof(ScalesMin) == 64 && sizeof(ScalesMinK) == 256 &&
              sizeof(ScalesSixBits) == 288);

// What the codes of IQ4_NL stand for.
inline constexpr int8_t kIq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

struct LayoutTraits {
    Layout layout;
    size_t bits;           // of a weight's code
    size_t block;          // columns that share a scale; the activations are quantized by as many. 1: floats
    size_t group;          // columns whose scales lie together
    size_t scale_bytes;    // of a tile and group
    int zero;              // the code that stands for 0
    const int8_t* values;  // what each code stands for, if not code - zero

    constexpr bool is_float() const { return block == 1; }
    constexpr size_t block_bytes() const { return kTile * block * bits / 8; }  // of codes, of a tile
    constexpr double bits_per_weight() const {
        return double(bits) + 8.0 * double(scale_bytes) / double(kTile * group);
    }
};

inline constexpr LayoutTraits kLayoutTraits[kLayouts] = {
    {Layout::F32, 32, 1, 1, 0, 0, nullptr},
    {Layout::F16, 16, 1, 1, 0, 0, nullptr},
    {Layout::BF16, 16, 1, 1, 0, 0, nullptr},
    {Layout::Nibbles, 4, 32, 32, sizeof(Scales), 8, nullptr},
    {Layout::NibblesMin, 4, 32, 32, sizeof(ScalesMin), 0, nullptr},
    {Layout::NibblesMinK, 4, 32, 256, sizeof(ScalesMinK), 0, nullptr},
    {Layout::NibblesTable, 4, 32, 32, sizeof(Scales), 0, kIq4},
    {Layout::SixBits, 6, 16, 256, sizeof(ScalesSixBits), 32, nullptr},
    {Layout::Bytes, 8, 32, 32, sizeof(Scales), 128, nullptr},
    {Layout::Bytes16, 8, 16, 16, sizeof(Scales), 128, nullptr},
    {Layout::BytesUnit, 8, 32, 32, 0, 128, nullptr},
    {Layout::Ternary, 2, 256, 256, sizeof(Scales), 1, nullptr},
};

constexpr const LayoutTraits& traits(Layout layout) { return kLayoutTraits[static_cast<size_t>(layout)]; }

constexpr bool rows_are_in_order() {
    for (size_t i = 0; i < kLayouts; ++i) {
        if (kLayoutTraits[i].layout != static_cast<Layout>(i)) return false;
    }
    return true;
}
static_assert(rows_are_in_order());
static_assert(traits(Layout::NibblesMinK).bits_per_weight() == 4.5 &&
              traits(Layout::SixBits).bits_per_weight() == 6.5625);

}  // namespace filament
