// A model: its shape and its matrices, packed for this processor.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels.hpp"
#include "pack.hpp"
#include "team.hpp"

namespace filament {

// A linear map with an optional bias; rows is padded to whole tiles in every output.
struct Linear {
    Matrix matrix;
    std::vector<float> bias;
    size_t packing = 0;  // which of the matrices to pack, while loading

    explicit operator bool() const { return matrix.rows != 0; }
    size_t width() const { return matrix.tiles() * kTile; }
};

struct Layer {
    size_t heads = 0, kv_heads = 0, feed_forward = 0;
    std::vector<float> attention_norm, q_norm, k_norm, feed_forward_norm;
    Linear q, k, v, output;    // absent in a layer without attention
    Linear gate, up, down;     // absent in a layer without feed-forward
};

struct Rope {
    bool halves = false;             // pairs are (i, i + d/2), not (2i, 2i + 1)
    std::vector<double> frequencies;  // of each pair: angle = position * frequency
};

class Model {
  public:
    Model(const std::string& path, size_t threads, const Kernels& kernels);

    const Kernels& kernels() const { return kernels_; }
    Team& team() const { return *team_; }
    const File& file() const { return *file_; }

    size_t width = 0, head = 0, vocabulary = 0, context = 0;
    float epsilon = 0;
    Rope rope;
    std::vector<Layer> layers;
    std::vector<float> output_norm;
    Linear logits;
    size_t weight_bytes = 0;  // packed

    // What writing one token after `context` others reads and multiplies.
    struct Cost {
        size_t bytes, operations;
    };
    Cost cost(size_t context) const;
    // The embedding of a token: `width` floats.
    void embed(size_t token, float* out) const;
    size_t widest() const;  // of all vectors that a layer makes

  private:
    void read_shape();
    void read_layers();
    Layer read_layer(size_t index, const std::string& prefix);
    Linear linear(const std::string& name, size_t rows, size_t columns);
    Linear cut(const std::string& name, size_t first, size_t rows, size_t columns);
    std::vector<float> vector(const std::string& name, size_t n, bool needed = true);
    void pack_all();

    std::unique_ptr<File> file_;
    const Kernels& kernels_;
    std::unique_ptr<Team> team_;
    const Tensor* embedding_ = nullptr;
    std::string architecture_;
    std::vector<int64_t> heads_, kv_heads_, feed_forward_;
    Buffer weights_;
    std::vector<Packing> packings_;  // while loading
};

}  // namespace filament
