// One step of a model: some tokens of some sequences in, logits out.
#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "memory.hpp"
#include "model.hpp"
#include "sequence.hpp"
#include "thrift.hpp"

namespace filament {

constexpr size_t kMostRows = 64;  // tokens of a step: enough to use what is read from memory many times

struct Row {
    Sequence* sequence;
    int32_t token;
    bool wanted;  // whether logits are wanted after it
};

// Rows of numbers that matrices read: as floats, and as int8 for each size of block that one of them has.
class Input {
  public:
    Input() = default;
    Input(size_t tokens, size_t columns);
    // Gives row `t` its values: make(out) writes them. Then they are quantized for the matrices of `readers`.
    template <class Make> void fill(const Kernels& kernels, size_t t, size_t columns, std::span<const Linear* const> readers, Make make);
    Activations view(const Matrix& reader, size_t tokens) const;

  private:
    struct Quantized {
        Array<int8_t> codes;
        Array<float> scales;
        Array<int32_t> sums;
    };
    static size_t index(size_t block) { return block == 16 ? 0 : block == 32 ? 1 : 2; }

    Array<float> values_;  // [token][column], rows of whole tiles
    Quantized quantized_[3];
};

class Engine {
  public:
    explicit Engine(const Model& model);

    // Reads at most kMostRows rows. Tokens of one sequence follow each other. Logits of the wanted rows, in their order:
    // `logits_stride()` floats each, the caller's until the next step. Throws Error for a token or a length out of range.
    float* step(std::span<const Row> rows);
    size_t logits_stride() const { return model_.logits.width(); }
    std::mutex& mutex() { return mutex_; }

  private:
    void check(std::span<const Row> rows) const;
    void start(std::span<const Row> rows);
    void run(const Member& me, std::span<const Row> rows);
    void attention(const Member& me, std::span<const Row> rows, size_t layer);
    void store_keys(const Layer& layer, std::span<const Row> rows, size_t index, size_t row, size_t kv_head);
    void attend(const Member& me, const Layer& layer, std::span<const Row> rows, size_t index, size_t row, size_t first, size_t last);
    void feed_forward(const Member& me, size_t tokens, const Layer& layer);
    template <class Make>
    const Input& prepare(const Member& me, size_t tokens, size_t columns, std::initializer_list<const Linear*> readers, Make make);
    void turn(const float* from, float* out, size_t row, const std::vector<float>& norm) const;

    const Model& model_;
    std::mutex mutex_;
    Thrift thrift_;
    size_t group_ = 1;  // the most heads that share their keys
    std::vector<size_t> positions_, wanted_;  // of each row; rows whose logits are wanted
    Array<float> x_, q_, k_, v_, attended_, gate_, up_;
    Array<float> cosines_, sines_;  // [row][pair]
    std::vector<float> logits_;
    Input shared_;
    struct Scratch {
        Input input;
        std::vector<float> scores, outputs, vectors;
        std::vector<int8_t> codes;
        std::vector<float> scales;
        std::vector<int32_t> sums;
    };
    std::vector<Scratch> scratch_;  // of each thread
};

}  // namespace filament
