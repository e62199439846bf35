#include "sequence.hpp"

#include <algorithm>

#include "half.hpp"

namespace filament {
namespace {

constexpr size_t kMostPositions = size_t{1} << 26;
constexpr size_t kFetched = 128;  // positions that are asked for early: a longer row of lines is seen coming by the processor

void fetch_lines(const uint8_t* from, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(from + i, 0, 2);
}

}  // namespace

HeadCache::HeadCache(size_t head, size_t capacity, bool biased, uint8_t* place)
    : head_(whole(head, kTile)), capacity_(whole(capacity, kValueBlock)), blocks_(head_ / key_block(head_)), bias_(biased ? 0x80 : 0),
      keys_(place), values_(keys_ + capacity_ * head_), value_scales_(reinterpret_cast<float*>(values_ + capacity_ * head_)),
      key_scales_(reinterpret_cast<uint16_t*>(value_scales_ + capacity_)) {}

size_t HeadCache::bytes(size_t head, size_t capacity) {
    const size_t wide = whole(head, kTile), blocks = wide / key_block(wide);
    return whole(capacity, kValueBlock) * (2 * wide + sizeof(float) + blocks * sizeof(uint16_t));  // of 64 bytes, as 32 positions are
}

void HeadCache::store(const Kernels& kernels, size_t position, const float* key, const float* value) {
    int8_t codes[1024];
    float scales[64];
    int32_t sums[64];
    kernels.quantize(key, head_, key_block(head_), codes, scales, sums);
    for (size_t b = 0; b < blocks_; ++b) {
        key_scales_[(position / kTile * blocks_ + b) * kTile + position % kTile] = float_to_half(scales[b]);
    }
    const uint8_t bias = bias_;  // of our own, or every byte written might have changed it
    uint8_t* to = &keys_[position / kTile * kTile * head_ + position % kTile * 4];  // [tile][column / 4][position][4]
    for (size_t i = 0; i < head_; i += 4, to += kTile * 4) {
        for (size_t j = 0; j < 4; ++j) to[j] = static_cast<uint8_t>(codes[i + j]) ^ bias;
    }
    kernels.quantize(value, head_, head_, codes, &value_scales_[position], sums);
    to = &values_[position / 4 * kTile * 4 + position % 4];  // [value / 16][position / 4][value][4]
    for (size_t i = 0; i < head_; i += kTile, to += kTile * capacity_) {
        for (size_t j = 0; j < kTile; ++j) to[4 * j] = static_cast<uint8_t>(codes[i + j]) ^ bias;
    }
}

void HeadCache::fetch(size_t positions) const {
    const size_t n = std::min(whole(positions), kFetched);
    fetch_lines(keys_, n * head_);
    for (size_t i = 0; i < head_; i += kTile) fetch_lines(&values_[i * capacity_], n * kTile);
}

void HeadCache::copy(const HeadCache& from, size_t positions) {
    std::copy_n(from.key_scales_, whole(positions, kTile) * blocks_, key_scales_);
    std::copy_n(from.value_scales_, positions, value_scales_);
    std::copy_n(from.keys_, whole(positions, kTile) * head_, keys_);
    for (size_t i = 0; i < head_; i += kTile) {
        std::copy_n(&from.values_[i * from.capacity_], whole(positions, 4) * kTile, &values_[i * capacity_]);
    }
}

Matrix HeadCache::keys(size_t positions) const {
    Matrix m;
    m.layout = Layout::Bytes;
    m.rows = positions, m.columns = head_, m.block = key_block(head_);
    m.codes = keys_, m.stride = kTile * head_, m.scales = key_scales_;
    return m;
}

Matrix HeadCache::values(size_t positions) const {
    Matrix m;
    m.layout = Layout::BytesUnit;
    m.rows = head_, m.columns = whole(positions, kValueBlock), m.block = kValueBlock;
    m.codes = values_, m.stride = kTile * capacity_;
    return m;
}

Sequence::Sequence(const Model& model, size_t capacity) : capacity_(capacity) {
    const size_t each = HeadCache::bytes(model.head, capacity);
    size_t heads = 0;
    for (const Layer& layer : model.layers) heads += layer.kv_heads;
    if (capacity > kMostPositions || each * heads == 0) throw Error("there is no room for a text of " + std::to_string(capacity) + " tokens");
    memory_ = Mapped(each * heads);
    uint8_t* place = memory_.data();
    for (const Layer& layer : model.layers) {
        layers_.emplace_back();
        for (size_t i = 0; i < layer.kv_heads; ++i, place += each) {
            layers_.back().emplace_back(model.head, capacity, model.kernels().biased, place);
        }
    }
}

void Sequence::copy(const Sequence& from, size_t n) {
    for (size_t i = 0; i < layers_.size(); ++i) {
        for (size_t j = 0; j < layers_[i].size(); ++j) layers_[i][j].copy(from.layers_[i][j], n);
    }
    tokens.assign(from.tokens.begin(), from.tokens.begin() + static_cast<std::ptrdiff_t>(n));
}

}  // namespace filament
