#include "sequence.hpp"

#include <algorithm>

#include "half.hpp"

namespace filament {
namespace {

size_t whole(size_t n, size_t step) {
    return (n + step - 1) / step * step;
}

}  // namespace

HeadCache::HeadCache(size_t head, size_t capacity, bool biased)
    : head_(whole(head, kTile)), capacity_(whole(capacity, kValueBlock)), bias_(biased ? 0x80 : 0),
      key_scales_(capacity_), value_scales_(capacity_), keys_(capacity_ * head_), values_(capacity_ * head_) {}

void HeadCache::store(const Kernels& kernels, size_t position, const float* key, const float* value) {
    int8_t codes[1024];
    float scale;
    int32_t sum;
    kernels.quantize(key, head_, head_, codes, &scale, &sum);
    key_scales_[position] = float_to_half(scale);
    uint8_t* to = &keys_[position / kTile * kTile * head_ + position % kTile * 4];  // [tile][column / 4][position][4]
    for (size_t i = 0; i < head_; i += 4, to += kTile * 4) {
        for (size_t j = 0; j < 4; ++j) to[j] = static_cast<uint8_t>(codes[i + j]) ^ bias_;
    }
    kernels.quantize(value, head_, head_, codes, &value_scales_[position], &sum);
    to = &values_[position / 4 * kTile * 4 + position % 4];  // [value / 16][position / 4][value][4]
    for (size_t i = 0; i < head_; i += kTile, to += kTile * capacity_) {
        for (size_t j = 0; j < kTile; ++j) to[4 * j] = static_cast<uint8_t>(codes[i + j]) ^ bias_;
    }
}

void HeadCache::copy(const HeadCache& from, size_t positions) {
    std::copy_n(from.key_scales_.begin(), positions, key_scales_.begin());
    std::copy_n(from.value_scales_.begin(), positions, value_scales_.begin());
    std::copy_n(from.keys_.begin(), whole(positions, kTile) * head_, keys_.begin());
    for (size_t i = 0; i < head_; i += kTile) {
        std::copy_n(&from.values_[i * from.capacity_], whole(positions, 4) * kTile, &values_[i * capacity_]);
    }
}

Matrix HeadCache::keys(size_t positions) const {
    Matrix m;
    m.layout = Layout::Bytes;
    m.rows = positions, m.columns = m.block = head_;
    m.codes = keys_.data(), m.stride = kTile * head_, m.scales = key_scales_.data();
    return m;
}

Matrix HeadCache::values(size_t positions) const {
    Matrix m;
    m.layout = Layout::BytesUnit;
    m.rows = head_, m.columns = whole(positions, kValueBlock), m.block = kValueBlock;
    m.codes = values_.data(), m.stride = kTile * capacity_;
    return m;
}

Sequence::Sequence(const Model& model, size_t capacity) : capacity_(capacity) {
    for (const Layer& layer : model.layers) {
        layers_.emplace_back();
        for (size_t i = 0; i < layer.kv_heads; ++i) layers_.back().emplace_back(model.head, capacity, model.kernels().biased);
    }
}

void Sequence::copy(const Sequence& from, size_t n) {
    for (size_t i = 0; i < layers_.size(); ++i) {
        for (size_t j = 0; j < layers_[i].size(); ++j) layers_[i][j].copy(from.layers_[i][j], n);
    }
    tokens.assign(from.tokens.begin(), from.tokens.begin() + static_cast<std::ptrdiff_t>(n));
}

}  // namespace filament
