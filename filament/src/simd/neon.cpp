// NEON with dot products (ARMv8.2): four registers hold 16 lanes. What each function does: portable.cpp, in plain C++.
#include <arm_neon.h>

#include "kernels/table.hpp"
#include "lanes.hpp"

namespace filament {
namespace {

#define EACH(T, expression)                          \
    T r;                                             \
    for (int i = 0; i < 4; ++i) r.v[i] = expression; \
    return r

struct Neon {
    static constexpr size_t kTokens = 4;
    static constexpr bool kBiased = false, kUnshifted = false, kGathers = false;
    struct F32 {
        float32x4_t v[4];
    };
    struct I32 {
        int32x4_t v[4];
    };
    struct B64 {
        int8x16_t v[4];
    };

    static F32 set(float x) { EACH(F32, vdupq_n_f32(x)); }
    static F32 load(const float* p) { EACH(F32, vld1q_f32(p + 4 * i)); }
    static F32 load_f16(const uint16_t* p) { EACH(F32, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i)))); }
    static F32 load_bf16(const uint16_t* p) { EACH(F32, vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p + 4 * i), 16))); }
    static void store(float* p, F32 x) {
        for (int i = 0; i < 4; ++i) vst1q_f32(p + 4 * i, x.v[i]);
    }
    static F32 add(F32 x, F32 y) { EACH(F32, vaddq_f32(x.v[i], y.v[i])); }
    static F32 mul(F32 x, F32 y) { EACH(F32, vmulq_f32(x.v[i], y.v[i])); }
    static F32 div(F32 x, F32 y) { EACH(F32, vdivq_f32(x.v[i], y.v[i])); }
    static F32 fma(F32 x, F32 y, F32 z) { EACH(F32, vfmaq_f32(z.v[i], x.v[i], y.v[i])); }
    static F32 max(F32 x, F32 y) { EACH(F32, vmaxq_f32(x.v[i], y.v[i])); }
    static F32 min(F32 x, F32 y) { EACH(F32, vminq_f32(x.v[i], y.v[i])); }
    static F32 abs(F32 x) { EACH(F32, vabsq_f32(x.v[i])); }
    static float largest(F32 x) { return vmaxvq_f32(vmaxq_f32(vmaxq_f32(x.v[0], x.v[1]), vmaxq_f32(x.v[2], x.v[3]))); }
    static float sum(F32 x) { return vaddvq_f32(vaddq_f32(vaddq_f32(x.v[0], x.v[1]), vaddq_f32(x.v[2], x.v[3]))); }

    static I32 set_i32(int32_t x) { EACH(I32, vdupq_n_s32(x)); }
    static I32 load_i32(const uint32_t* p) { EACH(I32, vreinterpretq_s32_u32(vld1q_u32(p + 4 * i))); }
    static I32 load_i8(const int8_t* p) {
        const int8x16_t bytes = vld1q_s8(p);
        const int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_s8(vget_high_s8(bytes));
        return {{vmovl_s16(vget_low_s16(low)), vmovl_s16(vget_high_s16(low)), vmovl_s16(vget_low_s16(high)),
                 vmovl_s16(vget_high_s16(high))}};
    }
    static void store_i8(int8_t* p, I32 x) {
        const int16x8_t low = vcombine_s16(vqmovn_s32(x.v[0]), vqmovn_s32(x.v[1]));
        const int16x8_t high = vcombine_s16(vqmovn_s32(x.v[2]), vqmovn_s32(x.v[3]));
        vst1q_s8(p, vcombine_s8(vqmovn_s16(low), vqmovn_s16(high)));
    }
    static I32 add(I32 x, I32 y) { EACH(I32, vaddq_s32(x.v[i], y.v[i])); }
    static I32 bit_and(I32 x, I32 y) { EACH(I32, vandq_s32(x.v[i], y.v[i])); }
    static I32 bit_or(I32 x, I32 y) { EACH(I32, vorrq_s32(x.v[i], y.v[i])); }
    template <int n> static I32 shift_left(I32 x) { EACH(I32, vshlq_n_s32(x.v[i], n)); }
    template <int n> static I32 shift_right(I32 x) { EACH(I32, vshrq_n_s32(x.v[i], n)); }
    static int32_t sum(I32 x) { return vaddvq_s32(vaddq_s32(vaddq_s32(x.v[0], x.v[1]), vaddq_s32(x.v[2], x.v[3]))); }
    static I32 round(F32 x) { EACH(I32, vcvtnq_s32_f32(x.v[i])); }
    static F32 to_f32(I32 x) { EACH(F32, vcvtq_f32_s32(x.v[i])); }
    static F32 power_of_two(I32 n) {
        EACH(F32, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n.v[i], vdupq_n_s32(127)), 23)));
    }

    static void store_i32(int32_t* p, I32 x) {
        for (int i = 0; i < 4; ++i) vst1q_s32(p + 4 * i, x.v[i]);
    }
    static I32 dot_rows(I32 s, const int8_t* a, const int8_t* b, int32_t pair) {
        const int8x16_t as = vld1q_s8(a), bs = vld1q_s8(b);
        const int16x8_t first[] = {vmovl_s8(vget_low_s8(as)), vmovl_s8(vget_high_s8(as))};
        const int16x8_t second[] = {vmovl_s8(vget_low_s8(bs)), vmovl_s8(vget_high_s8(bs))};
        return dot_halves(s, first, second, pair);
    }
    static I32 dot_words(I32 s, const int16_t* w, int32_t pair) {
        const int16x8x2_t low = vld2q_s16(w), high = vld2q_s16(w + 16);
        const int16x8_t first[] = {low.val[0], high.val[0]}, second[] = {low.val[1], high.val[1]};
        return dot_halves(s, first, second, pair);
    }

    static B64 load_bytes(const uint8_t* p) { EACH(B64, vreinterpretq_s8_u8(vld1q_u8(p + 16 * i))); }
    template <int shift, int mask> static B64 field(B64 x) {
        B64 r;
        for (int i = 0; i < 4; ++i) {
            uint8x16_t bits = vreinterpretq_u8_s8(x.v[i]);
            if constexpr (shift > 0) bits = vshrq_n_u8(bits, shift);
            if constexpr (shift < 0) bits = vshlq_n_u8(bits, -shift);
            r.v[i] = vreinterpretq_s8_u8(vandq_u8(bits, vdupq_n_u8(mask)));
        }
        return r;
    }
    static B64 bit_or(B64 x, B64 y) { EACH(B64, vorrq_s8(x.v[i], y.v[i])); }
    static B64 look_up(const uint8_t* table, B64 index) {
        const uint8x16_t row = vld1q_u8(table);
        EACH(B64, vreinterpretq_s8_u8(vqtbl1q_u8(row, vreinterpretq_u8_s8(index.v[i]))));
    }

    static I32 dot_small(I32 s, B64 w, const int8_t* x) {
        const int8x16_t xs = vreinterpretq_s8_s32(vdupq_n_s32(four_bytes(x)));
        EACH(I32, vdotq_s32(s.v[i], w.v[i], xs));
    }
    static I32 dot_wide(I32 s, B64 w, const int8_t* x) { return dot_small(s, w, x); }

  private:
    static I32 dot_halves(I32 s, const int16x8_t (&a)[2], const int16x8_t (&b)[2], int32_t pair) {
        const auto x = static_cast<int16_t>(pair), y = static_cast<int16_t>(pair >> 16);
        for (int i = 0; i < 4; ++i) {
            const int16x4_t as = i % 2 ? vget_high_s16(a[i / 2]) : vget_low_s16(a[i / 2]);
            const int16x4_t bs = i % 2 ? vget_high_s16(b[i / 2]) : vget_low_s16(b[i / 2]);
            s.v[i] = vmlal_n_s16(vmlal_n_s16(s.v[i], as, x), bs, y);
        }
        return s;
    }
};

#undef EACH

}  // namespace

extern const Kernels kNeon;
const Kernels kNeon = kernel_table<Neon>("neon");

}  // namespace filament
