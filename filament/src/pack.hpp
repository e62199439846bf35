// From the blocks of a GGUF to the layout of the kernels, and single rows to floats.
#pragma once

#include "gguf.hpp"
#include "kernels.hpp"

namespace filament {

// Where a packed matrix will lie, and what it was packed from. `first` and `rows` cut a fused tensor.
struct Packing {
    const Tensor* tensor = nullptr;
    size_t first = 0;
    Matrix matrix;
    size_t bytes() const;
};

// Throws Error for rows that the tensor does not have.
Packing plan(const Tensor& tensor, size_t first, size_t rows, float multiplier);
// Writes the matrix at `place` (64-byte aligned, packing.bytes() long) and points packing.matrix there.
void pack(Packing& packing, uint8_t* place, bool biased);

// One row as floats: the reference that every kernel is held to, and how embeddings are looked up.
void read_row(const Tensor& tensor, size_t row, float* out);

}  // namespace filament
