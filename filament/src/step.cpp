#include "step.hpp"

#include <algorithm>

#include "model.hpp"

namespace filament {

Input::Input(size_t tokens, size_t columns) : values_(tokens * round_up(columns)) {
    const size_t n = tokens * round_up(columns);
    for (Quantized& q : quantized_) q = {Array<int8_t>(n), Array<float>(n / kTile), Array<int32_t>(n / kTile)};
}

void Input::read(const Kernels& kernels, size_t t, size_t columns, Readers readers, const float* x) {
    const size_t stride = round_up(columns);
    const auto is_float = [](const Linear* reader) { return reader->matrix.block() == 1; };
    if (std::any_of(readers.begin(), readers.end(), is_float)) std::copy_n(x, stride, &values_[t * stride]);
    quantize(kernels, t, columns, readers, x);
}

void Input::quantize(const Kernels& kernels, size_t t, size_t columns, Readers readers, const float* x) {
    const size_t stride = round_up(columns);
    bool done[3] = {};
    for (const Linear* reader : readers) {
        const size_t block = reader->matrix.block(), i = index(block);
        if (block == 1 || done[i]) continue;
        Quantized& q = quantized_[i];
        const size_t blocks = columns / block;
        kernels.quantize(x, columns, block, &q.codes[t * stride], &q.scales[t * blocks], &q.sums[t * blocks]);
        done[i] = true;
    }
}

Activations Input::view(const Matrix& reader, size_t tokens) const {
    const Quantized& q = quantized_[index(reader.block())];
    return {tokens, round_up(reader.columns), values_.data(), q.codes.data(), q.scales.data(), q.sums.data()};
}

Workspace::Workspace(const Model& model, size_t threads) : scratch(threads) {
    const auto floats = [](size_t columns) { return Array<float>(kMostRows * round_up(columns)); };
    std::vector<size_t> columns;
    const auto grow = [&](const Branch* user) {
        if (!user) return;
        const std::vector<size_t> wanted = user->buffers();
        columns.resize(std::max(columns.size(), wanted.size()));
        for (size_t i = 0; i < wanted.size(); ++i) columns[i] = std::max(columns[i], wanted[i]);
    };
    for (const Layer& layer : model.layers) grow(layer.mixer.branch.get()), grow(layer.feed_forward.branch.get());
    for (const size_t n : columns) buffers.push_back(floats(n));
    residual = floats(model.width), branch = floats(model.width);
    angles.resize(model.ropes.size());
    const size_t widest = model.widest();
    input = Input(kMostRows, widest);
    for (Scratch& each : scratch) each.input = Input(1, widest);
}

const Kernels& Step::kernels() const { return model.kernels(); }

float* Step::residual(size_t t) const { return &space.residual[t * round_up(model.width)]; }

const Input& Step::prepare(const Norm& norm, Readers readers) const {
    return prepare(tokens, model.width, readers,
                   [&](size_t t, float* out) { norm.apply(kernels(), residual(t), model.width, out); });
}

void multiply(const Kernels& kernels, const Worker& worker, const Input& input, size_t tokens,
              std::initializer_list<Product> products, bool add) {
    size_t tiles = 0;
    for (const auto& [linear, _] : products) tiles += linear->matrix.tiles();
    auto [begin, end] = worker.share(tiles);
    for (const auto& [linear, out] : products) {
        const size_t own = linear->matrix.tiles(), last = std::min(end, own);
        if (begin < last) {
            const Activations x = input.view(linear->matrix, tokens);
            kernels.multiply(linear->matrix, x, begin, last, out, linear->width(), add);
        }
        begin -= std::min(begin, own), end -= std::min(end, own);
    }
}

}  // namespace filament
