#include "kv_cache.hpp"

#include <algorithm>

#include "half.hpp"

namespace filament {
namespace {

constexpr size_t kFetched = 128;  // positions that are asked for early: the processor sees longer rows coming

void fetch_lines(const uint8_t* from, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(from + i, 0, 2);
}

}  // namespace

HeadCache::HeadCache(size_t head, size_t capacity, bool biased, uint8_t* place)
    : head_(round_up(head, kTile)),
      capacity_(round_up(capacity, kValueBlock)),
      blocks_(head_ / key_block(head_)),
      bias_(biased ? 0x80 : 0),
      keys_(place),
      values_(keys_ + capacity_ * head_),
      value_scales_(reinterpret_cast<float*>(values_ + capacity_ * head_)),
      key_scales_(reinterpret_cast<uint16_t*>(value_scales_ + capacity_)) {}

size_t HeadCache::bytes(size_t head, size_t capacity) {
    const size_t wide = round_up(head, kTile), blocks = wide / key_block(wide);
    return round_up(capacity, kValueBlock) *
           (2 * wide + sizeof(float) + blocks * sizeof(uint16_t));  // of 64 bytes, as 32 positions are
}

void HeadCache::store(const Kernels& kernels, size_t position, const float* key, const float* value) {
    int8_t codes[kMostHeadWidth];
    float scales[kMostHeadWidth / kTile];
    int32_t sums[kMostHeadWidth / kTile];
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

void HeadCache::fetch(size_t begin, size_t end) const {
    begin = begin / kTile * kTile;
    const size_t n = std::min(round_up(end - begin), kFetched);
    fetch_lines(keys_ + begin * head_, n * head_);
    for (size_t i = 0; i < head_; i += kTile) fetch_lines(&values_[i * capacity_ + begin * kTile], n * kTile);
}

void HeadCache::copy(const HeadCache& from, size_t positions) {
    std::copy_n(from.key_scales_, round_up(positions, kTile) * blocks_, key_scales_);
    std::copy_n(from.value_scales_, positions, value_scales_);
    std::copy_n(from.keys_, round_up(positions, kTile) * head_, keys_);
    for (size_t i = 0; i < head_; i += kTile) {
        std::copy_n(&from.values_[i * from.capacity_], round_up(positions, 4) * kTile, &values_[i * capacity_]);
    }
}

Matrix HeadCache::keys(size_t begin, size_t end) const {
    Matrix m;
    m.layout = key_block(head_) == 32 ? Layout::Bytes : Layout::Bytes16;
    m.rows = end - begin, m.columns = head_;
    m.codes = keys_ + begin * head_, m.stride = kTile * head_;
    m.scales = reinterpret_cast<const uint8_t*>(key_scales_ + begin * blocks_);
    return m;
}

Matrix HeadCache::values(size_t begin, size_t end) const {
    Matrix m;
    m.layout = Layout::BytesUnit;
    m.rows = head_, m.columns = round_up(end, kValueBlock) - begin;
    m.codes = values_ + begin * kTile, m.stride = kTile * capacity_;
    return m;
}

KvCache::KvCache(size_t kv_heads, size_t head, size_t capacity, bool biased, uint8_t* place) {
    for (size_t i = 0; i < kv_heads; ++i)
        heads.emplace_back(head, capacity, biased, place + i * HeadCache::bytes(head, capacity));
}

void KvCache::copy(const MixerState& from, size_t positions) {
    for (size_t i = 0; i < heads.size(); ++i) heads[i].copy(static_cast<const KvCache&>(from).heads[i], positions);
}

}  // namespace filament
