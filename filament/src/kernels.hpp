// What the model asks of the processor: a table of functions, one table for each instruction set.
#pragma once

#include <vector>

#include "layouts.hpp"

namespace filament {

constexpr size_t kReadOften = 8;  // products of each byte in read_often

// Codes are packed for the table that reads them (`biased` below).
struct Matrix {
    Layout layout{};
    size_t rows = 0, columns = 0;     // columns is a multiple of the layout's group
    const uint8_t* codes = nullptr;   // [tile][block][...]
    size_t stride = 0;                // bytes from one tile's codes to the next one's
    const uint8_t* scales = nullptr;  // [tile][group], structs of layouts.hpp
    float multiplier = 1;             // of every product
    const float* bias = nullptr;      // added to the products of each row; whole tiles, or none
    size_t ahead = 0;                 // codes so many bytes further on are fetched meanwhile

    size_t tiles() const { return (rows + kTile - 1) / kTile; }
    size_t block() const { return traits(layout).block; }
    // Of codes: the stride where tiles follow each other.
    size_t tile_bytes() const { return columns / block() * traits(layout).block_bytes(); }
    size_t scale_bytes() const { return tiles() * (columns / traits(layout).group) * traits(layout).scale_bytes; }
};

// Rows of numbers as float32 and, where a matrix of whole numbers reads them, as int8 with a scale for each block.
struct Activations {
    size_t tokens = 0, columns = 0;
    const float* values = nullptr;  // [token][column]
    const int8_t* codes = nullptr;  // [token][column]
    const float* scales = nullptr;  // [token][block]
    const int32_t* sums = nullptr;  // [token][block], of codes
};

// out[t * stride + row] (+)= matrix[row] . x[t], for the rows of tiles [begin, end).
using Multiply = void (*)(const Matrix&, const Activations&, size_t begin, size_t end, float* out, size_t stride,
                          bool add);
// out = activation(gate) * up. n is padded to whole tiles.
using Gate = void (*)(const float* gate, const float* up, size_t n, float* out);

struct Kernels {
    const char* name;
    bool biased;  // Bytes are stored plus 128: the instruction multiplies unsigned by signed

    Multiply products[kLayouts];  // by layout
    // codes = round(x / scale), scale = largest |x| of the block / 127. n and block are multiples of 16.
    void (*quantize)(const float* x, size_t n, size_t block, int8_t* codes, float* scales, int32_t* sums);
    // out = x / sqrt(mean of squares + epsilon) * weight; x and weight are zeros from n up to whole tiles.
    void (*rms_norm)(const float* x, const float* weight, size_t n, float epsilon, float* out);
    // out = (x - mean) / sqrt(variance + epsilon) * weight + bias, zeros from n up to whole tiles, as weight and bias
    // are. (Ba, Kiros & Hinton 2016.)
    void (*layer_norm)(const float* x, const float* weight, const float* bias, size_t n, float epsilon, float* out);
    // out = x * Phi(x), to 4e-7 |x|. n is padded to whole tiles.
    void (*gelu)(const float* x, size_t n, float* out);
    Gate silu_gate;  // g / (1 + e^-g)
    Gate gelu_gate;  // g * Phi(g), by tanh (Hendrycks & Gimpel 2016)
    // f = lower + (1 - lower) sigmoid(forget), h = f h + (1 - f) silu(candidate), out = sigmoid(gate) h; n is a
    // multiple of 16. out may be gate. (Zhu et al. 2024.)
    void (*mlgru)(const float* forget, const float* candidate, const float* gate, const float* lower, size_t n,
                  float* h, float* out);
    // x = exp(scale * x - max) within [begin, end), 0 elsewhere; returns the sum. n is a multiple of 16.
    float (*softmax_exp)(float* x, size_t begin, size_t end, size_t n, float scale);
    void (*scale)(float* x, const float* by, size_t n, float factor);  // x = x * by * factor

    // sums[j] += by[i] * rows[i][j], exactly, for i below n and j below `columns`. n is even; `columns` is a multiple
    // of 16, as are the rows' lengths.
    void (*add_rows)(const int8_t* const* rows, const int16_t* by, size_t n, size_t columns, int64_t* sums);
    // sums[i] = x . matrix[i], exactly, for i below `rows`, a multiple of 16, of numbers within -2048..2047. 16 rows
    // are a tile, in which they stand side by side, two columns each at a time; `columns` is even.
    void (*multiply_words)(const int16_t* matrix, size_t rows, size_t columns, const int16_t* x, int64_t* sums);

    // To find out what the processor can do: every byte of n (a multiple of 512) in one product, or in kReadOften of
    // them, each with 4 of the 32 numbers of `by`.
    int32_t (*read_once)(const uint8_t*, size_t n, const int8_t* by);
    int32_t (*read_often)(const uint8_t*, size_t n, const int8_t* by);

    void multiply(const Matrix& m, const Activations& x, size_t begin, size_t end, float* out, size_t stride,
                  bool add) const {
        products[static_cast<size_t>(m.layout)](m, x, begin, end, out, stride, add);
    }
};

// The best of this processor, or the one that the environment variable FILAMENT_ISA names.
const Kernels& kernels();
// Names that run here, best first.
std::vector<const char*> available();
const Kernels& kernels(const char* name);

}  // namespace filament
