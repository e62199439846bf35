// The GGML types that are read: one table. A new type is a row, and a layout with its kernels where none of layouts.hpp
// fits. Blocks of the file: https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-common.h
#pragma once

#include <span>

#include "layouts.hpp"

namespace filament {

// Numbers of the GGML types. The others are refused by name where a matrix of them is needed.
// clang-format off
enum class Type : uint32_t {
    F32 = 0, F16 = 1, Q4_0 = 2, Q4_1 = 3, Q8_0 = 8, Q4_K = 12, Q6_K = 14, IQ4_NL = 20, BF16 = 30, TQ2_0 = 35,
    I8 = 24, I16 = 25, I32 = 26,  // whole numbers, of which there are no matrices: classifiers read them as they are
};
// clang-format on

// `count` scales of `bytes` bytes each at `offset` of a block.
struct ScaleField {
    size_t offset, bytes, count;
};

constexpr size_t kMostBlockColumns = 256;  // of a block of any type

struct BlockType {
    Type type;
    const char* name;
    size_t columns, bytes;  // of a block, along a row
    Layout layout;
    ScaleField scales[2];  // in the order in which the layout has them
    // Of a block: the code of each column, and scale and minimum of each block of the layout. Floats have none.
    void (*decode)(const uint8_t* block, uint8_t* codes, float* scales, float* mins);
};

// Bytes of a whole number of this type, 0 for one that is none.
constexpr size_t integer_bytes(Type type) {
    return type == Type::I8 ? 1 : type == Type::I16 ? 2 : type == Type::I32 ? 4 : 0;
}
// The row of a type. Throws Error for one that cannot be read.
const BlockType& block_type(Type type);
std::span<const BlockType> block_types();

}  // namespace filament
