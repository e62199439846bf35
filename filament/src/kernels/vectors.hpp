// Kernels on rows of floats, written once for every dialect V (simd/). What they compute: kernels.hpp.
#pragma once

#include "kernels.hpp"

namespace filament {
namespace {

template <class V> struct VectorKernels {
    using F32 = typename V::F32;
    using I32 = typename V::I32;

    static void quantize(const float* x, size_t n, size_t block, int8_t* codes, float* scales, int32_t* sums) {
        for (size_t b = 0; b < n / block; ++b, x += block, codes += block) {
            F32 most = V::set(0);
            for (size_t i = 0; i < block; i += 16) most = V::max(most, V::abs(V::load(x + i)));
            const float top = V::largest(most);
            const F32 inverse = V::set(top > 0 ? 127.0f / top : 0.0f);
            I32 total = V::set_i32(0);
            for (size_t i = 0; i < block; i += 16) {
                const F32 scaled = V::mul(V::load(x + i), inverse);
                const I32 code = V::round(V::min(V::max(scaled, V::set(-127)), V::set(127)));  // what is no number, too
                V::store_i8(codes + i, code);
                total = V::add(total, code);
            }
            scales[b] = top / 127.0f;
            sums[b] = V::sum(total);
        }
    }

    static void rms_norm(const float* x, const float* weight, size_t n, float epsilon, float* out) {
        F32 squares = V::set(0);
        for (size_t i = 0; i < n; i += 16) squares = V::fma(V::load(x + i), V::load(x + i), squares);
        const F32 factor = V::set(1.0f / __builtin_sqrtf(V::sum(squares) / static_cast<float>(n) + epsilon));
        for (size_t i = 0; i < n; i += 16)
            V::store(out + i, V::mul(V::mul(V::load(x + i), factor), V::load(weight + i)));
    }

    static void layer_norm(const float* x, const float* weight, const float* bias, size_t n, float epsilon,
                           float* out) {
        const size_t whole = n / 16 * 16;
        F32 sums = V::set(0), squares = V::set(0);
        for (size_t i = 0; i < whole; i += 16) sums = V::add(sums, V::load(x + i));
        float total = V::sum(sums);
        for (size_t i = whole; i < n; ++i) total += x[i];
        const float mean = total / static_cast<float>(n);
        float last[16];  // what is no whole tile, followed by the mean: it adds nothing and becomes zero
        for (size_t i = 0; i < 16; ++i) last[i] = whole + i < n ? x[whole + i] : mean;
        const F32 less = V::set(-mean);
        const auto center = [&](size_t i) { return V::add(V::load(i < whole ? x + i : last), less); };
        for (size_t i = 0; i < n; i += 16) squares = V::fma(center(i), center(i), squares);
        const F32 factor = V::set(1.0f / __builtin_sqrtf(V::sum(squares) / static_cast<float>(n) + epsilon));
        for (size_t i = 0; i < n; i += 16)
            V::store(out + i, V::fma(V::mul(center(i), factor), V::load(weight + i), V::load(bias + i)));
    }

    // max(x, 0) - |x| (1 - Phi(|x|)), with erf as in Abramowitz & Stegun 1964, 7.1.26.
    static void gelu(const float* x, size_t n, float* out) {
        constexpr float coefficients[] = {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f};
        for (size_t i = 0; i < n; i += 16) {
            const F32 v = V::load(x + i), size = V::abs(v);
            const F32 t = V::div(V::set(1), V::fma(size, V::set(0.3275911f * 0.70710678f), V::set(1)));
            F32 p = V::set(1.061405429f);
            for (const float c : coefficients) p = V::fma(p, t, V::set(c));
            const F32 falls = exp(V::mul(V::mul(v, v), V::set(-0.5f)));
            const F32 beyond = V::mul(V::mul(p, t), V::mul(falls, V::set(-0.5f)));
            V::store(out + i, V::fma(size, beyond, V::max(v, V::set(0))));
        }
    }

    static void silu_gate(const float* gate, const float* up, size_t n, float* out) {
        for (size_t i = 0; i < n; i += 16) {
            const F32 g = V::load(gate + i);
            V::store(out + i, V::mul(times_sigmoid(g, g), V::load(up + i)));
        }
    }

    // g / 2 * (1 + tanh(y)) is g * sigmoid(2 y), with y = sqrt(2 / pi) * (g + 0.044715 g^3).
    static void gelu_gate(const float* gate, const float* up, size_t n, float* out) {
        for (size_t i = 0; i < n; i += 16) {
            const F32 g = V::load(gate + i);
            const F32 cubic = V::fma(V::mul(g, g), V::set(0.044715f), V::set(1));
            const F32 twice = V::mul(V::mul(g, V::set(1.5957691216f)), cubic);
            V::store(out + i, V::mul(times_sigmoid(g, twice), V::load(up + i)));
        }
    }

    static void mlgru(const float* forget, const float* candidate, const float* gate, const float* lower, size_t n,
                      float* h, float* out) {
        const F32 one = V::set(1), minus = V::set(-1);
        for (size_t i = 0; i < n; i += 16) {
            const F32 least = V::load(lower + i), c = V::load(candidate + i), come = times_sigmoid(c, c);
            const F32 kept = times_sigmoid(V::fma(least, minus, one), V::load(forget + i));
            const F32 change = V::fma(come, minus, V::load(h + i));  // h = come + f (h - come)
            const F32 now = V::fma(V::add(least, kept), change, come);
            V::store(h + i, now);
            V::store(out + i, times_sigmoid(now, V::load(gate + i)));
        }
    }

    static float softmax_exp(float* x, size_t begin, size_t end, size_t n, float factor) {
        for (size_t i = 0; i < begin; ++i) x[i] = -3e38f;
        for (size_t i = end; i < n; ++i) x[i] = -3e38f;
        F32 most = V::set(-3e38f);
        for (size_t i = 0; i < n; i += 16) most = V::max(most, V::load(x + i));
        const F32 shift = V::set(-factor * V::largest(most)), by = V::set(factor);
        F32 total = V::set(0);
        for (size_t i = 0; i < n; i += 16) {
            const F32 e = exp(V::fma(V::load(x + i), by, shift));
            V::store(x + i, e);
            total = V::add(total, e);
        }
        for (size_t i = 0; i < begin; ++i) x[i] = 0;
        for (size_t i = end; i < n; ++i) x[i] = 0;
        return V::sum(total);
    }

    static void scale(float* x, const float* by, size_t n, float factor) {
        for (size_t i = 0; i < n; i += 16)
            V::store(x + i, V::mul(V::mul(V::load(x + i), V::load(by + i)), V::set(factor)));
    }

    // Eight sums at once, or each instruction would wait for the one before. `loads` of them read bytes of their own.
    template <size_t loads> static int32_t read(const uint8_t* p, size_t n, const int8_t* by) {
        I32 sums[kReadOften];
        for (I32& s : sums) s = V::set_i32(0);
        for (const uint8_t* end = p + n; p < end; p += kChunk * loads) {
            typename V::B64 bytes[loads];
            for (size_t i = 0; i < loads; ++i) bytes[i] = V::load_bytes(p + kChunk * i);
            for (size_t i = 0; i < kReadOften; ++i) sums[i] = V::dot_small(sums[i], bytes[i % loads], by + 4 * i);
        }
        I32 total = V::set_i32(0);
        for (const I32& s : sums) total = V::add(total, s);
        return V::sum(total);
    }

  private:
    // e^x to about 2 units in the last place (Cephes): 2^n times a polynomial of r = x - n ln 2.
    static F32 exp(F32 x) {
        x = V::min(V::max(x, V::set(-87.0f)), V::set(88.0f));
        const I32 n = V::round(V::mul(x, V::set(1.44269504f)));
        const F32 nf = V::to_f32(n);
        const F32 r = V::fma(nf, V::set(2.12194440e-4f), V::fma(nf, V::set(-0.693359375f), x));
        constexpr float coefficients[] = {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f,
                                          5.0000001201e-1f};
        F32 p = V::set(1.9875691500e-4f);
        for (const float c : coefficients) p = V::fma(p, r, V::set(c));
        return V::mul(V::fma(V::mul(p, r), r, V::add(r, V::set(1.0f))), V::power_of_two(n));
    }

    static F32 times_sigmoid(F32 x, F32 y) { return V::div(x, V::add(V::set(1), exp(V::mul(y, V::set(-1))))); }
};

}  // namespace
}  // namespace filament
