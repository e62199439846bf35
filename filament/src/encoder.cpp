#include "encoder.hpp"

#include <algorithm>
#include <cmath>

#include "pack.hpp"

namespace filament {
namespace {

constexpr size_t kQueries = 64;  // whose scores are held at once

Matrix float_matrix(const std::vector<float>& codes, size_t rows, size_t columns) {
    Matrix m;
    m.layout = Layout::F32;
    m.rows = rows, m.columns = columns;
    m.codes = reinterpret_cast<const uint8_t*>(codes.data()), m.stride = m.tile_bytes();
    return m;
}

Activations float_rows(const float* values, size_t rows, size_t stride) {
    return {rows, stride, values, nullptr, nullptr, nullptr};
}

template <class T> void grow(std::vector<T>& numbers, size_t n) {
    if (numbers.size() < n) numbers.resize(n);
}

}  // namespace

Encoder::Encoder(const File& file, const Means& means, size_t answers)
    : kernels_(means.kernels), pool_(means.pool), model_(file, means, answers) {
    make_room();
}

void Encoder::make_room() {
    const size_t most = std::max(model_.positions, kMostRows);
    const auto floats = [&](size_t columns) { return Array<float>(most * round_up(columns)); };
    for (Array<float>* each : {&residual_, &q_, &v_, &attended_}) *each = floats(model_.width);
    k_ = Array<float>((most + kTile) * round_up(model_.width));  // keys are read in whole tiles
    raised_ = floats(model_.hidden);
    input_ = Input(most, std::max(model_.width, model_.hidden)), pooled_ = Input(kMostRows, model_.width);
    scratch_.resize(pool_->size());
}

// Room for the heads of a text: a job must not throw.
void Encoder::reserve(size_t longest) {
    const size_t padded = round_up(longest), wide = round_up(model_.head_width);
    for (Scratch& s : scratch_) {
        grow(s.keys, padded * model_.head_width), grow(s.values, wide * longest);
        grow(s.scores, kQueries * padded), grow(s.attended, kQueries * wide);
    }
}

const float* Encoder::scores(std::span<const Tokens> texts) {
    tokens_ = 0, rows_.clear();
    size_t longest = 0;
    for (const Tokens& text : texts) {
        rows_.push_back({&text, tokens_, text.size()});
        tokens_ += text.size(), longest = std::max(longest, text.size());
    }
    reserve(longest);
    grow(scores_, texts.size() * stride());
    pool_->run([&](const Worker& worker) { run(worker); }, tokens_ * model_.weights.size() < kAlone);
    return scores_.data();
}

void Encoder::run(const Worker& worker) {
    const auto [begin, end] = worker.share(rows_.size());
    for (size_t i = begin; i < end; ++i) {
        for (size_t p = 0; p < rows_[i].count; ++p) embed(rows_[i].first + p, rows_[i], p);
    }
    worker.barrier();
    for (size_t i = 0; i < model_.layers.size(); ++i) {
        mix(worker, model_.layers[i]);
        feed_forward(worker, model_.layers[i], model_.layers[std::min(i + 1, model_.layers.size() - 1)]);
    }
    for (size_t i = begin; i < end; ++i)
        pooled_.fill(kernels_, i, model_.width, {&model_.head}, [&](float* out) { pool(rows_[i], out); });
    worker.barrier();
    multiply(kernels_, worker, pooled_, rows_.size(), {{&model_.head, scores_.data()}}, false);
}

void Encoder::embed(size_t t, const Rows& rows, size_t position) {
    float* x = row(t);
    read_row(*model_.embedding, static_cast<size_t>((*rows.tokens)[position]), x);
    for (size_t i = 0; i < model_.width; ++i) x[i] += model_.places[position * model_.width + i];
    const EncoderLayer& next = model_.layers.front();
    norm(t, model_.embedding_norm, {&next.q, &next.k, &next.v});
}

void Encoder::norm(size_t t, const LayerNorm& norm, Readers readers) {
    float* x = row(t);
    norm.apply(kernels_, x, model_.width, x);
    input_.read(kernels_, t, model_.width, readers, x);
}

void Encoder::mix(const Worker& worker, const EncoderLayer& layer) {
    multiply(kernels_, worker, input_, tokens_, {{&layer.q, q_.data()}, {&layer.k, k_.data()}, {&layer.v, v_.data()}},
             false);
    worker.barrier();
    const auto [begin, end] = worker.share(rows_.size() * model_.heads);
    for (size_t i = begin; i < end; ++i) attend(rows_[i / model_.heads], i % model_.heads, scratch_[worker.index]);
    worker.barrier();
    const size_t stride = round_up(model_.width);
    each_row(worker,
             [&](size_t t) { input_.read(kernels_, t, model_.width, {&layer.output}, &attended_[t * stride]); });
    multiply(kernels_, worker, input_, tokens_, {{&layer.output, residual_.data()}}, true);
    worker.barrier();
}

// One head of a text: its keys are a matrix whose rows are positions, its values one whose columns are.
void Encoder::attend(const Rows& rows, size_t head, Scratch& s) {
    const size_t stride = round_up(model_.width), n = rows.count, padded = round_up(n),
                 wide = round_up(model_.head_width);
    const size_t at = rows.first * stride + head * model_.head_width;
    for (size_t p = 0; p < padded; p += kTile) {
        const float* from = &k_[at + p * stride];
        float* key = &s.keys[p * model_.head_width];
        for (size_t c = 0; c < model_.head_width; ++c) {
            for (size_t r = 0; r < kTile; ++r) *key++ = from[r * stride + c];  // their scores are cut off beyond n
        }
    }
    for (size_t c = 0; c < wide; c += kTile) {
        const size_t real = std::min(kTile, model_.head_width - c);
        for (size_t p = 0; p < n; ++p) {
            float* value = &s.values[c * n + p * kTile];
            std::copy_n(&v_[at + p * stride + c], real, value);
            std::fill(value + real, value + kTile, 0.0f);
        }
    }
    const Matrix keys = float_matrix(s.keys, n, model_.head_width),
                 values = float_matrix(s.values, model_.head_width, n);
    const float scale = 1 / std::sqrt(static_cast<float>(model_.head_width));
    for (size_t first = 0; first < n; first += kQueries) {
        const size_t count = std::min(kQueries, n - first), from = at + first * stride;
        float factors[kQueries];
        kernels_.multiply(keys, float_rows(&q_[from], count, stride), 0, keys.tiles(), s.scores.data(), padded, false);
        for (size_t i = 0; i < count; ++i)
            factors[i] = 1 / kernels_.softmax_exp(&s.scores[i * padded], 0, n, padded, scale);
        kernels_.multiply(values, float_rows(s.scores.data(), count, padded), 0, values.tiles(), s.attended.data(),
                          wide, false);
        for (size_t i = 0; i < count; ++i) {
            for (size_t c = 0; c < model_.head_width; ++c)
                attended_[from + i * stride + c] = s.attended[i * wide + c] * factors[i];
        }
    }
}

void Encoder::feed_forward(const Worker& worker, const EncoderLayer& layer, const EncoderLayer& next) {
    const size_t stride = layer.up.width();
    each_row(worker, [&](size_t t) { norm(t, layer.attention_norm, {&layer.up}); });
    multiply(kernels_, worker, input_, tokens_, {{&layer.up, raised_.data()}}, false);
    worker.barrier();
    each_row(worker, [&](size_t t) {
        input_.fill(kernels_, t, model_.hidden, {&layer.down},
                    [&](float* out) { kernels_.gelu(&raised_[t * stride], model_.hidden, out); });
    });
    multiply(kernels_, worker, input_, tokens_, {{&layer.down, residual_.data()}}, true);
    worker.barrier();
    each_row(worker, [&](size_t t) { norm(t, layer.output_norm, {&next.q, &next.k, &next.v}); });
}

void Encoder::pool(const Rows& rows, float* out) const {
    const size_t count = model_.first_only ? 1 : rows.count;
    std::fill_n(out, round_up(model_.width), 0.0f);
    for (size_t p = 0; p < count; ++p) {
        const float* x = row(rows.first + p);
        for (size_t i = 0; i < model_.width; ++i) out[i] += x[i];
    }
    double squares = 0;
    for (size_t i = 0; i < model_.width; ++i) {
        out[i] /= static_cast<float>(count);
        squares += double(out[i]) * double(out[i]);
    }
    if (!model_.normalizes) return;
    const float length = std::max(static_cast<float>(std::sqrt(squares)), 1e-12f);
    for (size_t i = 0; i < model_.width; ++i) out[i] /= length;
}

}  // namespace filament
