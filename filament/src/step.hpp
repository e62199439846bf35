// One step of a model as its layers see it: rows of tokens, the memory that threads share, and one thread's part in it.
#pragma once

#include <initializer_list>
#include <span>
#include <vector>

#include "layer.hpp"
#include "memory.hpp"
#include "thread_pool.hpp"

namespace filament {

class Model;
class Sequence;

constexpr size_t kMostRows = 64;     // tokens of a step: enough to use what is read from memory many times
constexpr size_t kAlone = 1u << 20;  // bytes of weights, tokens times: a step that reads fewer wakes nobody

struct Row {
    Sequence* sequence;
    int32_t token;
    bool wanted;  // whether logits are wanted after it
};

using Readers = std::initializer_list<const Linear*>;

// Rows of numbers that matrices read: as floats, and as int8 for each size of block that one of them has.
class Input {
  public:
    Input() = default;
    Input(size_t tokens, size_t columns);
    // Gives row `t` its values: make(out) writes them. Then they are quantized for the matrices of `readers`.
    template <class Make> void fill(const Kernels& kernels, size_t t, size_t columns, Readers readers, Make make) {
        float* x = values_.data() + t * round_up(columns);
        make(x);
        quantize(kernels, t, columns, readers, x);
    }
    // The same with values that lie elsewhere, in whole tiles.
    void read(const Kernels& kernels, size_t t, size_t columns, Readers readers, const float* x);
    Activations view(const Matrix& reader, size_t tokens) const;

  private:
    struct Quantized {
        Array<int8_t> codes;
        Array<float> scales;
        Array<int32_t> sums;
    };
    static size_t index(size_t block) { return block == 16 ? 0 : block == 32 ? 1 : 2; }
    void quantize(const Kernels& kernels, size_t t, size_t columns, Readers readers, const float* x);

    Array<float> values_;  // [token][column], rows of whole tiles
    Quantized quantized_[3];
};

// One thread's own memory.
struct Scratch {
    Input input;
    std::vector<float> vectors, scores, outputs, scales;
    std::vector<int8_t> codes;
    std::vector<int32_t> sums;
};

// Cosines and sines of the angles by which a rope turns pairs, of all positions up to the last that was read:
// [position][pair].
struct Angles {
    std::vector<float> cosines, sines;
};

// What the threads of a step share. Rows of floats are whole tiles.
struct Workspace {
    Workspace(const Model& model, size_t threads);

    std::vector<Row> rows;              // those whose logits are wanted come first
    std::vector<size_t> order;          // places in `rows`, as the texts go
    std::vector<size_t> positions;      // of each row
    Array<float> residual, branch;      // [row][width]; what a branch adds where it is normed first
    std::vector<Array<float>> buffers;  // [row][columns]; see Branch::buffers
    std::vector<Angles> angles;         // of each rope of the model
    Input input;
    std::vector<Scratch> scratch;  // of each thread
};

// The products of one input with several matrices, shared out by tiles as if they were one matrix.
struct Product {
    const Linear* linear;
    float* out;
};

// A worker's share of them.
void multiply(const Kernels& kernels, const Worker& worker, const Input& input, size_t tokens,
              std::initializer_list<Product> products, bool add);

class Step {
  public:
    // A branch reads `tokens` rows and adds to the first `outputs` of them: all, but for the last mixer that remembers,
    // behind which rows whose logits nobody wants are of no more use.
    Step(const Model& model, Workspace& space, const Worker& worker, size_t tokens, size_t outputs)
        : model(model), space(space), worker(worker), tokens(tokens), outputs(outputs) {}

    const Kernels& kernels() const;
    Scratch& scratch() const { return space.scratch[worker.index]; }
    float* residual(size_t t) const;

    // The input of the next matrices: make(t, out) writes the values of token t. A single token is prepared by every
    // thread for itself, which is quicker than waiting for another.
    template <class Make> const Input& prepare(size_t rows, size_t columns, Readers readers, Make make) const {
        Input& input = rows == 1 ? scratch().input : space.input;
        const auto [begin, end] = rows == 1 ? std::pair<size_t, size_t>{0, 1} : worker.share(rows);
        for (size_t t = begin; t < end; ++t)
            input.fill(kernels(), t, columns, readers, [&](float* out) { make(t, out); });
        if (rows > 1) worker.barrier();
        return input;
    }
    // The residual behind a norm.
    const Input& prepare(const Norm& norm, Readers readers) const;
    void multiply(const Input& input, size_t rows, std::initializer_list<Product> products, bool add) const {
        filament::multiply(kernels(), worker, input, rows, products, add);
    }

    const Model& model;
    Workspace& space;
    const Worker& worker;
    const size_t tokens, outputs;
};

}  // namespace filament
