// What every dialect is: a struct of static functions on 16 lanes, one struct for each instruction set, in the unnamed
// namespace of its own file, because each is compiled with flags of its own. portable.cpp says what each function does.
//
//   F32  16 floats          I32  16 int32          B64  64 bytes: 4 for each of 16 lanes
//   kTokens     tokens that are worked on at once: as many as the registers hold
//   dot_small   each lane: sum + the 4 products of w (0..127) and x (4 int8, the same for all lanes)
//   dot_wide    likewise with w -128..127; stored plus 128 where kBiased
//   dot_rows    each lane i: sum + a[i] * the low word of `pair` + b[i] * the high one
//   dot_words   each lane i: sum + w[2 i] * the low word of `pair` + w[2 i + 1] * the high one
//   kUnshifted  dot_small takes any w of 0..255, so a field of bits need not be shifted down first
//
// Nothing of the standard library is called here or in kernels/, so that no inline function of it is compiled for a
// processor that is not there.
#pragma once

#include <cstddef>
#include <cstdint>

namespace filament {
namespace {

[[maybe_unused]] int32_t four_bytes(const int8_t* x) {
    int32_t bits;
    __builtin_memcpy(&bits, x, 4);
    return bits;
}

}  // namespace
}  // namespace filament
