// The kernels, compiled once for each instruction set: CMakeLists.txt defines FILAMENT_ISA and gives the flags. Nothing of
// the standard library is called here, so that no inline function of it is compiled for a processor that is not there.
#include "kernels.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace filament::FILAMENT_ISA {
namespace {

#include "simd.hpp"

// How the codes of one block of a tile are read: `chunks` loads of 64 bytes, of each `parts` fields for 4 columns each. A
// field that is left in its place (`split`) stands for 2^(bits * part) times its number.
template <Layout layout> struct Codes;

template <int width> struct FieldCodes {
    static constexpr int bits = width, parts = 8 / width, mask = (1 << width) - 1;
    static constexpr size_t block = width == 2 ? 256 : 32;
    static constexpr bool scaled = true, wide = false, fields = true;
    template <int part, bool split> static B64 unpack(B64 raw) {
        return split ? field<0, (mask << bits * part)>(raw) : field<bits * part, mask>(raw);
    }
};
template <> struct Codes<Layout::Nibbles> : FieldCodes<4> {
    static constexpr int32_t zero = 8;
    static constexpr bool has_min = false;
};
template <> struct Codes<Layout::NibblesMin> : FieldCodes<4> {
    static constexpr int32_t zero = 0;
    static constexpr bool has_min = true;
};
template <> struct Codes<Layout::Ternary> : FieldCodes<2> {
    static constexpr int32_t zero = 1;
    static constexpr bool has_min = false;
};
struct WideCodes {
    static constexpr int bits = 8, parts = 1;
    static constexpr size_t block = 32;  // 16 in some Bytes
    static constexpr bool wide = true, has_min = false, fields = false;
    static constexpr int32_t zero = kBiased ? 128 : 0;
    template <int part, bool split> static B64 unpack(B64 raw) { return raw; }
};
template <> struct Codes<Layout::Bytes> : WideCodes { static constexpr bool scaled = true; };
template <> struct Codes<Layout::BytesUnit> : WideCodes { static constexpr bool scaled = false; };
template <> struct Codes<Layout::NibblesTable> : WideCodes {
    static constexpr int bits = 4, parts = 2;
    static constexpr size_t block = 32;
    static constexpr bool scaled = true;
    template <int part, bool split> static B64 unpack(B64 raw) {
        uint8_t table[16];
        for (int i = 0; i < 16; ++i) table[i] = static_cast<uint8_t>(kIq4[i] + zero);
        return look_up(table, field<4 * part, 15>(raw));
    }
};

template <class C> I32 dot(I32 s, B64 w, const int8_t* x) {
    if constexpr (C::wide) return dot_wide(s, w, x);
    return dot_small(s, w, x);
}

// One chunk: each part of it times the same 4 columns of each of N tokens.
template <class C, bool split, size_t N, size_t ways, int part = 0>
inline void multiply_chunk(B64 raw, const int8_t* (&x)[N], size_t column, size_t step, I32 (&sums)[N][ways]) {
    if constexpr (part < C::parts) {
        const B64 w = C::template unpack<part, split>(raw);
        for (size_t t = 0; t < N; ++t) {
            I32& s = sums[t][split ? part : 0];
            s = dot<C>(s, w, x[t] + column);
        }
        multiply_chunk<C, split, N, ways, part + 1>(raw, x, column + step, step, sums);
    }
}

// The sum of the parts' sums, each in its place.
template <class C, int part> I32 joined(const I32* sums) {
    if constexpr (part == 0) return sums[0];
    else return add(down<C::bits * part>(sums[part]), joined<C, part - 1>(sums));
}

// One tile of whole numbers with N tokens from `first` on. The block is known here, so that loops over it are unrolled.
template <Layout layout, size_t N, size_t block>
void multiply_tile(const Matrix& m, const Activations& a, size_t tile, size_t first, F32 (&out)[N]) {
    using C = Codes<layout>;
    constexpr bool split = kUnshifted && C::fields && N <= 2;  // registers for a sum of each part
    constexpr size_t ways = split ? C::parts : 1;
    constexpr size_t chunks = block / 4 / C::parts, step = 4 * chunks;
    const size_t blocks = m.columns / block;
    const uint8_t* codes = m.codes + tile * m.stride;
    const size_t scale_at = tile * blocks * kTile;
    const int8_t* x[N];
    for (size_t t = 0; t < N; ++t) x[t] = a.codes + (first + t) * a.columns, out[t] = set(0);
    for (size_t b = 0; b < blocks; ++b) {
        I32 sums[N][ways];
        for (size_t t = 0; t < N; ++t) {
            sums[t][0] = set_i(C::zero ? -C::zero * a.sums[(first + t) * blocks + b] : 0);
            for (size_t w = 1; w < ways; ++w) sums[t][w] = set_i(0);
        }
        for (size_t c = 0; c < chunks; ++c, codes += 64) {
            const bool fetches = N <= 2 && (!C::wide || m.ahead != 0);  // keys and values are fetched before
            if (fetches) __builtin_prefetch(codes + m.ahead, 0, 2);  // into the second cache
            multiply_chunk<C, split>(load_bytes(codes), x, b * block + 4 * c, step, sums);
        }
        F32 scales = set(1), mins = set(0);
        if constexpr (C::scaled) scales = load_f16(m.scales + scale_at + b * kTile);
        if constexpr (C::has_min) mins = load_f16(m.mins + scale_at + b * kTile);
        for (size_t t = 0; t < N; ++t) {
            const float x_scale = a.scales[(first + t) * blocks + b];
            out[t] = fma(to_f32(joined<C, ways - 1>(sums[t])), mul(scales, set(x_scale)), out[t]);
            if constexpr (C::has_min) out[t] = fma(mins, set(x_scale * static_cast<float>(a.sums[(first + t) * blocks + b])), out[t]);
        }
    }
}

template <Layout layout> F32 load_weights(const uint8_t* p) {
    if constexpr (layout == Layout::F32) return load(reinterpret_cast<const float*>(p));
    else if constexpr (layout == Layout::F16) return load_f16(reinterpret_cast<const uint16_t*>(p));
    else return load_bf16(reinterpret_cast<const uint16_t*>(p));
}

// One tile of floats. Two sums a token, because an addition waits for the one before; as many for any number of tokens, so
// that the order of additions does not hang on it.
template <Layout layout, size_t N>
void multiply_tile_of_floats(const Matrix& m, const Activations& a, size_t tile, size_t first, F32 (&out)[N]) {
    constexpr size_t width = layout == Layout::F32 ? 4 : 2, ways = 2;
    const uint8_t* weights = m.codes + tile * m.stride;
    F32 sums[N][ways];
    for (size_t t = 0; t < N; ++t) for (size_t w = 0; w < ways; ++w) sums[t][w] = set(0);
    const float* x = a.values + first * a.columns;
    size_t c = 0;
    for (; c + ways <= m.columns; c += ways) {
        for (size_t w = 0; w < ways; ++w) {
            const F32 column = load_weights<layout>(weights + (c + w) * kTile * width);
            for (size_t t = 0; t < N; ++t) sums[t][w] = fma(column, set(x[t * a.columns + c + w]), sums[t][w]);
        }
    }
    for (; c < m.columns; ++c) {
        const F32 column = load_weights<layout>(weights + c * kTile * width);
        for (size_t t = 0; t < N; ++t) sums[t][0] = fma(column, set(x[t * a.columns + c]), sums[t][0]);
    }
    for (size_t t = 0; t < N; ++t) {
        out[t] = add(sums[t][0], sums[t][1]);
    }
}

template <Layout layout, size_t N>
void multiply_tokens(const Matrix& m, const Activations& a, size_t tile, size_t first, float* out, size_t stride, bool adds) {
    F32 products[N];
    if constexpr (layout == Layout::F32 || layout == Layout::F16 || layout == Layout::BF16) {
        multiply_tile_of_floats<layout, N>(m, a, tile, first, products);
    } else if constexpr (layout == Layout::Bytes) {
        if (m.block == 16) multiply_tile<layout, N, 16>(m, a, tile, first, products);
        else multiply_tile<layout, N, 32>(m, a, tile, first, products);
    } else {
        multiply_tile<layout, N, Codes<layout>::block>(m, a, tile, first, products);
    }
    for (size_t t = 0; t < N; ++t) {
        float* place = out + (first + t) * stride + tile * kTile;
        const F32 product = mul(products[t], set(m.multiplier));
        store(place, adds ? add(load(place), product) : product);
    }
}

template <Layout layout>
void multiply_layout(const Matrix& m, const Activations& a, size_t begin, size_t end, float* out, size_t stride, bool adds) {
    for (size_t tile = begin; tile < end; ++tile) {
        size_t t = 0;
        if constexpr (kTokens >= 8) for (; t + 8 <= a.tokens; t += 8) multiply_tokens<layout, 8>(m, a, tile, t, out, stride, adds);
        if constexpr (kTokens >= 4) for (; t + 4 <= a.tokens; t += 4) multiply_tokens<layout, 4>(m, a, tile, t, out, stride, adds);
        for (; t + 2 <= a.tokens; t += 2) multiply_tokens<layout, 2>(m, a, tile, t, out, stride, adds);
        for (; t < a.tokens; ++t) multiply_tokens<layout, 1>(m, a, tile, t, out, stride, adds);
    }
}

void multiply(const Matrix& m, const Activations& a, size_t begin, size_t end, float* out, size_t stride, bool adds) {
    switch (m.layout) {
        case Layout::F32: return multiply_layout<Layout::F32>(m, a, begin, end, out, stride, adds);
        case Layout::F16: return multiply_layout<Layout::F16>(m, a, begin, end, out, stride, adds);
        case Layout::BF16: return multiply_layout<Layout::BF16>(m, a, begin, end, out, stride, adds);
        case Layout::Nibbles: return multiply_layout<Layout::Nibbles>(m, a, begin, end, out, stride, adds);
        case Layout::NibblesMin: return multiply_layout<Layout::NibblesMin>(m, a, begin, end, out, stride, adds);
        case Layout::NibblesTable: return multiply_layout<Layout::NibblesTable>(m, a, begin, end, out, stride, adds);
        case Layout::Bytes: return multiply_layout<Layout::Bytes>(m, a, begin, end, out, stride, adds);
        case Layout::BytesUnit: return multiply_layout<Layout::BytesUnit>(m, a, begin, end, out, stride, adds);
        case Layout::Ternary: return multiply_layout<Layout::Ternary>(m, a, begin, end, out, stride, adds);
    }
}

// codes = round(x / scale), scale = largest |x| of the block / 127. n and block are multiples of 16.
void quantize(const float* x, size_t n, size_t block, int8_t* codes, float* scales, int32_t* sums) {
    for (size_t b = 0; b < n / block; ++b, x += block, codes += block) {
        F32 most = set(0);
        for (size_t i = 0; i < block; i += 16) most = max(most, abs(load(x + i)));
        const float top = largest(most);
        const F32 inverse = set(top > 0 ? 127.0f / top : 0.0f);
        I32 total = set_i(0);
        for (size_t i = 0; i < block; i += 16) {
            const F32 scaled = mul(load(x + i), inverse);
            const I32 code = round(min(max(scaled, set(-127)), set(127)));  // what is no number stays in range, too
            store_i8(codes + i, code);
            total = add(total, code);
        }
        scales[b] = top / 127.0f;
        sums[b] = sum(total);
    }
}

void rms_norm(const float* x, const float* weight, size_t n, float epsilon, float* out) {
    F32 squares = set(0);
    for (size_t i = 0; i < n; i += 16) squares = fma(load(x + i), load(x + i), squares);
    const F32 factor = set(1.0f / __builtin_sqrtf(sum(squares) / static_cast<float>(n) + epsilon));
    for (size_t i = 0; i < n; i += 16) store(out + i, mul(mul(load(x + i), factor), load(weight + i)));
}

void gate(const float* gated, const float* up, size_t n, float* out) {
    for (size_t i = 0; i < n; i += 16) {
        const F32 g = load(gated + i);
        const F32 below = add(set(1), exp(mul(g, set(-1))));
        store(out + i, mul(div(g, below), load(up + i)));
    }
}

float exponentials(float* x, size_t real, size_t n, float factor) {
    for (size_t i = real; i < n; ++i) x[i] = -3e38f;
    F32 most = set(-3e38f);
    for (size_t i = 0; i < n; i += 16) most = max(most, load(x + i));
    const F32 shift = set(-factor * largest(most)), by = set(factor);
    F32 total = set(0);
    for (size_t i = 0; i < n; i += 16) {
        const F32 e = exp(fma(load(x + i), by, shift));
        store(x + i, e);
        total = add(total, e);
    }
    for (size_t i = real; i < n; ++i) x[i] = 0;
    return sum(total);
}

void scale(float* x, const float* by, size_t n, float factor) {
    for (size_t i = 0; i < n; i += 16) store(x + i, mul(mul(load(x + i), load(by + i)), set(factor)));
}

// Eight sums at once, or each instruction would wait for the one before. `loads` of them read bytes of their own.
template <size_t loads> int32_t read(const uint8_t* p, size_t n, const int8_t* by) {
    I32 sums[kReadOften];
    for (I32& s : sums) s = set_i(0);
    for (const uint8_t* end = p + n; p < end; p += 64 * loads) {
        B64 bytes[loads];
        for (size_t i = 0; i < loads; ++i) bytes[i] = load_bytes(p + 64 * i);
        for (size_t i = 0; i < kReadOften; ++i) sums[i] = dot_small(sums[i], bytes[i % loads], by + 4 * i);
    }
    I32 total = set_i(0);
    for (const I32& s : sums) total = add(total, s);
    return sum(total);
}

}  // namespace

#define TEXT_OF(x) #x
#define NAME(x) TEXT_OF(x)
extern const Kernels table;
const Kernels table = {NAME(FILAMENT_ISA), kBiased, multiply, quantize, rms_norm, gate, exponentials, scale,
                       read<kReadOften>, read<1>};

}  // namespace filament::FILAMENT_ISA
