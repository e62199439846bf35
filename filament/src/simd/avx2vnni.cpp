// AVX2 with AVX-VNNI: four products of unsigned and signed bytes and their sum in one instruction.
#include "avx2.hpp"
#include "kernels/table.hpp"

namespace filament {
namespace {

struct Avx2Vnni : Avx2 {
    static constexpr bool kBiased = true, kUnshifted = true, kGathers = false;
    static I32 dot_small(I32 s, B64 w, const int8_t* x) {
        const __m256i xs = four(x);
        return {_mm256_dpbusd_avx_epi32(s.a, w.a, xs), _mm256_dpbusd_avx_epi32(s.b, w.b, xs)};
    }
    static I32 dot_wide(I32 s, B64 w, const int8_t* x) { return dot_small(s, w, x); }
};

}  // namespace

extern const Kernels kAvx2Vnni;
const Kernels kAvx2Vnni = kernel_table<Avx2Vnni>("avx2vnni");

}  // namespace filament
