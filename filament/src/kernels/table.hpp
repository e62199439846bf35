// The table of one instruction set.
#pragma once

#include "kernels/multiply.hpp"
#include "kernels/vectors.hpp"

namespace filament {
namespace {

template <class V, size_t i = 0> constexpr void add_products(Kernels& table) {
    if constexpr (i < kLayouts) {
        table.products[i] = multiply<V, static_cast<Layout>(i)>;
        add_products<V, i + 1>(table);
    }
}

template <class V> constexpr Kernels kernel_table(const char* name) {
    using K = VectorKernels<V>;
    Kernels table{name, V::kBiased, {}, K::quantize, K::rms_norm, K::silu_gate, K::gelu_gate, K::softmax_exp, K::scale,
                  K::template read<kReadOften>, K::template read<1>};
    add_products<V>(table);
    return table;
}

}  // namespace
}  // namespace filament
