// Any processor: the compiler finds what it can. The other dialects do the same with instructions of their own.
#include "kernels/table.hpp"
#include "lanes.hpp"

namespace filament {
namespace {

#define EACH(T, expression)                           \
    T r;                                              \
    for (int i = 0; i < 16; ++i) r.v[i] = expression; \
    return r

struct Portable {
    static constexpr size_t kTokens = 2;
    static constexpr bool kBiased = false, kUnshifted = false, kGathers = false;
    struct F32 {
        float v[16];
    };
    struct I32 {
        int32_t v[16];
    };
    struct B64 {
        int8_t v[64];
    };

    static F32 set(float x) { EACH(F32, x); }
    static F32 load(const float* p) { EACH(F32, p[i]); }
    static F32 load_f16(const uint16_t* p) { EACH(F32, from_half(p[i])); }
    static F32 load_bf16(const uint16_t* p) { EACH(F32, from_bits(static_cast<uint32_t>(p[i]) << 16)); }
    static void store(float* p, F32 x) {
        for (int i = 0; i < 16; ++i) p[i] = x.v[i];
    }
    static F32 add(F32 x, F32 y) { EACH(F32, x.v[i] + y.v[i]); }
    static F32 mul(F32 x, F32 y) { EACH(F32, x.v[i] * y.v[i]); }
    static F32 div(F32 x, F32 y) { EACH(F32, x.v[i] / y.v[i]); }
    static F32 fma(F32 x, F32 y, F32 z) { EACH(F32, x.v[i] * y.v[i] + z.v[i]); }
    static F32 max(F32 x, F32 y) { EACH(F32, x.v[i] > y.v[i] ? x.v[i] : y.v[i]); }
    static F32 min(F32 x, F32 y) { EACH(F32, x.v[i] < y.v[i] ? x.v[i] : y.v[i]); }
    static F32 abs(F32 x) { EACH(F32, x.v[i] < 0 ? -x.v[i] : x.v[i]); }
    static float largest(F32 x) {
        float most = x.v[0];
        for (float lane : x.v) most = lane > most ? lane : most;
        return most;
    }
    static float sum(F32 x) {
        float total = 0;
        for (float lane : x.v) total += lane;
        return total;
    }

    static I32 set_i32(int32_t x) { EACH(I32, x); }
    static I32 load_i32(const uint32_t* p) { EACH(I32, static_cast<int32_t>(p[i])); }
    static I32 load_i8(const int8_t* p) { EACH(I32, p[i]); }
    static void store_i8(int8_t* p, I32 x) {
        for (int i = 0; i < 16; ++i) p[i] = static_cast<int8_t>(x.v[i] < -128 ? -128 : x.v[i] > 127 ? 127 : x.v[i]);
    }
    static I32 add(I32 x, I32 y) { EACH(I32, x.v[i] + y.v[i]); }
    static I32 bit_and(I32 x, I32 y) { EACH(I32, x.v[i] & y.v[i]); }
    static I32 bit_or(I32 x, I32 y) { EACH(I32, x.v[i] | y.v[i]); }
    template <int n> static I32 shift_left(I32 x) { EACH(I32, x.v[i] << n); }
    template <int n> static I32 shift_right(I32 x) { EACH(I32, x.v[i] >> n); }  // copies of the sign come in
    static int32_t sum(I32 x) {
        int32_t total = 0;
        for (int32_t lane : x.v) total += lane;
        return total;
    }
    static I32 round(F32 x) { EACH(I32, nearest(x.v[i])); }  // ties to even
    static F32 to_f32(I32 x) { EACH(F32, static_cast<float>(x.v[i])); }
    static F32 power_of_two(I32 n) { EACH(F32, from_bits(static_cast<uint32_t>(n.v[i] + 127) << 23)); }

    static void store_i32(int32_t* p, I32 x) { __builtin_memcpy(p, x.v, 64); }
    static I32 dot_rows(I32 s, const int8_t* a, const int8_t* b, int32_t pair) {
        const auto x = static_cast<int16_t>(pair), y = static_cast<int16_t>(pair >> 16);
        EACH(I32, s.v[i] + a[i] * x + b[i] * y);
    }
    static I32 dot_words(I32 s, const int16_t* w, int32_t pair) {
        const auto x = static_cast<int16_t>(pair), y = static_cast<int16_t>(pair >> 16);
        EACH(I32, s.v[i] + w[2 * i] * x + w[2 * i + 1] * y);
    }

    static B64 load_bytes(const uint8_t* p) {
        B64 r;
        __builtin_memcpy(r.v, p, 64);
        return r;
    }
    // Each byte shifted right (left, where the shift is negative) and masked.
    template <int shift, int mask> static B64 field(B64 x) {
        for (int8_t& code : x.v) {
            const auto byte = static_cast<uint8_t>(code);
            if constexpr (shift >= 0) code = static_cast<int8_t>(byte >> shift & mask);
            else code = static_cast<int8_t>(byte << -shift & mask);
        }
        return x;
    }
    static B64 bit_or(B64 x, B64 y) {
        for (int i = 0; i < 64; ++i) x.v[i] = static_cast<int8_t>(x.v[i] | y.v[i]);
        return x;
    }
    static B64 look_up(const uint8_t* table, B64 index) {
        for (int8_t& code : index.v) code = static_cast<int8_t>(table[code & 15]);
        return index;
    }

    static I32 dot_small(I32 s, B64 w, const int8_t* x) {
        EACH(I32, s.v[i] + w.v[4 * i] * x[0] + w.v[4 * i + 1] * x[1] + w.v[4 * i + 2] * x[2] + w.v[4 * i + 3] * x[3]);
    }
    static I32 dot_wide(I32 s, B64 w, const int8_t* x) { return dot_small(s, w, x); }

  private:
    static float from_bits(uint32_t bits) {
        float x;
        __builtin_memcpy(&x, &bits, 4);
        return x;
    }
    static float from_half(uint16_t half) {
        const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16, exponent = (half >> 10) & 31,
                       mantissa = half & 1023u;
        if (exponent == 31) return from_bits(sign | 0x7f800000u | mantissa << 13);
        if (exponent) return from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
        const float tiny = static_cast<float>(mantissa) * 0x1p-24f;
        return sign ? -tiny : tiny;
    }
    static int32_t nearest(float x) {
        return x > -2e9f && x < 2e9f ? static_cast<int32_t>(__builtin_rintf(x)) : INT32_MIN;
    }
};

#undef EACH

}  // namespace

extern const Kernels kPortable;
const Kernels kPortable = kernel_table<Portable>("portable");

}  // namespace filament
