// What the model asks of the processor: a table of functions, one table for each instruction set.
//
// A matrix is cut into tiles of 16 rows. Of a tile, block by block along the row, the codes of 4 neighbouring columns of
// one row lie side by side, and the 16 rows follow each other: 64 bytes, one multiply-add of 16 sums of 4 products. The
// other operand, 4 columns of the activations, is the same for all rows. ARCHITECTURE.md draws it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace filament {

constexpr size_t kTile = 16;  // rows of a tile
constexpr size_t kReadOften = 8;  // products of each byte in read_often
// n, or the next larger multiple of `step`.
constexpr size_t whole(size_t n, size_t step = kTile) { return (n + step - 1) / step * step; }
// What the codes of IQ4_NL stand for.
inline constexpr int8_t kIq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

// How the weights of a packed matrix lie. Of whole numbers a block holds one scale (16 halves a tile).
enum class Layout : uint8_t {
    F32, F16, BF16,
    Nibbles,       // codes 0..15, zero at 8                             Q4_0
    NibblesMin,    // codes 0..15 and a minimum for each block           Q4_1, Q4_K
    NibblesTable,  // codes 0..15 that name one of 16 numbers            IQ4_NL
    Bytes,         // codes -128..127                                    Q8_0, Q6_K, keys
    BytesUnit,     // the same with no scale                             values
    Ternary,       // codes 0..2, zero at 1, blocks of 256               TQ2_0
};

// Codes are packed for the table that reads them (`biased` below).
struct Matrix {
    Layout layout{};
    size_t rows = 0, columns = 0;  // columns is a multiple of block
    size_t block = 1;              // columns that share a scale
    const uint8_t* codes = nullptr;    // [tile][block][...]
    size_t stride = 0;                 // bytes from one tile's codes to the next one's
    const uint16_t* scales = nullptr;  // [tile][block][16], halves
    const uint16_t* mins = nullptr;    // likewise
    float multiplier = 1;              // of every product
    size_t ahead = 0;                  // codes so many bytes further on are fetched meanwhile

    size_t tiles() const { return (rows + kTile - 1) / kTile; }
    size_t blocks() const { return columns / block; }
    size_t tile_bytes() const;  // of codes: the stride where tiles follow each other
};

// Rows of numbers as float32 and, where a matrix of whole numbers reads them, as int8 with a scale for each block.
struct Activations {
    size_t tokens = 0, columns = 0, block = 1;
    const float* values = nullptr;   // [token][column]
    const int8_t* codes = nullptr;   // [token][column]
    const float* scales = nullptr;   // [token][block]
    const int32_t* sums = nullptr;   // [token][block], of codes
};

struct Kernels {
    const char* name;
    bool biased;  // Bytes are stored plus 128: the instruction multiplies unsigned by signed

    // out[t * stride + row] (+)= matrix[row] . x[t], for the rows of tiles [begin, end).
    void (*multiply)(const Matrix&, const Activations&, size_t begin, size_t end, float* out, size_t stride, bool add);
    void (*quantize)(const float* x, size_t n, size_t block, int8_t* codes, float* scales, int32_t* sums);
    void (*rms_norm)(const float* x, const float* weight, size_t n, float epsilon, float* out);
    void (*gate)(const float* gate, const float* up, size_t n, float* out);  // silu(gate) * up
    // x = exp(scale * x - max) and returns the sum; n is a multiple of 16, x beyond `real` becomes 0.
    float (*exponentials)(float* x, size_t real, size_t n, float scale);
    void (*scale)(float* x, const float* by, size_t n, float factor);  // x = x * by * factor

    // To find out what the processor can do: every byte of n (a multiple of 512) in one product, or in kReadOften of them,
    // each with 4 of the 32 numbers of `by`.
    int32_t (*read_once)(const uint8_t*, size_t n, const int8_t* by);
    int32_t (*read_often)(const uint8_t*, size_t n, const int8_t* by);
};

// The best of this processor, or the one that the environment variable FILAMENT_ISA names.
const Kernels& kernels();
// Names that run here, best first.
std::vector<const char*> available();
const Kernels& kernels(const char* name);

}  // namespace filament
