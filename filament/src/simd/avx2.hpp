// AVX2 with FMA and F16C: two registers hold 16 lanes. What each function does: portable.cpp, in plain C++.
#pragma once

#include <immintrin.h>

#include "lanes.hpp"

namespace filament {
namespace {

struct Avx2 {
    static constexpr size_t kTokens = 4;
    static constexpr bool kBiased = false, kUnshifted = false, kGathers = true;
    struct F32 {
        __m256 a, b;
    };
    struct I32 {
        __m256i a, b;
    };
    struct I16 {
        __m256i a, b;
    };
    struct B64 {
        __m256i a, b;
    };

    static F32 set(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
    static F32 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
    static F32 load_f16(const uint16_t* p) { return {_mm256_cvtph_ps(load_128(p)), _mm256_cvtph_ps(load_128(p + 8))}; }
    static F32 load_bf16(const uint16_t* p) { return {widen_bf16(load_128(p)), widen_bf16(load_128(p + 8))}; }
    static void store(float* p, F32 x) { _mm256_storeu_ps(p, x.a), _mm256_storeu_ps(p + 8, x.b); }
    static F32 add(F32 x, F32 y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
    static F32 mul(F32 x, F32 y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
    static F32 div(F32 x, F32 y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
    static F32 fma(F32 x, F32 y, F32 z) { return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)}; }
    static F32 max(F32 x, F32 y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
    static F32 min(F32 x, F32 y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
    static F32 abs(F32 x) {
        const __m256 sign = _mm256_set1_ps(-0.0f);
        return {_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
    }
    static float largest(F32 x) {
        const __m256 eight = _mm256_max_ps(x.a, x.b);
        const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
        const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
        return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
    }
    static float sum(F32 x) {  // lane after lane, as ever: another order would give other last bits
        float lanes[16], total = 0;
        store(lanes, x);
        for (const float lane : lanes) total += lane;
        return total;
    }

    static I32 set_i32(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
    static I32 load_i32(const uint32_t* p) { return {load_256(p), load_256(p + 8)}; }
    static I32 load_i8(const int8_t* p) {
        const __m128i bytes = load_128(p);
        return {_mm256_cvtepi8_epi32(bytes), _mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8))};
    }
    static void store_i8(int8_t* p, I32 x) {
        const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.a, x.b), 0xD8);
        const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
    }
    static I32 add(I32 x, I32 y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
    static I32 bit_and(I32 x, I32 y) { return {_mm256_and_si256(x.a, y.a), _mm256_and_si256(x.b, y.b)}; }
    static I32 bit_or(I32 x, I32 y) { return {_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)}; }
    template <int n> static I32 shift_left(I32 x) { return {_mm256_slli_epi32(x.a, n), _mm256_slli_epi32(x.b, n)}; }
    template <int n> static I32 shift_right(I32 x) { return {_mm256_srai_epi32(x.a, n), _mm256_srai_epi32(x.b, n)}; }
    static int32_t sum(I32 x) {
        const __m256i eight = _mm256_add_epi32(x.a, x.b);
        const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
        const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4E));
        return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xB1)));
    }
    static I32 round(F32 x) { return {_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)}; }
    static F32 to_f32(I32 x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
    static F32 power_of_two(I32 n) { return {power_of_two(n.a), power_of_two(n.b)}; }

    static void store_i32(int32_t* p, I32 x) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x.a);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8), x.b);
    }
    static I32 dot_rows(I32 s, const int8_t* a, const int8_t* b, int32_t pair) {
        const __m128i as = load_128(a), bs = load_128(b);
        const __m256i low = _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(as, bs));  // a0 b0 a1 b1 ... a7 b7
        const __m256i high = _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(as, bs));
        return dot_pairs(s, low, high, pair);
    }
    static I32 dot_words(I32 s, const int16_t* w, int32_t pair) {
        return dot_pairs(s, load_256(w), load_256(w + 16), pair);
    }

    static B64 load_bytes(const uint8_t* p) { return {load_256(p), load_256(p + 32)}; }
    template <int shift, int mask> static B64 field(B64 x) {
        return {field<shift, mask>(x.a), field<shift, mask>(x.b)};
    }
    static B64 bit_or(B64 x, B64 y) { return {_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)}; }
    static B64 look_up(const uint8_t* table, B64 index) {
        const __m256i row = _mm256_broadcastsi128_si256(load_128(table));
        return {_mm256_shuffle_epi8(row, index.a), _mm256_shuffle_epi8(row, index.b)};
    }

    static I32 dot_small(I32 s, B64 w, const int8_t* x) {
        const __m256i xs = four(x);
        return {dot_u8s8(s.a, w.a, xs), dot_u8s8(s.b, w.b, xs)};
    }
    static I16 zero_i16() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
    static I16 dot_small_i16(I16 s, B64 w, const int8_t* x) {
        const __m256i xs = four(x);
        return {pinned(_mm256_add_epi16(s.a, _mm256_maddubs_epi16(w.a, xs))),
                pinned(_mm256_add_epi16(s.b, _mm256_maddubs_epi16(w.b, xs)))};
    }
    static I32 add_i16(I32 s, I16 x) {
        const __m256i ones = _mm256_set1_epi16(1);
        return {_mm256_add_epi32(s.a, _mm256_madd_epi16(x.a, ones)),
                _mm256_add_epi32(s.b, _mm256_madd_epi16(x.b, ones))};
    }
    static I32 dot_wide(I32 s, B64 w, const int8_t* x) {
        const __m256i xs = four(x);
        return {dot_u8s8(s.a, _mm256_abs_epi8(w.a), _mm256_sign_epi8(xs, w.a)),
                dot_u8s8(s.b, _mm256_abs_epi8(w.b), _mm256_sign_epi8(xs, w.b))};
    }

  protected:
    static __m256i four(const int8_t* x) { return _mm256_set1_epi32(four_bytes(x)); }

  private:
    // In a register, added up in the order that was written: or the compiler regroups sums until they do not fit.
    static __m256i pinned(__m256i sum) {
        asm("" : "+x"(sum));
        return sum;
    }
    static __m128i load_128(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
    static __m256i load_256(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
    static __m256 widen_bf16(__m128i x) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16)); }
    static __m256 power_of_two(__m256i n) {
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
    }
    template <int shift, int mask> static __m256i field(__m256i x) {
        if constexpr (shift > 0) x = _mm256_srli_epi16(x, shift);
        if constexpr (shift < 0) x = _mm256_slli_epi16(x, -shift);
        return _mm256_and_si256(x, _mm256_set1_epi8(static_cast<char>(mask)));
    }
    static I32 dot_pairs(I32 s, __m256i low, __m256i high, int32_t pair) {
        const __m256i by = _mm256_set1_epi32(pair);
        return {_mm256_add_epi32(s.a, _mm256_madd_epi16(low, by)), _mm256_add_epi32(s.b, _mm256_madd_epi16(high, by))};
    }
    static __m256i dot_u8s8(__m256i s, __m256i w, __m256i x) {
        const __m256i pairs = _mm256_maddubs_epi16(w, x);  // no overflow: 2 * 128 * 127 < 2^15
        return pinned(_mm256_add_epi32(s, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))));
    }
};

}  // namespace
}  // namespace filament
