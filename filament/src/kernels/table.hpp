// The table of one instruction set.
#pragma once

#include "kernels/multiply.hpp"
#include "kernels/vectors.hpp"
#include "kernels/words.hpp"

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
    Kernels table{};
    table.name = name;
    table.biased = V::kBiased;
    table.quantize = K::quantize;
    table.rms_norm = K::rms_norm;
    table.layer_norm = K::layer_norm;
    table.gelu = K::gelu;
    table.silu_gate = K::silu_gate;
    table.gelu_gate = K::gelu_gate;
    table.mlgru = K::mlgru;
    table.softmax_exp = K::softmax_exp;
    table.scale = K::scale;
    table.add_rows = WordKernels<V>::add_rows;
    table.multiply_words = WordKernels<V>::multiply_words;
    table.read_once = K::template read<kReadOften>;
    table.read_often = K::template read<1>;
    add_products<V>(table);
    return table;
}

}  // namespace
}  // namespace filament
