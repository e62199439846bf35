// A model: its shape and its matrices, packed for this processor.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "gguf.hpp"
#include "layer.hpp"
#include "memory.hpp"
#include "thread_pool.hpp"

namespace filament {

struct Rope {
    bool halves = false;              // pairs are (i, i + d/2), not (2i, 2i + 1)
    std::vector<double> frequencies;  // of each pair: angle = position * frequency
};

class Model {
  public:
    // Throws Error for a file that cannot be read or run.
    Model(const std::string& path, size_t threads, const Kernels& kernels);

    const Kernels& kernels() const { return kernels_; }
    ThreadPool& pool() const { return *pool_; }
    const File& file() const { return *file_; }

    size_t width = 0, vocabulary = 0, context = 0;
    const Tensor* embedding = nullptr;
    float embedding_scale = 1;
    std::vector<Rope> ropes;  // a layer names its own
    std::vector<Layer> layers;
    Norm output_norm;
    Linear logits;
    Buffer weights;
    size_t weight_bytes = 0;  // packed

    // What writing one token after `context` others reads and multiplies.
    Cost cost(size_t context) const;
    // The embedding of a token: `width` floats.
    void embed(size_t token, float* out) const;
    size_t widest() const;  // of all that matrices read, in whole tiles

  private:
    std::unique_ptr<File> file_;
    const Kernels& kernels_;
    std::unique_ptr<ThreadPool> pool_;
};

}  // namespace filament
