#include "avx512.hpp"

#include "kernels/table.hpp"

namespace filament {

extern const Kernels kAvx512;
const Kernels kAvx512 = kernel_table<Avx512>("avx512");

}  // namespace filament
