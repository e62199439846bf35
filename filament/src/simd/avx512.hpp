// AVX-512 (F, BW, VL, DQ) without VNNI. What each function does: portable.cpp, in plain C++.
#pragma once

#include <immintrin.h>

#include "lanes.hpp"

namespace filament {
namespace {

struct Avx512 {
    static constexpr size_t kTokens = 8;
    static constexpr bool kBiased = false, kUnshifted = false, kGathers = false;
    struct F32 {
        __m512 v;
    };
    struct I32 {
        __m512i v;
    };
    struct B64 {
        __m512i v;
    };

    static F32 set(float x) { return {_mm512_set1_ps(x)}; }
    static F32 load(const float* p) { return {_mm512_loadu_ps(p)}; }
    static F32 load_f16(const uint16_t* p) {
        return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
    }
    static F32 load_bf16(const uint16_t* p) {
        const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
        return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
    }
    static void store(float* p, F32 x) { _mm512_storeu_ps(p, x.v); }
    static F32 add(F32 x, F32 y) { return {_mm512_add_ps(x.v, y.v)}; }
    static F32 mul(F32 x, F32 y) { return {_mm512_mul_ps(x.v, y.v)}; }
    static F32 div(F32 x, F32 y) { return {_mm512_div_ps(x.v, y.v)}; }
    static F32 fma(F32 x, F32 y, F32 z) { return {_mm512_fmadd_ps(x.v, y.v, z.v)}; }
    static F32 max(F32 x, F32 y) { return {_mm512_max_ps(x.v, y.v)}; }
    static F32 min(F32 x, F32 y) { return {_mm512_min_ps(x.v, y.v)}; }
    static F32 abs(F32 x) { return {_mm512_abs_ps(x.v)}; }
    static float largest(F32 x) { return _mm512_reduce_max_ps(x.v); }
    static float sum(F32 x) { return _mm512_reduce_add_ps(x.v); }

    static I32 set_i32(int32_t x) { return {_mm512_set1_epi32(x)}; }
    static I32 load_i32(const uint32_t* p) { return {_mm512_loadu_si512(p)}; }
    static I32 load_i8(const int8_t* p) {
        return {_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
    }
    static void store_i8(int8_t* p, I32 x) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(x.v));
    }
    static I32 add(I32 x, I32 y) { return {_mm512_add_epi32(x.v, y.v)}; }
    static I32 bit_and(I32 x, I32 y) { return {_mm512_and_si512(x.v, y.v)}; }
    static I32 bit_or(I32 x, I32 y) { return {_mm512_or_si512(x.v, y.v)}; }
    template <int n> static I32 shift_left(I32 x) { return {_mm512_slli_epi32(x.v, n)}; }
    template <int n> static I32 shift_right(I32 x) { return {_mm512_srai_epi32(x.v, n)}; }
    static int32_t sum(I32 x) { return _mm512_reduce_add_epi32(x.v); }
    static I32 round(F32 x) { return {_mm512_cvtps_epi32(x.v)}; }
    static F32 to_f32(I32 x) { return {_mm512_cvtepi32_ps(x.v)}; }
    static F32 power_of_two(I32 n) {
        return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(n.v, _mm512_set1_epi32(127)), 23))};
    }

    static void store_i32(int32_t* p, I32 x) { _mm512_storeu_si512(p, x.v); }
    static I32 dot_rows(I32 s, const int8_t* a, const int8_t* b, int32_t pair) {
        const __m128i as = load_128(a), bs = load_128(b);
        const __m128i low = _mm_unpacklo_epi8(as, bs), high = _mm_unpackhi_epi8(as, bs);  // a0 b0 a1 b1 ...
        return dot_pairs(s, _mm512_cvtepi8_epi16(_mm256_set_m128i(high, low)), pair);
    }
    static I32 dot_words(I32 s, const int16_t* w, int32_t pair) { return dot_pairs(s, _mm512_loadu_si512(w), pair); }

    static B64 load_bytes(const uint8_t* p) {
        __m512i bytes = _mm512_loadu_si512(p);
        asm("" : "+v"(bytes));  // in a register, or the compiler loads them again for each field
        return {bytes};
    }
    template <int shift, int mask> static B64 field(B64 x) {
        __m512i bits = x.v;
        if constexpr (shift > 0) bits = _mm512_srli_epi16(bits, shift);
        if constexpr (shift < 0) bits = _mm512_slli_epi16(bits, -shift);
        return {_mm512_and_si512(bits, _mm512_set1_epi8(static_cast<char>(mask)))};
    }
    static B64 bit_or(B64 x, B64 y) { return {_mm512_or_si512(x.v, y.v)}; }
    static B64 look_up(const uint8_t* table, B64 index) {
        const __m128i row = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
        return {_mm512_shuffle_epi8(_mm512_broadcast_i32x4(row), index.v)};
    }

    static I32 dot_small(I32 s, B64 w, const int8_t* x) { return dot_u8s8(s, w.v, four(x)); }
    static I32 dot_wide(I32 s, B64 w, const int8_t* x) {
        const __m512i xs = four(x);
        const __m512i signed_x = _mm512_mask_sub_epi8(xs, _mm512_movepi8_mask(w.v), _mm512_setzero_si512(), xs);
        return dot_u8s8(s, _mm512_abs_epi8(w.v), signed_x);
    }

  protected:
    static __m512i four(const int8_t* x) { return _mm512_set1_epi32(four_bytes(x)); }

  private:
    static __m128i load_128(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
    static I32 dot_pairs(I32 s, __m512i w, int32_t pair) {
        return {_mm512_add_epi32(s.v, _mm512_madd_epi16(w, _mm512_set1_epi32(pair)))};
    }
    static I32 dot_u8s8(I32 s, __m512i w, __m512i x) {
        const __m512i pairs = _mm512_maddubs_epi16(w, x);  // no overflow: 2 * 128 * 127 < 2^15
        return {_mm512_add_epi32(s.v, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)))};
    }
};

}  // namespace
}  // namespace filament
