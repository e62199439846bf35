#include "pack.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "half.hpp"

namespace filament {
namespace {

constexpr size_t kLine = 64;  // bytes of a cache line

// Codes of one row, with scales and minima of its blocks.
struct Decoded {
    std::vector<uint8_t> codes;
    std::vector<float> scales, mins;

    explicit Decoded(size_t columns) : codes(columns), scales(columns / 16), mins(columns / 16) {}
};

void decode_row(const Tensor& tensor, size_t row, Decoded& out) {
    const BlockType& type = block_type(tensor.type);
    const size_t share = traits(type.layout).block;
    const uint8_t* from = tensor.data + row * tensor.row_bytes();
    for (size_t c = 0; c < tensor.columns(); c += type.columns, from += type.bytes) {
        type.decode(from, &out.codes[c], &out.scales[c / share], &out.mins[c / share]);
    }
}

using TileRows = std::array<const uint8_t*, kTile>;

uint32_t four_codes(const uint8_t* from) {
    uint32_t four;
    std::memcpy(&four, from, 4);
    return four;
}

// The codes of one block of 16 rows, in the order of kernels/codes.hpp. Every code fits its bits, so bytes do not
// touch.
uint8_t* interleave_fields(const LayoutTraits& layout, bool biased, const TileRows& rows, uint8_t* to) {
    const size_t parts = 8 / layout.bits, chunks = layout.block / 4 / parts, step = 4 * chunks;
    const uint32_t flip = layout.bits == 8 && !biased ? 0x80808080u : 0;  // x + 128 is x with its sign bit turned
    for (size_t c = 0; c < chunks; ++c) {
        for (size_t r = 0; r < kTile; ++r, to += 4) {
            uint32_t packed = flip;
            for (size_t part = 0; part < parts; ++part) {
                packed ^= four_codes(rows[r] + 4 * c + part * step) << (layout.bits * part);
            }
            std::memcpy(to, &packed, 4);
        }
    }
    return to;
}

uint8_t* interleave_six_bits(const TileRows& rows, uint8_t* to) {
    for (size_t c = 0; c < 3; ++c) {
        for (size_t r = 0; r < kTile; ++r, to += 4) {
            const uint32_t last = four_codes(rows[r] + 12) >> (2 * c) & 0x03030303u;
            const uint32_t packed = four_codes(rows[r] + 4 * c) | last << 6;
            std::memcpy(to, &packed, 4);
        }
    }
    return to;
}

void pack_codes(const Packing& packing, uint8_t* codes, bool biased) {
    const Matrix& m = packing.matrix;
    const LayoutTraits& layout = traits(m.layout);
    std::vector<Decoded> tile(kTile, Decoded(m.columns));
    const std::vector<uint8_t> nothing(m.columns);
    for (size_t t = 0; t < m.tiles(); ++t) {
        const size_t real = std::min(kTile, m.rows - t * kTile);
        for (size_t r = 0; r < real; ++r) decode_row(*packing.tensor, packing.first + t * kTile + r, tile[r]);
        for (size_t c = 0; c < m.columns; c += layout.block) {
            TileRows rows;
            for (size_t r = 0; r < kTile; ++r) rows[r] = r < real ? &tile[r].codes[c] : &nothing[c];
            codes =
                layout.bits == 6 ? interleave_six_bits(rows, codes) : interleave_fields(layout, biased, rows, codes);
        }
    }
}

// The scales of each block of the file, rows side by side. Rows beyond the last have zeros.
void pack_scales(const Packing& packing, uint8_t* to) {
    const Matrix& m = packing.matrix;
    const BlockType& type = block_type(packing.tensor->type);
    const std::vector<uint8_t> nothing(type.bytes);
    const size_t row_bytes = packing.tensor->row_bytes();
    const uint8_t* first = packing.tensor->data + packing.first * row_bytes;
    for (size_t t = 0; t < m.tiles(); ++t) {
        for (size_t b = 0; b < m.columns / type.columns; ++b) {
            TileRows rows;
            for (size_t r = 0; r < kTile; ++r) {
                const size_t row = t * kTile + r;
                rows[r] = row < m.rows ? first + row * row_bytes + b * type.bytes : nothing.data();
            }
            for (const auto& [offset, bytes, count] : type.scales) {
                for (size_t i = 0; i < count; ++i) {
                    for (size_t r = 0; r < kTile; ++r, to += bytes)
                        std::memcpy(to, rows[r] + offset + i * bytes, bytes);
                }
            }
        }
    }
}

template <class T> void pack_floats(const Packing& packing, T* to) {
    const Matrix& m = packing.matrix;
    for (size_t t = 0; t < m.tiles(); ++t) {
        for (size_t c = 0; c < m.columns; ++c) {
            for (size_t r = t * kTile; r < (t + 1) * kTile; ++r) {
                T weight{};
                if (r < m.rows)
                    std::memcpy(&weight, packing.tensor->data + ((packing.first + r) * m.columns + c) * sizeof(T),
                                sizeof(T));
                *to++ = weight;
            }
        }
    }
}

// The numbers of a block of the file.
void read_block(const BlockType& type, const uint8_t* from, float* out) {
    const LayoutTraits& layout = traits(type.layout);
    uint8_t codes[kMostBlockColumns];
    float scales[kMostBlockColumns / kTile], mins[kMostBlockColumns / kTile] = {};
    type.decode(from, codes, scales, mins);
    for (size_t c = 0; c < type.columns; c += layout.block) {
        const float scale = scales[c / layout.block], min = mins[c / layout.block];
        const auto number = [&](int value) { return static_cast<float>(value) * scale + min; };
        for (size_t i = c; i < c + layout.block; ++i)
            out[i] = number(layout.values ? layout.values[codes[i]] : codes[i] - layout.zero);
    }
}

}  // namespace

size_t Packing::bytes() const {
    return round_up(matrix.tiles() * matrix.tile_bytes(), kLine) + round_up(matrix.scale_bytes(), kLine);
}

Packing plan(const Tensor& tensor, size_t first, size_t rows, float multiplier) {
    if (first > tensor.rows() || rows > tensor.rows() - first) throw Error(tensor.name + " has too few rows");
    Packing packing{&tensor, first, {}};
    packing.matrix.layout = block_type(tensor.type).layout;
    packing.matrix.rows = rows;
    packing.matrix.columns = tensor.columns();
    packing.matrix.stride = packing.matrix.tile_bytes();
    packing.matrix.multiplier = multiplier;
    return packing;
}

void pack(Packing& packing, uint8_t* place, bool biased) {
    Matrix& m = packing.matrix;
    m.codes = place;
    if (m.layout == Layout::F32) return pack_floats(packing, reinterpret_cast<uint32_t*>(place));
    if (traits(m.layout).is_float()) return pack_floats(packing, reinterpret_cast<uint16_t*>(place));
    uint8_t* scales = place + round_up(m.tiles() * m.tile_bytes(), kLine);
    m.scales = scales;
    pack_codes(packing, place, biased);
    pack_scales(packing, scales);
}

void read_row(const Tensor& tensor, size_t row, float* out) {
    const LayoutTraits& layout = traits(block_type(tensor.type).layout);
    const uint8_t* from = tensor.data + row * tensor.row_bytes();
    if (layout.layout == Layout::F32) {
        std::memcpy(out, from, tensor.row_bytes());
    } else if (layout.is_float()) {
        const auto read = layout.layout == Layout::F16 ? half_to_float : bf16_to_float;
        for (size_t c = 0; c < tensor.columns(); ++c)
            out[c] = read(static_cast<uint16_t>(from[2 * c] | from[2 * c + 1] << 8));
    } else {
        const BlockType& type = block_type(tensor.type);
        for (size_t c = 0; c < tensor.columns(); c += type.columns, from += type.bytes) read_block(type, from, out + c);
    }
}

}  // namespace filament
