// AVX-512 with VNNI: four products of unsigned and signed bytes and their sum in one instruction.
#include "avx512.hpp"
#include "kernels/table.hpp"

namespace filament {
namespace {

struct Avx512Vnni : Avx512 {
    static constexpr bool kBiased = true, kUnshifted = true;
    static I32 dot_small(I32 s, B64 w, const int8_t* x) { return {_mm512_dpbusd_epi32(s.v, w.v, four(x))}; }
    static I32 dot_wide(I32 s, B64 w, const int8_t* x) { return dot_small(s, w, x); }
};

}  // namespace

extern const Kernels kAvx512Vnni;
const Kernels kAvx512Vnni = kernel_table<Avx512Vnni>("avx512vnni");

}  // namespace filament
