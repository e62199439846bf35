// A BERT encoder with a label head (Devlin et al. 2019) as its file holds it, packed for this processor.
#pragma once

#include <string>
#include <vector>

#include "classifier.hpp"
#include "gguf.hpp"
#include "layer.hpp"
#include "memory.hpp"

namespace filament {

struct LayerNorm {
    std::vector<float> weight, bias;  // whole tiles
    float epsilon = 0;

    void apply(const Kernels& kernels, const float* x, size_t n, float* out) const {
        kernels.layer_norm(x, weight.data(), bias.data(), n, epsilon, out);
    }
};

struct EncoderLayer {
    Linear q, k, v, output, up, down;
    LayerNorm attention_norm, output_norm;
};

struct EncoderModel {
    // Throws Error for a file that is damaged or not understood.
    EncoderModel(const File& file, const Means& means, size_t answers);

    size_t width = 0, heads = 0, head_width = 0, hidden = 0, vocabulary = 0;
    size_t positions = 0;     // tokens that a text may have
    bool first_only = false;  // the first token stands for the text, not the mean
    bool normalizes = false;  // what the head reads to length 1
    const Tensor* embedding = nullptr;
    std::vector<float> places;  // [position][width]: what is added to a token there
    LayerNorm embedding_norm;
    std::vector<EncoderLayer> layers;
    Linear head;
    Buffer weights;
};

}  // namespace filament
