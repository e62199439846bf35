// Sums of whole numbers that are exact, written once for every dialect V (simd/): what classifiers add up. What they
// compute: kernels.hpp. A lane of 32 bits takes pairs of products as long as it cannot overflow, then 64 bits take it.
#pragma once

#include "kernels.hpp"

namespace filament {
namespace {

constexpr size_t kRowPairs = 256;  // 256 * 2 * 128 * 32767 < 2^31
constexpr size_t kWordPairs = 15;  // 15 * 2 * 2048 * 32768 < 2^31
constexpr size_t kMostTiles = 5;   // of 16 columns: two registers each, with AVX2

inline int32_t two_words(const int16_t* x) {
    int32_t bits;
    __builtin_memcpy(&bits, x, 4);
    return bits;
}

template <class V> struct WordKernels {
    using I32 = typename V::I32;

    static void add_rows(const int8_t* const* rows, const int16_t* by, size_t n, size_t columns, int64_t* sums) {
        for (size_t first = 0; first < columns;) {
            const size_t tiles = (columns - first) / 16;
            first += 16 * add_tiles<kMostTiles>(tiles, rows, by, n, first, sums + first);
        }
    }

    static void multiply_words(const int16_t* matrix, size_t rows, size_t columns, const int16_t* x, int64_t* sums) {
        for (size_t tile = 0; tile < rows; tile += 16, sums += 16) {
            for (size_t i = 0; i < 16; ++i) sums[i] = 0;
            for (size_t c = 0; c < columns;) {
                I32 sum = V::set_i32(0);
                for (size_t pair = 0; pair < kWordPairs && c < columns; ++pair, c += 2, matrix += 32)
                    sum = V::dot_words(sum, matrix, two_words(x + c));
                flush(sum, sums);
            }
        }
    }

  private:
    // The first tiles, as many as there are but at most N: how many they were.
    template <size_t N>
    static size_t add_tiles(size_t tiles, const int8_t* const* rows, const int16_t* by, size_t n, size_t first,
                            int64_t* sums) {
        if constexpr (N > 1) {
            if (tiles < N) return add_tiles<N - 1>(tiles, rows, by, n, first, sums);
        }
        for (size_t i = 0; i < n;) {
            I32 lanes[N];
            for (I32& lane : lanes) lane = V::set_i32(0);
            for (size_t pair = 0; pair < kRowPairs && i < n; ++pair, i += 2) {
                const int8_t *a = rows[i] + first, *b = rows[i + 1] + first;
                const int32_t factors = two_words(by + i);
                for (size_t t = 0; t < N; ++t) lanes[t] = V::dot_rows(lanes[t], a + 16 * t, b + 16 * t, factors);
            }
            for (size_t t = 0; t < N; ++t) flush(lanes[t], sums + 16 * t);
        }
        return N;
    }

    static void flush(I32 sum, int64_t* sums) {
        int32_t lanes[16];
        V::store_i32(lanes, sum);
        for (size_t i = 0; i < 16; ++i) sums[i] += lanes[i];
    }
};

}  // namespace
}  // namespace filament
