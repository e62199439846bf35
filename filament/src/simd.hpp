// Vectors of 16 lanes, the same for every instruction set: a kernel is written once. Included by kernels.cpp alone, inside
// the namespace of its instruction set, and compiled with its flags.
//
//   F32  16 floats          I32  16 int32          B64  64 bytes: 4 for each of 16 lanes
//   dot_small(sum, w, x)  each lane: sum + the 4 products of w (0..15, unsigned) and x (4 int8, the same for all lanes)
//   dot_wide(sum, w, x)   likewise with w -128..127; stored plus 128 where kBiased
//   kUnshifted            dot_small takes any w of 0..255, so a field of bits need not be shifted down first
//   down<n>(sum)          sum / 2^n of sums that are multiples of it

inline int32_t four(const int8_t* x) {
    int32_t bits;
    __builtin_memcpy(&bits, x, 4);
    return bits;
}

#if defined(__AVX512F__) && defined(__AVX512BW__)

constexpr size_t kTokens = 8;  // tokens worked on at once: as many as the registers hold
struct F32 { __m512 v; };
struct I32 { __m512i v; };
struct B64 { __m512i v; };

inline F32 set(float x) { return {_mm512_set1_ps(x)}; }
inline F32 load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline F32 load_f16(const uint16_t* p) { return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))}; }
inline F32 load_bf16(const uint16_t* p) {
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}
inline void store(float* p, F32 x) { _mm512_storeu_ps(p, x.v); }
inline F32 add(F32 a, F32 b) { return {_mm512_add_ps(a.v, b.v)}; }
inline F32 mul(F32 a, F32 b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline F32 div(F32 a, F32 b) { return {_mm512_div_ps(a.v, b.v)}; }
inline F32 fma(F32 a, F32 b, F32 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline F32 max(F32 a, F32 b) { return {_mm512_max_ps(a.v, b.v)}; }
inline F32 min(F32 a, F32 b) { return {_mm512_min_ps(a.v, b.v)}; }
inline F32 abs(F32 a) { return {_mm512_abs_ps(a.v)}; }
inline float largest(F32 a) { return _mm512_reduce_max_ps(a.v); }
inline float sum(F32 a) { return _mm512_reduce_add_ps(a.v); }
inline I32 set_i(int32_t x) { return {_mm512_set1_epi32(x)}; }
inline I32 round(F32 a) { return {_mm512_cvtps_epi32(a.v)}; }
inline F32 to_f32(I32 a) { return {_mm512_cvtepi32_ps(a.v)}; }
inline F32 power_of_two(I32 n) { return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(n.v, _mm512_set1_epi32(127)), 23))}; }
inline int32_t sum(I32 a) { return _mm512_reduce_add_epi32(a.v); }
inline I32 add(I32 a, I32 b) { return {_mm512_add_epi32(a.v, b.v)}; }
template <int n> I32 down(I32 a) { return {_mm512_srai_epi32(a.v, n)}; }
inline void store_i8(int8_t* p, I32 a) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(a.v)); }
inline B64 load_bytes(const uint8_t* p) {
    __m512i bytes = _mm512_loadu_si512(p);
    asm("" : "+v"(bytes));  // in a register, or the compiler loads them again for each field
    return {bytes};
}
template <int shift, int mask> B64 field(B64 a) {
    return {_mm512_and_si512(shift ? _mm512_srli_epi16(a.v, shift) : a.v, _mm512_set1_epi8(mask))};
}
inline B64 look_up(const uint8_t* table, B64 index) {
    const __m128i row = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
    return {_mm512_shuffle_epi8(_mm512_broadcast_i32x4(row), index.v)};
}

#if defined(__AVX512VNNI__)
constexpr bool kBiased = true, kUnshifted = true;
inline I32 dot_small(I32 s, B64 w, const int8_t* x) { return {_mm512_dpbusd_epi32(s.v, w.v, _mm512_set1_epi32(four(x)))}; }
inline I32 dot_wide(I32 s, B64 w, const int8_t* x) { return dot_small(s, w, x); }
#else
constexpr bool kBiased = false, kUnshifted = false;
inline I32 dot_u8s8(I32 s, __m512i w, __m512i x) {
    const __m512i pairs = _mm512_maddubs_epi16(w, x);  // no overflow: 2 * 128 * 127 < 2^15
    return {_mm512_add_epi32(s.v, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)))};
}
inline I32 dot_small(I32 s, B64 w, const int8_t* x) { return dot_u8s8(s, w.v, _mm512_set1_epi32(four(x))); }
inline I32 dot_wide(I32 s, B64 w, const int8_t* x) {
    const __m512i xs = _mm512_set1_epi32(four(x));
    const __m512i signed_x = _mm512_mask_sub_epi8(xs, _mm512_movepi8_mask(w.v), _mm512_setzero_si512(), xs);
    return dot_u8s8(s, _mm512_abs_epi8(w.v), signed_x);
}
#endif

#elif defined(__AVX2__)

constexpr size_t kTokens = 4;
struct F32 { __m256 a, b; };
struct I32 { __m256i a, b; };
struct B64 { __m256i a, b; };

inline const __m256i* at(const void* p) { return static_cast<const __m256i*>(p); }
inline F32 set(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline F32 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline F32 load_f16(const uint16_t* p) {
    const auto* half = reinterpret_cast<const __m128i*>(p);
    return {_mm256_cvtph_ps(_mm_loadu_si128(half)), _mm256_cvtph_ps(_mm_loadu_si128(half + 1))};
}
inline __m256 widen_bf16(__m128i x) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16)); }
inline F32 load_bf16(const uint16_t* p) {
    const auto* half = reinterpret_cast<const __m128i*>(p);
    return {widen_bf16(_mm_loadu_si128(half)), widen_bf16(_mm_loadu_si128(half + 1))};
}
inline void store(float* p, F32 x) { _mm256_storeu_ps(p, x.a), _mm256_storeu_ps(p + 8, x.b); }
inline F32 add(F32 x, F32 y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
inline F32 mul(F32 x, F32 y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
inline F32 div(F32 x, F32 y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
inline F32 fma(F32 x, F32 y, F32 z) { return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)}; }
inline F32 max(F32 x, F32 y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
inline F32 min(F32 x, F32 y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
inline F32 abs(F32 x) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return {_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
}
inline float largest(F32 x) {
    float lanes[16], most;
    store(lanes, x);
    most = lanes[0];
    for (float lane : lanes) most = lane > most ? lane : most;
    return most;
}
inline float sum(F32 x) {
    float lanes[16], total = 0;
    store(lanes, x);
    for (float lane : lanes) total += lane;
    return total;
}
inline I32 set_i(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
inline I32 round(F32 x) { return {_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)}; }
inline F32 to_f32(I32 x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
inline __m256 power_of_two(__m256i n) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23)); }
inline F32 power_of_two(I32 n) { return {power_of_two(n.a), power_of_two(n.b)}; }
inline I32 add(I32 x, I32 y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
template <int n> I32 down(I32 x) { return {_mm256_srai_epi32(x.a, n), _mm256_srai_epi32(x.b, n)}; }
inline int32_t sum(I32 x) {
    int32_t lanes[8], total = 0;
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(lanes), _mm256_add_epi32(x.a, x.b));
    for (int32_t lane : lanes) total += lane;
    return total;
}
inline void store_i8(int8_t* p, I32 x) {
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.a, x.b), 0xD8);
    const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
}
inline B64 load_bytes(const uint8_t* p) { return {_mm256_loadu_si256(at(p)), _mm256_loadu_si256(at(p + 32))}; }
template <int shift, int mask> __m256i field(__m256i x) {
    return _mm256_and_si256(shift ? _mm256_srli_epi16(x, shift) : x, _mm256_set1_epi8(mask));
}
template <int shift, int mask> B64 field(B64 x) { return {field<shift, mask>(x.a), field<shift, mask>(x.b)}; }
inline B64 look_up(const uint8_t* table, B64 index) {
    const __m256i row = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
    return {_mm256_shuffle_epi8(row, index.a), _mm256_shuffle_epi8(row, index.b)};
}

#if defined(__AVXVNNI__)
constexpr bool kBiased = true, kUnshifted = true;
inline I32 dot_small(I32 s, B64 w, const int8_t* x) {
    const __m256i xs = _mm256_set1_epi32(four(x));
    return {_mm256_dpbusd_avx_epi32(s.a, w.a, xs), _mm256_dpbusd_avx_epi32(s.b, w.b, xs)};
}
inline I32 dot_wide(I32 s, B64 w, const int8_t* x) { return dot_small(s, w, x); }
#else
constexpr bool kBiased = false, kUnshifted = false;
inline __m256i dot_u8s8(__m256i s, __m256i w, __m256i x) {
    const __m256i pairs = _mm256_maddubs_epi16(w, x);  // no overflow: 2 * 128 * 127 < 2^15
    return _mm256_add_epi32(s, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
inline I32 dot_small(I32 s, B64 w, const int8_t* x) {
    const __m256i xs = _mm256_set1_epi32(four(x));
    return {dot_u8s8(s.a, w.a, xs), dot_u8s8(s.b, w.b, xs)};
}
inline I32 dot_wide(I32 s, B64 w, const int8_t* x) {
    const __m256i xs = _mm256_set1_epi32(four(x));
    return {dot_u8s8(s.a, _mm256_abs_epi8(w.a), _mm256_sign_epi8(xs, w.a)),
            dot_u8s8(s.b, _mm256_abs_epi8(w.b), _mm256_sign_epi8(xs, w.b))};
}
#endif

#elif defined(__ARM_FEATURE_DOTPROD)

constexpr size_t kTokens = 4;
constexpr bool kBiased = false, kUnshifted = false;
struct F32 { float32x4_t v[4]; };
struct I32 { int32x4_t v[4]; };
struct B64 { int8x16_t v[4]; };

#define EACH(T, expression) T r; for (int i = 0; i < 4; ++i) r.v[i] = expression; return r
inline F32 set(float x) { EACH(F32, vdupq_n_f32(x)); }
inline F32 load(const float* p) { EACH(F32, vld1q_f32(p + 4 * i)); }
inline F32 load_f16(const uint16_t* p) { EACH(F32, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i)))); }
inline F32 load_bf16(const uint16_t* p) { EACH(F32, vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p + 4 * i), 16))); }
inline void store(float* p, F32 x) { for (int i = 0; i < 4; ++i) vst1q_f32(p + 4 * i, x.v[i]); }
inline F32 add(F32 x, F32 y) { EACH(F32, vaddq_f32(x.v[i], y.v[i])); }
inline F32 mul(F32 x, F32 y) { EACH(F32, vmulq_f32(x.v[i], y.v[i])); }
inline F32 div(F32 x, F32 y) { EACH(F32, vdivq_f32(x.v[i], y.v[i])); }
inline F32 fma(F32 x, F32 y, F32 z) { EACH(F32, vfmaq_f32(z.v[i], x.v[i], y.v[i])); }
inline F32 max(F32 x, F32 y) { EACH(F32, vmaxq_f32(x.v[i], y.v[i])); }
inline F32 min(F32 x, F32 y) { EACH(F32, vminq_f32(x.v[i], y.v[i])); }
inline F32 abs(F32 x) { EACH(F32, vabsq_f32(x.v[i])); }
inline float largest(F32 x) { return vmaxvq_f32(vmaxq_f32(vmaxq_f32(x.v[0], x.v[1]), vmaxq_f32(x.v[2], x.v[3]))); }
inline float sum(F32 x) { return vaddvq_f32(vaddq_f32(vaddq_f32(x.v[0], x.v[1]), vaddq_f32(x.v[2], x.v[3]))); }
inline I32 set_i(int32_t x) { EACH(I32, vdupq_n_s32(x)); }
inline I32 round(F32 x) { EACH(I32, vcvtnq_s32_f32(x.v[i])); }
inline F32 to_f32(I32 x) { EACH(F32, vcvtq_f32_s32(x.v[i])); }
inline F32 power_of_two(I32 n) { EACH(F32, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n.v[i], vdupq_n_s32(127)), 23))); }
inline I32 add(I32 x, I32 y) { EACH(I32, vaddq_s32(x.v[i], y.v[i])); }
template <int n> I32 down(I32 x) { EACH(I32, vshrq_n_s32(x.v[i], n)); }
inline int32_t sum(I32 x) { return vaddvq_s32(vaddq_s32(vaddq_s32(x.v[0], x.v[1]), vaddq_s32(x.v[2], x.v[3]))); }
inline void store_i8(int8_t* p, I32 x) {
    const int16x8_t low = vcombine_s16(vqmovn_s32(x.v[0]), vqmovn_s32(x.v[1]));
    const int16x8_t high = vcombine_s16(vqmovn_s32(x.v[2]), vqmovn_s32(x.v[3]));
    vst1q_s8(p, vcombine_s8(vqmovn_s16(low), vqmovn_s16(high)));
}
inline B64 load_bytes(const uint8_t* p) { EACH(B64, vreinterpretq_s8_u8(vld1q_u8(p + 16 * i))); }
template <int shift, int mask> B64 field(B64 x) {
    B64 r;
    for (int i = 0; i < 4; ++i) {
        uint8x16_t bits = vreinterpretq_u8_s8(x.v[i]);
        if constexpr (shift != 0) bits = vshrq_n_u8(bits, shift);
        r.v[i] = vreinterpretq_s8_u8(vandq_u8(bits, vdupq_n_u8(mask)));
    }
    return r;
}
inline B64 look_up(const uint8_t* table, B64 index) {
    const uint8x16_t row = vld1q_u8(table);
    EACH(B64, vreinterpretq_s8_u8(vqtbl1q_u8(row, vreinterpretq_u8_s8(index.v[i]))));
}
inline I32 dot_small(I32 s, B64 w, const int8_t* x) {
    const int8x16_t xs = vreinterpretq_s8_s32(vdupq_n_s32(four(x)));
    EACH(I32, vdotq_s32(s.v[i], w.v[i], xs));
}
inline I32 dot_wide(I32 s, B64 w, const int8_t* x) { return dot_small(s, w, x); }
#undef EACH

#else  // any processor: the compiler finds what it can

constexpr size_t kTokens = 2;
constexpr bool kBiased = false, kUnshifted = false;
struct F32 { float v[16]; };
struct I32 { int32_t v[16]; };
struct B64 { int8_t v[64]; };

#define EACH(T, expression) T r; for (int i = 0; i < 16; ++i) r.v[i] = expression; return r
inline float from_bits(uint32_t bits) { float x; __builtin_memcpy(&x, &bits, 4); return x; }
inline float from_half(uint16_t half) {
    const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16, exponent = (half >> 10) & 31, mantissa = half & 1023u;
    if (exponent == 31) return from_bits(sign | 0x7f800000u | mantissa << 13);
    if (exponent) return from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
    const float tiny = static_cast<float>(mantissa) * 0x1p-24f;
    return sign ? -tiny : tiny;
}
inline F32 set(float x) { EACH(F32, x); }
inline F32 load(const float* p) { EACH(F32, p[i]); }
inline F32 load_f16(const uint16_t* p) { EACH(F32, from_half(p[i])); }
inline F32 load_bf16(const uint16_t* p) { EACH(F32, from_bits(static_cast<uint32_t>(p[i]) << 16)); }
inline void store(float* p, F32 x) { for (int i = 0; i < 16; ++i) p[i] = x.v[i]; }
inline F32 add(F32 x, F32 y) { EACH(F32, x.v[i] + y.v[i]); }
inline F32 mul(F32 x, F32 y) { EACH(F32, x.v[i] * y.v[i]); }
inline F32 div(F32 x, F32 y) { EACH(F32, x.v[i] / y.v[i]); }
inline F32 fma(F32 x, F32 y, F32 z) { EACH(F32, x.v[i] * y.v[i] + z.v[i]); }
inline F32 max(F32 x, F32 y) { EACH(F32, x.v[i] > y.v[i] ? x.v[i] : y.v[i]); }
inline F32 min(F32 x, F32 y) { EACH(F32, x.v[i] < y.v[i] ? x.v[i] : y.v[i]); }
inline F32 abs(F32 x) { EACH(F32, x.v[i] < 0 ? -x.v[i] : x.v[i]); }
inline float largest(F32 x) { float most = x.v[0]; for (float lane : x.v) most = lane > most ? lane : most; return most; }
inline float sum(F32 x) { float total = 0; for (float lane : x.v) total += lane; return total; }
inline I32 set_i(int32_t x) { EACH(I32, x); }
inline int32_t nearest(float x) { return x > -2e9f && x < 2e9f ? static_cast<int32_t>(__builtin_rintf(x)) : INT32_MIN; }
inline I32 round(F32 x) { EACH(I32, nearest(x.v[i])); }
inline F32 to_f32(I32 x) { EACH(F32, static_cast<float>(x.v[i])); }
inline F32 power_of_two(I32 n) { EACH(F32, from_bits(static_cast<uint32_t>(n.v[i] + 127) << 23)); }
inline I32 add(I32 x, I32 y) { EACH(I32, x.v[i] + y.v[i]); }
template <int n> I32 down(I32 x) { EACH(I32, x.v[i] >> n); }
inline int32_t sum(I32 x) { int32_t total = 0; for (int32_t lane : x.v) total += lane; return total; }
inline void store_i8(int8_t* p, I32 x) {
    for (int i = 0; i < 16; ++i) p[i] = static_cast<int8_t>(x.v[i] < -128 ? -128 : x.v[i] > 127 ? 127 : x.v[i]);
}
inline B64 load_bytes(const uint8_t* p) { B64 r; __builtin_memcpy(r.v, p, 64); return r; }
template <int shift, int mask> B64 field(B64 x) {
    for (int8_t& code : x.v) code = static_cast<int8_t>(static_cast<uint8_t>(code) >> shift & mask);
    return x;
}
inline B64 look_up(const uint8_t* table, B64 index) {
    for (int8_t& code : index.v) code = static_cast<int8_t>(table[code & 15]);
    return index;
}
inline I32 dot_small(I32 s, B64 w, const int8_t* x) {
    EACH(I32, s.v[i] + w.v[4 * i] * x[0] + w.v[4 * i + 1] * x[1] + w.v[4 * i + 2] * x[2] + w.v[4 * i + 3] * x[3]);
}
inline I32 dot_wide(I32 s, B64 w, const int8_t* x) { return dot_small(s, w, x); }
#undef EACH

#endif

// e^x to about 2 units in the last place (Cephes): 2^n times a polynomial of r = x - n ln 2.
inline F32 exp(F32 x) {
    x = min(max(x, set(-87.0f)), set(88.0f));
    const I32 n = round(mul(x, set(1.44269504f)));
    const F32 nf = to_f32(n);
    const F32 r = fma(nf, set(2.12194440e-4f), fma(nf, set(-0.693359375f), x));
    F32 p = set(1.9875691500e-4f);
    for (const float c : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f}) {
        p = fma(p, r, set(c));
    }
    return mul(fma(mul(p, r), r, add(r, set(1.0f))), power_of_two(n));
}
