// How codes and scales of each layout become vectors. A layout is a specialization of Codes and one of Scaling.
//
// Codes<V, layout>::unpack loads each chunk by load(place) and gives every vector of weights of a block (of a tile) to
// use(part, weights, column): 4 columns from `column` on, of 16 rows. A field of bits that is left in its place
// (`split`) stands for 2^shift(part) times its number. Where the caller's sums fill the registers (`crowded`), loops
// stay loops.
#pragma once

#include "layouts.hpp"

// What is worth a register: a call here would cost more than the work.
#define FILAMENT_INLINE __attribute__((always_inline))

namespace filament {
namespace {

template <int n> struct Constant {
    static constexpr int value = n;
};
// use(Constant<0>), use(Constant<1>), ... use(Constant<n - 1>)
template <int n, int i = 0, class Use> inline FILAMENT_INLINE void for_each(Use use) {
    if constexpr (i < n) {
        use(Constant<i>());
        for_each<n, i + 1>(use);
    }
}

template <class V, Layout layout> struct Codes;

// Fields of `bits` bits: each byte of a chunk holds codes of `parts` columns, which lie `step` apart.
template <class V, Layout layout> struct FieldCodes {
    static constexpr int bits = traits(layout).bits, parts = 8 / bits, mask = (1 << bits) - 1;
    static constexpr int chunks = traits(layout).block / 4 / parts, products = parts, most = mask;
    static constexpr size_t step = 4 * chunks;
    static constexpr bool wide = false, splits = V::kUnshifted;
    static constexpr int32_t zero = traits(layout).zero;
    static constexpr int shift(int part) { return bits * part; }

    template <bool split, bool crowded, class Load, class Use>
    static inline FILAMENT_INLINE void unpack(const uint8_t* codes, Load load, Use use) {
        const auto unpack_chunk = [&](size_t c) FILAMENT_INLINE {
            const auto raw = load(codes + kChunk * c);
            for_each<parts>([&](auto part) FILAMENT_INLINE {
                constexpr int p = decltype(part)::value;
                if constexpr (split) use(part, V::template field<0, (mask << bits * p)>(raw), 4 * c + p * step);
                else use(part, V::template field<bits * p, mask>(raw), 4 * c + p * step);
            });
        };
        if constexpr (crowded) {
#pragma GCC unroll 1
            for (size_t c = 0; c < chunks; ++c) unpack_chunk(c);
        } else {
            for (size_t c = 0; c < chunks; ++c) unpack_chunk(c);
        }
    }
};
template <class V> struct Codes<V, Layout::Nibbles> : FieldCodes<V, Layout::Nibbles> {};
template <class V> struct Codes<V, Layout::NibblesMin> : FieldCodes<V, Layout::NibblesMin> {};
template <class V> struct Codes<V, Layout::NibblesMinK> : FieldCodes<V, Layout::NibblesMinK> {};
template <class V> struct Codes<V, Layout::Ternary> : FieldCodes<V, Layout::Ternary> {};

template <class V, Layout layout> struct ByteCodes {
    static constexpr int parts = 1, chunks = traits(layout).block / 4;
    static constexpr bool wide = true, splits = false;
    static constexpr int32_t zero = V::kBiased ? 128 : 0;
    static constexpr int shift(int) { return 0; }

    template <bool split, bool crowded, class Load, class Use>
    static inline FILAMENT_INLINE void unpack(const uint8_t* codes, Load load, Use use) {
        for (size_t c = 0; c < chunks; ++c) use(Constant<0>(), load(codes + kChunk * c), 4 * c);
    }
};
template <class V> struct Codes<V, Layout::Bytes> : ByteCodes<V, Layout::Bytes> {};
template <class V> struct Codes<V, Layout::Bytes16> : ByteCodes<V, Layout::Bytes16> {};
template <class V> struct Codes<V, Layout::BytesUnit> : ByteCodes<V, Layout::BytesUnit> {};

template <class V> struct Codes<V, Layout::NibblesTable> {
    using Nibbles = FieldCodes<V, Layout::NibblesTable>;
    static constexpr int parts = 2, chunks = Nibbles::chunks;
    static constexpr bool wide = true, splits = false;
    static constexpr int32_t zero = V::kBiased ? 128 : 0;
    static constexpr int shift(int) { return 0; }

    template <bool split, bool crowded, class Load, class Use>
    static inline FILAMENT_INLINE void unpack(const uint8_t* codes, Load load, Use use) {
        uint8_t table[16];
        for (int i = 0; i < 16; ++i) table[i] = static_cast<uint8_t>(kIq4[i] + zero);
        const auto named = [&](auto part, auto nibbles, size_t column)
                               FILAMENT_INLINE { use(part, V::look_up(table, nibbles), column); };
        Nibbles::template unpack<false, crowded>(codes, load, named);
    }
};

// Three chunks of four columns each, in the lower six bits; the upper two of the three are the codes of another four.
template <class V> struct Codes<V, Layout::SixBits> {
    static constexpr int parts = 1, chunks = 3, products = 2, most = 63;  // of a chunk: four products of three
    static constexpr bool wide = false, splits = false;
    static constexpr int32_t zero = traits(Layout::SixBits).zero;
    static constexpr int shift(int) { return 0; }

    template <bool split, bool crowded, class Load, class Use>
    static inline FILAMENT_INLINE void unpack(const uint8_t* codes, Load load, Use use) {
        const auto first = load(codes);
        use(Constant<0>(), V::template field<0, 63>(first), 0);
        auto last = V::template field<6, 0x03>(first);
        const auto second = load(codes + kChunk);
        use(Constant<0>(), V::template field<0, 63>(second), 4);
        last = V::bit_or(last, V::template field<4, 0x0c>(second));
        const auto third = load(codes + 2 * kChunk);
        use(Constant<0>(), V::template field<0, 63>(third), 8);
        use(Constant<0>(), V::bit_or(last, V::template field<2, 0x30>(third)), 12);
    }
};

// Scales of a tile and group: next(i) makes those of its block i, one after the other.
template <class V, Layout layout> struct Scaling {
    static constexpr bool has_min = false;
    typename V::F32 scale;
    explicit Scaling(const uint8_t* at) : from_(reinterpret_cast<const Scales*>(at)) {}
    void next(size_t) { scale = V::load_f16(from_->scale); }

  private:
    const Scales* from_;
};

template <class V> struct Scaling<V, Layout::BytesUnit> {
    static constexpr bool has_min = false;
    typename V::F32 scale = V::set(1);
    explicit Scaling(const uint8_t*) {}
    void next(size_t) {}
};

template <class V> struct Scaling<V, Layout::NibblesMin> {
    static constexpr bool has_min = true;
    typename V::F32 scale, min;
    explicit Scaling(const uint8_t* at) : from_(reinterpret_cast<const ScalesMin*>(at)) {}
    void next(size_t) { scale = V::load_f16(from_->scale), min = V::load_f16(from_->min); }

  private:
    const ScalesMin* from_;
};

// Of the 12 bytes of a row, bytes 0 to 3 hold scales 0 to 3 in their lower 6 bits, bytes 4 to 7 minima 0 to 3, bytes 8
// to 11 the lower 4 bits of scales and of minima 4 to 7, whose upper 2 bits are on top of the first eight bytes.
template <class V> struct Scaling<V, Layout::NibblesMinK> {
    static constexpr bool has_min = true;
    using F32 = typename V::F32;
    using I32 = typename V::I32;
    F32 scale, min;

    explicit Scaling(const uint8_t* at) {
        const auto* from = reinterpret_cast<const ScalesMinK*>(at);
        scale_ = V::load_f16(from->scale), min_ = V::mul(V::load_f16(from->min), V::set(-1));
        const I32 first = V::load_i32(from->packed[0]), second = V::load_i32(from->packed[1]);
        const I32 third = V::load_i32(from->packed[2]), six = V::set_i32(0x3f3f3f3f);
        scales_ = V::bit_and(first, six), later_scales_ = joined(third, first);
        mins_ = V::bit_and(second, six), later_mins_ = joined(V::template shift_right<4>(third), second);
    }
    void next(size_t i) {
        if (i == 4) scales_ = later_scales_, mins_ = later_mins_;
        scale = V::mul(scale_, V::to_f32(V::bit_and(scales_, V::set_i32(63))));
        min = V::mul(min_, V::to_f32(V::bit_and(mins_, V::set_i32(63))));
        scales_ = V::template shift_right<8>(scales_), mins_ = V::template shift_right<8>(mins_);
    }

  private:
    static I32 joined(I32 lower, I32 upper) {
        const I32 two = V::bit_and(V::template shift_right<6>(upper), V::set_i32(0x03030303));
        return V::bit_or(V::bit_and(lower, V::set_i32(0x0f0f0f0f)), V::template shift_left<4>(two));
    }
    F32 scale_, min_;
    I32 scales_, mins_, later_scales_, later_mins_;  // four blocks' numbers in the bytes of each row
};

template <class V> struct Scaling<V, Layout::SixBits> {
    static constexpr bool has_min = false;
    typename V::F32 scale;
    explicit Scaling(const uint8_t* at)
        : from_(reinterpret_cast<const ScalesSixBits*>(at)), scale_(V::load_f16(from_->scale)) {}
    void next(size_t i) { scale = V::mul(scale_, V::to_f32(V::load_i8(from_->block[i]))); }

  private:
    const ScalesSixBits* from_;
    typename V::F32 scale_;
};

}  // namespace
}  // namespace filament
