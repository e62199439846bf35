// Products of a matrix with some tokens, written once for every dialect V (simd/) and layout.
#pragma once

#include "kernels.hpp"
#include "kernels/codes.hpp"

namespace filament {
namespace {

// The sum of the parts' sums, each shifted to its place.
template <class V, class C, int part> typename V::I32 joined(const typename V::I32* sums) {
    if constexpr (part == 0) return sums[0];
    else return V::add(V::template shift_right<C::shift(part)>(sums[part]), joined<V, C, part - 1>(sums));
}

// How many times two products of codes up to `most` fit into a sum of 16 bits: a power of two.
constexpr size_t held_in_16_bits(int most) {
    size_t held = 1;
    while (2 * held * 2 * 127 * static_cast<size_t>(most) <= 32767) held *= 2;
    return held;
}

// The same as multiply_block, where small products are gathered in sums of 16 bits first.
template <class V, class C, size_t N>
inline FILAMENT_INLINE void multiply_small_block(const uint8_t* codes, size_t ahead, const int8_t* (&x)[N],
                                                 size_t column, typename V::I32 (&sums)[N][1]) {
    constexpr size_t held = held_in_16_bits(C::most), all = size_t{C::chunks} * C::products;
    const auto load = [&](const uint8_t* chunk) FILAMENT_INLINE {
        if (N <= 2) __builtin_prefetch(chunk + ahead, 0, 2);  // into the second cache
        return V::load_bytes(chunk);
    };
    typename V::I16 words[N];
    for (size_t t = 0; t < N; ++t) words[t] = V::zero_i16();
    size_t n = 0;
    C::template unpack<false, (N > 2)>(codes, load, [&](auto, auto w, size_t at) FILAMENT_INLINE {
        for (size_t t = 0; t < N; ++t) words[t] = V::dot_small_i16(words[t], w, x[t] + column + at);
        if (held >= all || ++n % held != 0) return;
        for (size_t t = 0; t < N; ++t) sums[t][0] = V::add_i16(sums[t][0], words[t]), words[t] = V::zero_i16();
    });
    for (size_t t = 0; t < N; ++t) sums[t][0] = V::add_i16(sums[t][0], words[t]);
}

// The codes of one block of a tile times `column` and the next columns of N tokens.
template <class V, class C, bool split, size_t N, int ways>
inline FILAMENT_INLINE void multiply_block(const uint8_t* codes, size_t ahead, const int8_t* (&x)[N], size_t column,
                                           typename V::I32 (&sums)[N][ways]) {
    constexpr bool crowded = N > 2 && V::kTokens <= 4 && !V::kUnshifted;
    const bool fetches = N <= 2 && (!C::wide || ahead != 0);  // keys and values are fetched before
    const auto load = [&](const uint8_t* chunk) FILAMENT_INLINE {
        if (fetches) __builtin_prefetch(chunk + ahead, 0, 2);  // into the second cache
        return V::load_bytes(chunk);
    };
    C::template unpack<split, crowded>(codes, load, [&](auto part, auto w, size_t at) FILAMENT_INLINE {
        for (size_t t = 0; t < N; ++t) {
            typename V::I32& sum = sums[t][split ? decltype(part)::value : 0];
            if constexpr (C::wide) sum = V::dot_wide(sum, w, x[t] + column + at);
            else sum = V::dot_small(sum, w, x[t] + column + at);
        }
    });
}

// One tile of whole numbers with N tokens from `first` on. The block is known here, so that loops over it are unrolled.
template <class V, Layout layout, size_t N>
void multiply_whole_numbers(const Matrix& m, const Activations& a, size_t tile, size_t first,
                            typename V::F32 (&out)[N]) {
    using C = Codes<V, layout>;
    using S = Scaling<V, layout>;
    using I32 = typename V::I32;
    constexpr size_t block = traits(layout).block, per_group = traits(layout).group / block;
    constexpr size_t block_bytes = traits(layout).block_bytes(), scale_bytes = traits(layout).scale_bytes;
    static_assert(C::chunks * kChunk == block_bytes);
    constexpr bool split = C::splits && N <= 2;  // registers for a sum of each part
    constexpr int ways = split ? C::parts : 1;
    const size_t blocks = m.columns / block, groups = blocks / per_group;
    const uint8_t *codes = m.codes + tile * m.stride, *scales = m.scales + tile * groups * scale_bytes;
    const int8_t* x[N];
    for (size_t t = 0; t < N; ++t) x[t] = a.codes + (first + t) * a.columns, out[t] = V::set(0);
    for (size_t b = 0; b < blocks; scales += scale_bytes) {
        S scaling(scales);
        for (size_t i = 0; i < per_group; ++i, ++b, codes += block_bytes) {
            I32 sums[N][ways];
            for (size_t t = 0; t < N; ++t) {
                sums[t][0] = V::set_i32(C::zero ? -C::zero * a.sums[(first + t) * blocks + b] : 0);
                for (int w = 1; w < ways; ++w) sums[t][w] = V::set_i32(0);
            }
            if constexpr (V::kGathers && !C::wide) multiply_small_block<V, C>(codes, m.ahead, x, b * block, sums);
            else multiply_block<V, C, split>(codes, m.ahead, x, b * block, sums);
            scaling.next(i);
            for (size_t t = 0; t < N; ++t) {
                const float x_scale = a.scales[(first + t) * blocks + b];
                const auto products = V::to_f32(joined<V, C, ways - 1>(sums[t]));
                out[t] = V::fma(products, V::mul(scaling.scale, V::set(x_scale)), out[t]);
                if constexpr (S::has_min) {
                    const auto x_sum = static_cast<float>(a.sums[(first + t) * blocks + b]);
                    out[t] = V::fma(scaling.min, V::set(x_scale * x_sum), out[t]);
                }
            }
        }
    }
}

template <class V, Layout layout> typename V::F32 load_weights(const uint8_t* p) {
    if constexpr (layout == Layout::F32) return V::load(reinterpret_cast<const float*>(p));
    else if constexpr (layout == Layout::F16) return V::load_f16(reinterpret_cast<const uint16_t*>(p));
    else return V::load_bf16(reinterpret_cast<const uint16_t*>(p));
}

// One tile of floats. Two sums a token, because an addition waits for the one before; as many for any number of tokens,
// so that the order of additions does not hang on it.
template <class V, Layout layout, size_t N>
void multiply_floats(const Matrix& m, const Activations& a, size_t tile, size_t first, typename V::F32 (&out)[N]) {
    constexpr size_t column_bytes = traits(layout).block_bytes(), ways = 2;
    using F32 = typename V::F32;
    const uint8_t* weights = m.codes + tile * m.stride;
    F32 sums[N][ways];
    for (size_t t = 0; t < N; ++t) {
        for (size_t w = 0; w < ways; ++w) sums[t][w] = V::set(0);
    }
    const float* x = a.values + first * a.columns;
    size_t c = 0;
    for (; c + ways <= m.columns; c += ways) {
        for (size_t w = 0; w < ways; ++w) {
            const F32 column = load_weights<V, layout>(weights + (c + w) * column_bytes);
            for (size_t t = 0; t < N; ++t) sums[t][w] = V::fma(column, V::set(x[t * a.columns + c + w]), sums[t][w]);
        }
    }
    for (; c < m.columns; ++c) {
        const F32 column = load_weights<V, layout>(weights + c * column_bytes);
        for (size_t t = 0; t < N; ++t) sums[t][0] = V::fma(column, V::set(x[t * a.columns + c]), sums[t][0]);
    }
    for (size_t t = 0; t < N; ++t) out[t] = V::add(sums[t][0], sums[t][1]);
}

template <class V, Layout layout, size_t N>
void multiply_tokens(const Matrix& m, const Activations& a, size_t tile, size_t first, float* out, size_t stride,
                     bool adds) {
    typename V::F32 products[N];
    if constexpr (traits(layout).is_float()) multiply_floats<V, layout, N>(m, a, tile, first, products);
    else multiply_whole_numbers<V, layout, N>(m, a, tile, first, products);
    for (size_t t = 0; t < N; ++t) {
        float* place = out + (first + t) * stride + tile * kTile;
        auto product = V::mul(products[t], V::set(m.multiplier));
        if (adds) product = V::add(V::load(place), product);
        if (m.bias) product = V::add(product, V::load(m.bias + tile * kTile));
        V::store(place, product);
    }
}

// Kernels::products
template <class V, Layout layout>
void multiply(const Matrix& m, const Activations& a, size_t begin, size_t end, float* out, size_t stride, bool adds) {
    for (size_t tile = begin; tile < end; ++tile) {
        size_t t = 0;
        if constexpr (V::kTokens >= 8) {
            for (; t + 8 <= a.tokens; t += 8) multiply_tokens<V, layout, 8>(m, a, tile, t, out, stride, adds);
        }
        if constexpr (V::kTokens >= 4) {
            for (; t + 4 <= a.tokens; t += 4) multiply_tokens<V, layout, 4>(m, a, tile, t, out, stride, adds);
        }
        for (; t + 2 <= a.tokens; t += 2) multiply_tokens<V, layout, 2>(m, a, tile, t, out, stride, adds);
        for (; t < a.tokens; ++t) multiply_tokens<V, layout, 1>(m, a, tile, t, out, stride, adds);
    }
}

}  // namespace
}  // namespace filament
