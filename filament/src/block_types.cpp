#include "block_types.hpp"

#include <cstddef>
#include <cstring>
#include <string>

#include "error.hpp"
#include "half.hpp"

namespace filament {
namespace {

using Half = uint16_t;

// Halves and bytes only, so that a block may lie anywhere.
struct BlockQ4_0 {
    Half scale;
    uint8_t codes[16];  // low halves are columns 0-15
};
struct BlockQ4_1 {
    Half scale, min;
    uint8_t codes[16];
};
struct BlockQ8_0 {
    Half scale;
    int8_t codes[32];
};
struct BlockQ4_K {
    Half scale, min;
    uint8_t packed[12];  // 8 scales and 8 minima of 6 bits
    uint8_t codes[128];
};
struct BlockQ6_K {
    uint8_t low[128], high[64];  // 4 and 2 bits of each code
    int8_t scales[16];
    Half scale;
};
struct BlockTQ2_0 {
    uint8_t codes[64];
    Half scale;
};
static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20 && sizeof(BlockQ8_0) == 34);
static_assert(sizeof(BlockQ4_K) == 144 && sizeof(BlockQ6_K) == 210 && sizeof(BlockTQ2_0) == 66);

template <class Block> Block block_at(const uint8_t* place) {
    Block block;
    std::memcpy(&block, place, sizeof block);
    return block;
}

void nibbles(const uint8_t* packed, size_t n, uint8_t* low, uint8_t* high) {
    for (size_t i = 0; i < n; ++i) low[i] = packed[i] & 15, high[i] = packed[i] >> 4;
}

void decode_q4_0(const uint8_t* from, uint8_t* codes, float* scales, float*) {
    const auto block = block_at<BlockQ4_0>(from);
    scales[0] = half_to_float(block.scale);
    nibbles(block.codes, 16, codes, codes + 16);
}

void decode_q4_1(const uint8_t* from, uint8_t* codes, float* scales, float* mins) {
    const auto block = block_at<BlockQ4_1>(from);
    scales[0] = half_to_float(block.scale), mins[0] = half_to_float(block.min);
    nibbles(block.codes, 16, codes, codes + 16);
}

void decode_q8_0(const uint8_t* from, uint8_t* codes, float* scales, float*) {
    const auto block = block_at<BlockQ8_0>(from);
    scales[0] = half_to_float(block.scale);
    for (size_t i = 0; i < 32; ++i) codes[i] = static_cast<uint8_t>(block.codes[i] + 128);
}

void decode_q4_k(const uint8_t* from, uint8_t* codes, float* scales, float* mins) {
    const auto block = block_at<BlockQ4_K>(from);
    const float scale = half_to_float(block.scale), min = half_to_float(block.min);
    const uint8_t* packed = block.packed;
    for (int j = 0; j < 8; ++j) {
        const int s = j < 4 ? packed[j] & 63 : (packed[j + 4] & 15) | (packed[j - 4] >> 6) << 4;
        const int m = j < 4 ? packed[j + 4] & 63 : packed[j + 4] >> 4 | (packed[j] >> 6) << 4;
        scales[j] = scale * static_cast<float>(s), mins[j] = -min * static_cast<float>(m);
    }
    for (int j = 0; j < 4; ++j) nibbles(block.codes + 32 * j, 32, codes + 64 * j, codes + 64 * j + 32);
}

void decode_q6_k(const uint8_t* from, uint8_t* codes, float* scales, float*) {
    const auto block = block_at<BlockQ6_K>(from);
    for (int j = 0; j < 16; ++j) scales[j] = half_to_float(block.scale) * static_cast<float>(block.scales[j]);
    for (int half = 0; half < 2; ++half) {
        const uint8_t *low = block.low + 64 * half, *high = block.high + 32 * half;
        for (int quarter = 0; quarter < 4; ++quarter) {
            for (int i = 0; i < 32; ++i) {
                const int four = low[i + 32 * (quarter & 1)] >> (quarter >= 2 ? 4 : 0) & 15;
                const int two = high[i] >> (2 * quarter) & 3;
                codes[128 * half + 32 * quarter + i] = static_cast<uint8_t>(four | two << 4);
            }
        }
    }
}

void decode_tq2_0(const uint8_t* from, uint8_t* codes, float* scales, float*) {
    const auto block = block_at<BlockTQ2_0>(from);
    scales[0] = half_to_float(block.scale);
    for (int half = 0; half < 2; ++half) {
        for (int part = 0; part < 4; ++part) {
            for (int i = 0; i < 32; ++i)
                codes[128 * half + 32 * part + i] = block.codes[32 * half + i] >> (2 * part) & 3;
        }
    }
}

// clang-format off
constexpr BlockType kBlockTypes[] = {
    {Type::F32, "F32", 1, 4, Layout::F32, {}, nullptr},
    {Type::F16, "F16", 1, 2, Layout::F16, {}, nullptr},
    {Type::Q4_0, "Q4_0", 32, sizeof(BlockQ4_0), Layout::Nibbles, {{offsetof(BlockQ4_0, scale), 2, 1}}, decode_q4_0},
    {Type::Q4_1, "Q4_1", 32, sizeof(BlockQ4_1), Layout::NibblesMin, {{offsetof(BlockQ4_1, scale), 2, 2}}, decode_q4_1},
    {Type::Q8_0, "Q8_0", 32, sizeof(BlockQ8_0), Layout::Bytes, {{offsetof(BlockQ8_0, scale), 2, 1}}, decode_q8_0},
    {Type::Q4_K, "Q4_K", 256, sizeof(BlockQ4_K), Layout::NibblesMinK,
     {{offsetof(BlockQ4_K, scale), 2, 2}, {offsetof(BlockQ4_K, packed), 4, 3}}, decode_q4_k},
    {Type::Q6_K, "Q6_K", 256, sizeof(BlockQ6_K), Layout::SixBits,
     {{offsetof(BlockQ6_K, scale), 2, 1}, {offsetof(BlockQ6_K, scales), 1, 16}}, decode_q6_k},
    {Type::IQ4_NL, "IQ4_NL", 32, sizeof(BlockQ4_0), Layout::NibblesTable, {{offsetof(BlockQ4_0, scale), 2, 1}}, decode_q4_0},
    {Type::BF16, "BF16", 1, 2, Layout::BF16, {}, nullptr},
    {Type::TQ2_0, "TQ2_0", 256, sizeof(BlockTQ2_0), Layout::Ternary, {{offsetof(BlockTQ2_0, scale), 2, 1}}, decode_tq2_0},
};
// clang-format on

// A layout takes the scales of its types as they are, and no weight takes more bits in memory than in the file.
constexpr bool fits(const BlockType& type) {
    const LayoutTraits& layout = traits(type.layout);
    size_t scales = 0;
    for (const ScaleField& field : type.scales) scales += field.bytes * field.count;
    return type.columns <= kMostBlockColumns && layout.group == type.columns && layout.scale_bytes == scales * kTile &&
           layout.bits * type.columns + 8 * scales == 8 * type.bytes && layout.is_float() == !type.decode;
}
constexpr bool all_fit() {
    for (const BlockType& type : kBlockTypes) {
        if (!fits(type)) return false;
    }
    return true;
}
static_assert(all_fit());

}  // namespace

std::span<const BlockType> block_types() { return kBlockTypes; }

const BlockType& block_type(Type type) {
    for (const BlockType& known : kBlockTypes) {
        if (known.type == type) return known;
    }
    std::string names;
    for (const BlockType& known : kBlockTypes) names += std::string(names.empty() ? "" : ", ") + known.name;
    throw Error("weights of the GGML type " + std::to_string(static_cast<uint32_t>(type)) +
                " cannot be read; these can: " + names);
}

}  // namespace filament
