#include "attention.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "model.hpp"
#include "sequence.hpp"
#include "step.hpp"

namespace filament {
namespace {

enum Buffer : size_t { kQueries, kKeys, kValues, kAttended };

}  // namespace

std::vector<size_t> Attention::buffers() const {
    return {heads * head_width, kv_heads * head_width, kv_heads * head_width, heads * head_width};
}

std::unique_ptr<MixerState> Attention::make_state(size_t capacity, uint8_t* place) const {
    return std::make_unique<KvCache>(kv_heads, head_width, capacity, biased, place);
}

Cost Attention::cost(size_t context) const {
    const size_t seen = window == 0 ? context : std::min(context, window), stored = round_up(head_width);
    const size_t position = 2 * stored + sizeof(float) + stored / key_block(stored) * sizeof(uint16_t);
    return {kv_heads * seen * position, 4 * heads * head_width * seen};
}

void Attention::reserve(Scratch& s, size_t longest) const {
    const size_t padded = round_up(longest, kValueBlock), stored = round_up(head_width);
    const auto grow = [](auto& numbers, size_t n) {
        if (numbers.size() < n) numbers.resize(n);
    };
    grow(s.vectors, stored), grow(s.outputs, group() * stored), grow(s.scores, group() * padded);
    const size_t most = group() * std::max(padded, stored);
    grow(s.codes, most), grow(s.scales, most), grow(s.sums, most);
}

HeadCache& Attention::cache(const Step& step, size_t row, size_t kv_head) const {
    return static_cast<KvCache&>(step.space.rows[row].sequence->state(layer)).heads[kv_head];
}

void Attention::run(const Step& step, const Norm& norm, Output out) const {
    const size_t tokens = step.tokens, outputs = step.outputs;
    auto& buffers = step.space.buffers;
    const Input& input = step.prepare(norm, {&q, &k, &v});
    const auto [first_key, last_key] = step.worker.share(tokens * kv_heads);
    if (tokens == 1) {
        const size_t position = step.space.positions[0], seen = first_seen(position);
        for (size_t i = first_key; i < last_key; ++i) cache(step, 0, i).fetch(seen, position + 1);
    }
    step.multiply(input, outputs, {{&q, buffers[kQueries].data()}}, false);
    step.multiply(input, tokens, {{&k, buffers[kKeys].data()}, {&v, buffers[kValues].data()}}, false);
    step.worker.barrier();

    for (size_t i = first_key; i < last_key; ++i) store_keys(step, i / kv_heads, i % kv_heads);
    step.worker.barrier();

    auto [head, last] = step.worker.share(outputs * heads);
    while (head < last) {  // heads that read the same keys go together
        const size_t row = head / heads, first = head % heads;
        const size_t count = std::min(last - head, group() - first % group());
        attend(step, row, first, first + count);
        head += count;
    }
    step.worker.barrier();

    const size_t stride = round_up(heads * head_width);
    const Input& mixed = step.prepare(outputs, heads * head_width, {&output}, [&](size_t t, float* to) {
        const float* attended = &buffers[kAttended][t * stride];
        if (out_norm) out_norm.apply(step.kernels(), attended, heads * head_width, to);
        else std::memcpy(to, attended, stride * sizeof(float));
    });
    step.multiply(mixed, outputs, {{&output, out.to}}, out.add);
    step.worker.barrier();
}

// A head's values, normed where the model does so, turned by the position of `row`, followed by zeros.
void Attention::apply_rope(const Step& step, const float* from, float* out, size_t row, const Norm& norm) const {
    const size_t n = head_width, pairs = n / 2;
    std::copy_n(from, n, out);
    std::fill(out + n, out + round_up(n), 0.0f);
    if (norm) norm.apply(step.kernels(), out, n, out);
    const Angles& angles = step.space.angles[rope];
    const size_t at = step.space.positions[row] * pairs;
    const float *cosines = &angles.cosines[at], *sines = &angles.sines[at];
    const bool halves = step.model.ropes[rope].halves;
    const size_t stride = halves ? 1 : 2, other = halves ? pairs : 1;
    for (size_t i = 0; i < pairs; ++i) {
        float &a = out[i * stride], &b = out[i * stride + other];
        const float x = a, y = b;
        a = x * cosines[i] - y * sines[i], b = x * sines[i] + y * cosines[i];
    }
}

void Attention::store_keys(const Step& step, size_t row, size_t kv_head) const {
    float key[kMostHeadWidth], value[kMostHeadWidth];
    const size_t at = kv_head * head_width;
    apply_rope(step, &step.space.buffers[kKeys][row * k.width() + at], key, row, k_norm);
    std::copy_n(&step.space.buffers[kValues][row * v.width() + at], head_width, value);
    std::fill(value + head_width, value + round_up(head_width), 0.0f);
    cache(step, row, kv_head).store(step.kernels(), step.space.positions[row], key, value);
}

// Heads [first, last) of one row, which share their keys: scores by one product, values by another.
void Attention::attend(const Step& step, size_t row, size_t first, size_t last) const {
    const Kernels& kernels = step.kernels();
    Scratch& s = step.scratch();
    const size_t count = last - first, stored = round_up(head_width), block = key_block(stored), parts = stored / block;
    for (size_t h = 0; h < count; ++h) {
        const float* query = &step.space.buffers[kQueries][row * q.width() + (first + h) * head_width];
        apply_rope(step, query, s.vectors.data(), row, q_norm);
        kernels.quantize(s.vectors.data(), stored, block, &s.codes[h * stored], &s.scales[h * parts],
                         &s.sums[h * parts]);
    }
    const HeadCache& cache = this->cache(step, row, first / group());
    const size_t end = step.space.positions[row] + 1, seen = first_seen(end - 1),
                 begin = seen / kValueBlock * kValueBlock;
    const size_t padded = round_up(end, kValueBlock) - begin, blocks = padded / kValueBlock;
    const Matrix keys = cache.keys(begin, end);
    kernels.multiply(keys, {count, stored, nullptr, s.codes.data(), s.scales.data(), s.sums.data()}, 0, keys.tiles(),
                     s.scores.data(), padded, false);
    for (size_t h = 0; h < count; ++h) {
        float* scores = &s.scores[h * padded];
        const float total = kernels.softmax_exp(scores, seen - begin, end - begin, padded, scale);
        kernels.scale(scores, cache.value_scales() + begin, padded, 1 / total);
        kernels.quantize(scores, padded, kValueBlock, &s.codes[h * padded], &s.scales[h * blocks], &s.sums[h * blocks]);
    }
    const Activations weights{count, padded, nullptr, s.codes.data(), s.scales.data(), s.sums.data()};
    kernels.multiply(cache.values(begin, end), weights, 0, stored / kTile, s.outputs.data(), stored, false);
    float* attended = &step.space.buffers[kAttended][row * round_up(heads * head_width)];
    for (size_t h = 0; h < count; ++h)
        std::copy_n(&s.outputs[h * stored], head_width, attended + (first + h) * head_width);
}

void LinearMixer::run(const Step& step, const Norm& norm, Output out) const {
    const Input& input = step.prepare(norm, {&output});
    if (step.tokens == 1) step.worker.barrier();  // every thread reads all of what the product is added to
    step.multiply(input, step.tokens, {{&output, out.to}}, out.add);
    step.worker.barrier();
}

}  // namespace filament
