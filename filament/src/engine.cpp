#include "engine.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace filament {
namespace {

constexpr size_t kAlone = 1u << 20;  // a step that reads fewer bytes of weights, tokens times, is not worth waking anybody

// The products of one input with several matrices, shared out by tiles as if they were one matrix.
struct Product {
    const Linear* linear;
    float* out;
};

void multiply(const Kernels& kernels, const Member& me, const Input& input, size_t tokens, std::initializer_list<Product> products, bool add) {
    size_t tiles = 0;
    for (const auto& [linear, _] : products) tiles += linear->matrix.tiles();
    auto [begin, end] = me.share(tiles);
    for (const auto& [linear, out] : products) {
        const size_t own = linear->matrix.tiles(), last = std::min(end, own);
        if (begin < last) {
            const size_t stride = linear->width();
            kernels.multiply(linear->matrix, input.view(linear->matrix, tokens), begin, last, out, stride, add);
            if (!linear->bias.empty()) {
                for (size_t t = 0; t < tokens; ++t) {
                    for (size_t r = begin * kTile; r < last * kTile; ++r) out[t * stride + r] += linear->bias[r];
                }
            }
        }
        begin -= std::min(begin, own), end -= std::min(end, own);
    }
}

}  // namespace

Input::Input(size_t tokens, size_t columns) : values_(tokens * whole(columns)) {
    const size_t n = tokens * whole(columns);
    for (Quantized& q : quantized_) q = {Array<int8_t>(n), Array<float>(n / kTile), Array<int32_t>(n / kTile)};
}

template <class Make>
void Input::fill(const Kernels& kernels, size_t t, size_t columns, std::span<const Linear* const> readers, Make make) {
    const size_t stride = whole(columns);
    float* values = values_.data() + t * stride;
    make(values);
    bool done[3] = {};
    for (const Linear* reader : readers) {
        const size_t block = reader->matrix.block, i = index(block);
        if (block == 1 || done[i]) continue;
        Quantized& q = quantized_[i];
        const size_t blocks = columns / block;
        kernels.quantize(values, columns, block, &q.codes[t * stride], &q.scales[t * blocks], &q.sums[t * blocks]);
        done[i] = true;
    }
}

Activations Input::view(const Matrix& reader, size_t tokens) const {
    const Quantized& q = quantized_[index(reader.block)];
    return {tokens, whole(reader.columns), reader.block, values_.data(), q.codes.data(), q.scales.data(), q.sums.data()};
}

Engine::Engine(const Model& model) : model_(model), thrift_(model.team().size()), scratch_(model.team().size()) {
    size_t queries = 0, keys = 0, hidden = 0;
    for (const Layer& layer : model.layers) {
        queries = std::max(queries, layer.heads * model.head), keys = std::max(keys, layer.kv_heads * model.head);
        hidden = std::max(hidden, layer.feed_forward);
        if (layer.kv_heads != 0) group_ = std::max(group_, layer.heads / layer.kv_heads);
    }
    const auto rows = [](size_t columns) { return Array<float>(kMostRows * whole(columns)); };
    x_ = rows(model.width), q_ = rows(queries), attended_ = rows(queries), k_ = rows(keys), v_ = rows(keys);
    gate_ = rows(hidden), up_ = rows(hidden), cosines_ = rows(model.head / 2), sines_ = rows(model.head / 2);
    shared_ = Input(kMostRows, model.widest());
    for (Scratch& scratch : scratch_) {
        scratch.input = Input(1, model.widest());
        scratch.vectors.resize(whole(model.head));
    }
}

float* Engine::step(std::span<const Row> rows) {
    check(rows);
    start(rows);
    const auto work = [&](bool alone) { model_.team().run([&](const Member& me) { run(me, rows); }, alone); };
    if (model_.team().size() == 1 || rows.size() * model_.weight_bytes < kAlone) work(true);
    else if (rows.size() == 1) thrift_.run(work);
    else work(false);
    return logits_.data();
}

void Engine::check(std::span<const Row> rows) const {
    if (rows.size() > kMostRows) throw Error("too many tokens for one step");
    for (const Row& row : rows) {
        const auto same = std::count_if(rows.begin(), rows.end(), [&](const Row& r) { return r.sequence == row.sequence; });
        if (row.sequence->length() + static_cast<size_t>(same) > row.sequence->capacity()) {
            throw Error("the text is longer than the " + std::to_string(row.sequence->capacity()) + " tokens there is room for");
        }
    }
}

// Positions, embeddings and the angles by which queries and keys are turned.
void Engine::start(std::span<const Row> rows) {
    positions_.clear(), wanted_.clear();
    const size_t width = whole(model_.width), pairs = model_.head / 2;
    size_t longest = 0;
    for (size_t t = 0; t < rows.size(); ++t) {
        positions_.push_back(rows[t].sequence->length());
        rows[t].sequence->tokens.push_back(rows[t].token);
        longest = std::max(longest, rows[t].sequence->length());
        if (rows[t].wanted) wanted_.push_back(t);
        model_.embed(static_cast<size_t>(rows[t].token), &x_[t * width]);
        std::fill(&x_[t * width] + model_.width, &x_[t * width] + width, 0.0f);  // damaged weights may have left no numbers
        for (size_t i = 0; i < pairs; ++i) {
            const double angle = static_cast<double>(positions_[t]) * model_.rope.frequencies[i];
            cosines_[t * pairs + i] = static_cast<float>(std::cos(angle)), sines_[t * pairs + i] = static_cast<float>(std::sin(angle));
        }
    }
    if (logits_.size() < wanted_.size() * logits_stride()) logits_.resize(wanted_.size() * logits_stride());
    const size_t room = whole(longest, kValueBlock), head = whole(model_.head);
    for (Scratch& scratch : scratch_) {
        scratch.scores.resize(std::max(scratch.scores.size(), group_ * room));
        scratch.outputs.resize(group_ * head);
        const size_t most = group_ * std::max(room, head);
        if (scratch.codes.size() < most) scratch.codes.resize(most), scratch.scales.resize(most), scratch.sums.resize(most);
    }
}

void Engine::run(const Member& me, std::span<const Row> rows) {
    for (size_t i = 0; i < model_.layers.size(); ++i) {
        if (model_.layers[i].heads != 0) attention(me, rows, i);
        if (model_.layers[i].feed_forward != 0) feed_forward(me, rows.size(), model_.layers[i]);
    }
    if (wanted_.empty()) return;
    const size_t width = whole(model_.width);
    const Input& input = prepare(me, wanted_.size(), model_.width, {&model_.logits}, [&](size_t t, float* out) {
        model_.kernels().rms_norm(&x_[wanted_[t] * width], model_.output_norm.data(), model_.width, model_.epsilon, out);
    });
    multiply(model_.kernels(), me, input, wanted_.size(), {{&model_.logits, logits_.data()}}, false);
}

// The input of the next matrices: make(t, out) writes the values of token t. A single token is prepared by every thread
// for itself, which is quicker than waiting for another.
template <class Make>
const Input& Engine::prepare(const Member& me, size_t tokens, size_t columns, std::initializer_list<const Linear*> readers, Make make) {
    Input& input = tokens == 1 ? scratch_[me.index].input : shared_;
    const auto [begin, end] = tokens == 1 ? std::pair<size_t, size_t>{0, 1} : me.share(tokens);
    for (size_t t = begin; t < end; ++t) {
        input.fill(model_.kernels(), t, columns, {readers.begin(), readers.size()}, [&](float* out) { make(t, out); });
    }
    if (tokens > 1) me.barrier();
    return input;
}

void Engine::attention(const Member& me, std::span<const Row> rows, size_t index) {
    const Layer& layer = model_.layers[index];
    const Kernels& kernels = model_.kernels();
    const size_t width = whole(model_.width), tokens = rows.size();
    const Input& input = prepare(me, tokens, model_.width, {&layer.q, &layer.k, &layer.v}, [&](size_t t, float* out) {
        kernels.rms_norm(&x_[t * width], layer.attention_norm.data(), model_.width, model_.epsilon, out);
    });
    const auto [first_key, last_key] = me.share(tokens * layer.kv_heads);
    if (tokens == 1) for (size_t i = first_key; i < last_key; ++i) rows[0].sequence->head(index, i).fetch(positions_[0] + 1);
    multiply(kernels, me, input, tokens, {{&layer.q, q_.data()}, {&layer.k, k_.data()}, {&layer.v, v_.data()}}, false);
    me.barrier();

    for (size_t i = first_key; i < last_key; ++i) store_keys(layer, rows, index, i / layer.kv_heads, i % layer.kv_heads);
    me.barrier();

    const size_t group = layer.heads / layer.kv_heads;
    auto [head, last] = me.share(tokens * layer.heads);
    while (head < last) {  // heads that read the same keys go together
        const size_t row = head / layer.heads, first = head % layer.heads;
        const size_t count = std::min(last - head, group - first % group);
        attend(me, layer, rows, index, row, first, first + count);
        head += count;
    }
    me.barrier();

    const size_t attended = whole(layer.heads * model_.head);
    const Input& mixed = prepare(me, tokens, layer.heads * model_.head, {&layer.output}, [&](size_t t, float* out) {
        std::memcpy(out, &attended_[t * attended], attended * sizeof(float));
    });
    multiply(kernels, me, mixed, tokens, {{&layer.output, x_.data()}}, true);
    me.barrier();
}

// A head's values, normed where the model does so, turned by the position of `row`, followed by zeros.
void Engine::turn(const float* from, float* out, size_t row, const std::vector<float>& norm) const {
    const size_t n = model_.head, pairs = n / 2;
    std::copy_n(from, n, out);
    std::fill(out + n, out + whole(n), 0.0f);
    if (!norm.empty()) model_.kernels().rms_norm(out, norm.data(), n, model_.epsilon, out);
    const float *cosines = &cosines_[row * pairs], *sines = &sines_[row * pairs];
    const size_t step = model_.rope.halves ? 1 : 2, other = model_.rope.halves ? pairs : 1;
    for (size_t i = 0; i < pairs; ++i) {
        float &a = out[i * step], &b = out[i * step + other];
        const float x = a, y = b;
        a = x * cosines[i] - y * sines[i], b = x * sines[i] + y * cosines[i];
    }
}

void Engine::store_keys(const Layer& layer, std::span<const Row> rows, size_t index, size_t row, size_t kv_head) {
    float key[1024], value[1024];
    turn(&k_[row * layer.k.width() + kv_head * model_.head], key, row, layer.k_norm);
    std::copy_n(&v_[row * layer.v.width() + kv_head * model_.head], model_.head, value);
    std::fill(value + model_.head, value + whole(model_.head), 0.0f);
    rows[row].sequence->head(index, kv_head).store(model_.kernels(), positions_[row], key, value);
}

// Heads [first, last) of one row, which share their keys: scores by one product, values by another.
void Engine::attend(const Member& me, const Layer& layer, std::span<const Row> rows, size_t index, size_t row, size_t first, size_t last) {
    const Kernels& kernels = model_.kernels();
    Scratch& s = scratch_[me.index];
    const size_t count = last - first, head = whole(model_.head), n = positions_[row] + 1, room = whole(n, kValueBlock);
    const size_t block = key_block(head), parts = head / block;
    const HeadCache& cache = rows[row].sequence->head(index, first / (layer.heads / layer.kv_heads));
    for (size_t h = 0; h < count; ++h) {
        turn(&q_[row * layer.q.width() + (first + h) * model_.head], s.vectors.data(), row, layer.q_norm);
        kernels.quantize(s.vectors.data(), head, block, &s.codes[h * head], &s.scales[h * parts], &s.sums[h * parts]);
    }
    const Matrix keys = cache.keys(n);
    kernels.multiply(keys, {count, head, block, nullptr, s.codes.data(), s.scales.data(), s.sums.data()}, 0, keys.tiles(), s.scores.data(), room, false);

    const float per_root = 1.0f / std::sqrt(static_cast<float>(model_.head));
    const size_t blocks = room / kValueBlock;
    for (size_t h = 0; h < count; ++h) {
        float* scores = &s.scores[h * room];
        const float total = kernels.exponentials(scores, n, room, per_root);
        kernels.scale(scores, cache.value_scales(), room, 1 / total);
        kernels.quantize(scores, room, kValueBlock, &s.codes[h * room], &s.scales[h * blocks], &s.sums[h * blocks]);
    }
    const Activations weights{count, room, kValueBlock, nullptr, s.codes.data(), s.scales.data(), s.sums.data()};
    kernels.multiply(cache.values(n), weights, 0, head / kTile, s.outputs.data(), head, false);
    const size_t stride = whole(layer.heads * model_.head);
    for (size_t h = 0; h < count; ++h) {
        std::copy_n(&s.outputs[h * head], model_.head, &attended_[row * stride + (first + h) * model_.head]);
    }
}

void Engine::feed_forward(const Member& me, size_t tokens, const Layer& layer) {
    const Kernels& kernels = model_.kernels();
    const size_t width = whole(model_.width), hidden = layer.up.width();
    const Input& input = prepare(me, tokens, model_.width, {&layer.gate, &layer.up}, [&](size_t t, float* out) {
        kernels.rms_norm(&x_[t * width], layer.feed_forward_norm.data(), model_.width, model_.epsilon, out);
    });
    multiply(kernels, me, input, tokens, {{&layer.gate, gate_.data()}, {&layer.up, up_.data()}}, false);
    me.barrier();
    const Input& gated = prepare(me, tokens, layer.feed_forward, {&layer.down}, [&](size_t t, float* out) {
        kernels.gate(&gate_[t * hidden], &up_[t * hidden], layer.feed_forward, out);
    });
    multiply(kernels, me, gated, tokens, {{&layer.down, x_.data()}}, true);
    me.barrier();
}

}  // namespace filament
