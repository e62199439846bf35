#include "pack.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>

#include "half.hpp"

namespace filament {
namespace {

constexpr size_t kLine = 64;  // bytes of a cache line

struct Scheme {
    Layout layout;
    size_t block;  // weights that share a scale
};

Scheme scheme(Type type) {
    switch (type) {
        case Type::F32: return {Layout::F32, 1};
        case Type::F16: return {Layout::F16, 1};
        case Type::BF16: return {Layout::BF16, 1};
        case Type::Q4_0: return {Layout::Nibbles, 32};
        case Type::Q4_1: case Type::Q4_K: return {Layout::NibblesMin, 32};
        case Type::IQ4_NL: return {Layout::NibblesTable, 32};
        case Type::Q8_0: return {Layout::Bytes, 32};
        case Type::Q6_K: return {Layout::Bytes, 16};
        case Type::TQ2_0: return {Layout::Ternary, 256};
    }
    info(type);  // throws
    return {};
}

uint16_t half_at(const uint8_t* p) {
    return static_cast<uint16_t>(p[0] | p[1] << 8);
}

// Codes of one row, with scales and minima of its blocks.
struct Codes {
    std::vector<uint8_t> codes;
    std::vector<float> scales, mins;

    explicit Codes(size_t columns) : codes(columns), scales(columns / 16), mins(columns / 16) {}
};

void nibbles(const uint8_t* packed, size_t n, uint8_t* low, uint8_t* high) {
    for (size_t i = 0; i < n; ++i) low[i] = packed[i] & 15, high[i] = packed[i] >> 4;
}

void decode_q4_k(const uint8_t* from, uint8_t* codes, float* scales, float* mins) {
    const float d = half_to_float(half_at(from)), least = half_to_float(half_at(from + 2));
    const uint8_t* packed = from + 4;  // 8 scales and 8 minima of 6 bits
    for (int j = 0; j < 8; ++j) {
        const int s = j < 4 ? packed[j] & 63 : (packed[j + 4] & 15) | (packed[j - 4] >> 6) << 4;
        const int m = j < 4 ? packed[j + 4] & 63 : packed[j + 4] >> 4 | (packed[j] >> 6) << 4;
        scales[j] = d * static_cast<float>(s), mins[j] = -least * static_cast<float>(m);
    }
    for (int j = 0; j < 4; ++j) nibbles(from + 16 + 32 * j, 32, codes + 64 * j, codes + 64 * j + 32);
}

void decode_q6_k(const uint8_t* from, uint8_t* codes, float* scales) {
    const float d = half_to_float(half_at(from + 208));
    for (int j = 0; j < 16; ++j) scales[j] = d * static_cast<float>(static_cast<int8_t>(from[192 + j]));
    for (int half = 0; half < 2; ++half) {
        const uint8_t *low = from + 64 * half, *high = from + 128 + 32 * half;
        for (int quarter = 0; quarter < 4; ++quarter) {
            for (int i = 0; i < 32; ++i) {
                const int four = low[i + 32 * (quarter & 1)] >> (quarter >= 2 ? 4 : 0) & 15;
                const int two = high[i] >> (2 * quarter) & 3;
                codes[128 * half + 32 * quarter + i] = static_cast<uint8_t>((four | two << 4) - 32);
            }
        }
    }
}

void decode_tq2_0(const uint8_t* from, uint8_t* codes) {
    for (int half = 0; half < 2; ++half) {
        for (int part = 0; part < 4; ++part) {
            for (int i = 0; i < 32; ++i) codes[128 * half + 32 * part + i] = from[32 * half + i] >> (2 * part) & 3;
        }
    }
}

// A block of the file (`from`) into codes, scales and minima.
void decode_block(Type type, const uint8_t* from, uint8_t* codes, float* scales, float* mins) {
    switch (type) {
        case Type::Q4_0: case Type::IQ4_NL:
            scales[0] = half_to_float(half_at(from));
            return nibbles(from + 2, 16, codes, codes + 16);
        case Type::Q4_1:
            scales[0] = half_to_float(half_at(from)), mins[0] = half_to_float(half_at(from + 2));
            return nibbles(from + 4, 16, codes, codes + 16);
        case Type::Q8_0:
            scales[0] = half_to_float(half_at(from));
            std::copy_n(from + 2, 32, codes);
            return;
        case Type::Q4_K: return decode_q4_k(from, codes, scales, mins);
        case Type::Q6_K: return decode_q6_k(from, codes, scales);
        case Type::TQ2_0:
            scales[0] = half_to_float(half_at(from + 64));
            return decode_tq2_0(from, codes);
        default: break;
    }
}

void decode_row(const Tensor& tensor, size_t row, Codes& out) {
    const auto& [name, block, bytes] = info(tensor.type);
    const size_t share = scheme(tensor.type).block;
    const uint8_t* from = tensor.data + row * tensor.row_bytes();
    for (size_t c = 0; c < tensor.columns(); c += block, from += bytes) {
        decode_block(tensor.type, from, &out.codes[c], &out.scales[c / share], &out.mins[c / share]);
    }
}

// What a code stands for, its scale aside.
float number(Layout layout, uint8_t code) {
    switch (layout) {
        case Layout::Nibbles: return static_cast<float>(code) - 8;
        case Layout::NibblesTable: return kIq4[code & 15];
        case Layout::Bytes: return static_cast<int8_t>(code);
        case Layout::Ternary: return static_cast<float>(code) - 1;
        default: return code;
    }
}

bool is_float(Layout layout) {
    return layout == Layout::F32 || layout == Layout::F16 || layout == Layout::BF16;
}

// Scales of K-quants are products, which may be too small for halves: a power of two is taken out of the whole matrix.
float common_factor(const Tensor& tensor) {
    if (tensor.type != Type::Q4_K && tensor.type != Type::Q6_K) return 1;
    const size_t at = tensor.type == Type::Q4_K ? 0 : 208, step = info(tensor.type).bytes;
    float most = 0;
    for (size_t i = 0; i < tensor.bytes; i += step) {
        most = std::max(most, std::fabs(half_to_float(half_at(tensor.data + i + at))) * 128);
        if (at == 0) most = std::max(most, std::fabs(half_to_float(half_at(tensor.data + i + 2))) * 128);
    }
    return most > 0 && std::isfinite(most) ? std::exp2(std::ceil(std::log2(most))) : 1;
}

// The codes of one block of 16 rows in the order of the kernels.
void interleave(Layout layout, size_t block, bool biased, const std::array<const uint8_t*, kTile>& rows, uint8_t* to) {
    const size_t parts = layout == Layout::Ternary ? 4 : layout == Layout::Bytes ? 1 : 2, bits = 8 / parts;
    const size_t chunks = block / 4 / parts, step = 4 * chunks;
    const uint32_t bias = biased && layout == Layout::Bytes ? 0x80808080u : 0;  // x + 128 is x with its sign bit turned
    for (size_t c = 0; c < chunks; ++c) {
        for (size_t r = 0; r < kTile; ++r, to += 4) {
            uint32_t packed = 0;
            for (size_t part = 0; part < parts; ++part) {
                uint32_t four;
                std::memcpy(&four, rows[r] + 4 * c + part * step, 4);
                packed |= four << (bits * part);  // every code fits its bits, so bytes do not touch
            }
            packed ^= bias;
            std::memcpy(to, &packed, 4);
        }
    }
}

void pack_codes(const Packing& packing, uint8_t* codes, uint16_t* scales, uint16_t* mins, bool biased) {
    const Matrix& m = packing.matrix;
    std::vector<Codes> tile(kTile, Codes(m.columns));
    const Codes nothing(m.columns);
    for (size_t t = 0; t < m.tiles(); ++t) {
        const size_t real = std::min(kTile, m.rows - t * kTile);
        for (size_t r = 0; r < real; ++r) decode_row(*packing.tensor, packing.first + t * kTile + r, tile[r]);
        for (size_t b = 0; b < m.blocks(); ++b) {
            std::array<const uint8_t*, kTile> rows;
            for (size_t r = 0; r < kTile; ++r) {
                const Codes& row = r < real ? tile[r] : nothing;
                rows[r] = &row.codes[b * m.block];
                *scales++ = float_to_half(row.scales[b] / packing.factor);
                if (mins) *mins++ = float_to_half(row.mins[b] / packing.factor);
            }
            interleave(m.layout, m.block, biased, rows, codes);
            codes += m.tile_bytes() / m.blocks();
        }
    }
}

template <class T> void pack_floats(const Packing& packing, T* to) {
    const Matrix& m = packing.matrix;
    for (size_t t = 0; t < m.tiles(); ++t) {
        for (size_t c = 0; c < m.columns; ++c) {
            for (size_t r = t * kTile; r < (t + 1) * kTile; ++r) {
                T weight{};
                if (r < m.rows) std::memcpy(&weight, packing.tensor->data + ((packing.first + r) * m.columns + c) * sizeof(T), sizeof(T));
                *to++ = weight;
            }
        }
    }
}

}  // namespace

size_t Matrix::tile_bytes() const {
    switch (layout) {
        case Layout::F32: return columns * kTile * 4;
        case Layout::F16: case Layout::BF16: return columns * kTile * 2;
        case Layout::Bytes: case Layout::BytesUnit: return columns * kTile;
        case Layout::Ternary: return columns * kTile / 4;
        default: return columns * kTile / 2;
    }
}

size_t Packing::bytes() const {
    const size_t codes = whole(matrix.tiles() * matrix.tile_bytes(), kLine);
    if (is_float(matrix.layout)) return codes;
    const size_t scales = whole(matrix.tiles() * matrix.blocks() * kTile * sizeof(uint16_t), kLine);
    return codes + scales * (matrix.layout == Layout::NibblesMin ? 2 : 1);
}

Packing plan(const Tensor& tensor, size_t first, size_t rows, float multiplier) {
    if (first > tensor.rows() || rows > tensor.rows() - first) throw Error(tensor.name + " has too few rows");
    const auto [layout, block] = scheme(tensor.type);
    Packing packing{&tensor, first, common_factor(tensor), {}};
    packing.matrix.layout = layout;
    packing.matrix.block = block;
    packing.matrix.rows = rows;
    packing.matrix.columns = tensor.columns();
    packing.matrix.stride = packing.matrix.tile_bytes();
    packing.matrix.multiplier = multiplier * packing.factor;
    return packing;
}

void pack(Packing& packing, uint8_t* place, bool biased) {
    Matrix& m = packing.matrix;
    m.codes = place;
    if (m.layout == Layout::F32) return pack_floats(packing, reinterpret_cast<uint32_t*>(place));
    if (is_float(m.layout)) return pack_floats(packing, reinterpret_cast<uint16_t*>(place));
    auto* scales = reinterpret_cast<uint16_t*>(place + whole(m.tiles() * m.tile_bytes(), kLine));
    const size_t each = whole(m.tiles() * m.blocks() * kTile * sizeof(uint16_t), kLine) / sizeof(uint16_t);
    auto* mins = m.layout == Layout::NibblesMin ? scales + each : nullptr;
    m.scales = scales, m.mins = mins;
    pack_codes(packing, place, scales, mins, biased);
}

void read_row(const Tensor& tensor, size_t row, float* out) {
    const auto [layout, block] = scheme(tensor.type);
    const uint8_t* from = tensor.data + row * tensor.row_bytes();
    if (layout == Layout::F32) {
        std::memcpy(out, from, tensor.row_bytes());
    } else if (is_float(layout)) {
        const auto read = layout == Layout::F16 ? half_to_float : bf16_to_float;
        for (size_t c = 0; c < tensor.columns(); ++c) out[c] = read(half_at(from + 2 * c));
    } else {
        Codes codes(tensor.columns());
        decode_row(tensor, row, codes);
        for (size_t c = 0; c < tensor.columns(); ++c) {
            out[c] = number(layout, codes.codes[c]) * codes.scales[c / block] + codes.mins[c / block];
        }
    }
}

}  // namespace filament
