#include "avx2.hpp"

#include "kernels/table.hpp"

namespace filament {

extern const Kernels kAvx2;
const Kernels kAvx2 = kernel_table<Avx2>("avx2");

}  // namespace filament
