// Numbers out of a file that may be hostile: each tensor of the type, the shape and the range that are asked for.
#pragma once

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "gguf.hpp"

namespace filament {

template <class T> constexpr Type kTypeOf = sizeof(T) == 1 ? Type::I8 : sizeof(T) == 2 ? Type::I16 : Type::I32;

// The numbers of a tensor, which may lie anywhere in the file. `shape`: fastest dimension first.
template <class T>
std::vector<T> numbers(const File& file, const std::string& name, const std::vector<uint64_t>& shape) {
    const Tensor& tensor = file.tensor(name);
    if (tensor.type != kTypeOf<T>) throw Error(tensor.name + " is of another type");
    if (tensor.shape != shape) throw Error(tensor.name + " has another shape than the rest of the file asks for");
    std::vector<T> values(tensor.bytes / sizeof(T));
    std::memcpy(values.data(), tensor.data, tensor.bytes);
    return values;
}

template <class T>
void check_range(const std::string& name, const std::vector<T>& values, int64_t least, int64_t most) {
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    if (*low < least || *high > most) {
        const int64_t wrong = *low < least ? *low : *high;
        throw Error(name + " holds " + std::to_string(wrong) + ", which is not within " + std::to_string(least) +
                    " to " + std::to_string(most));
    }
}

// The length of a tensor that alone says it.
inline size_t length(const File& file, const std::string& name, size_t most) {
    const Tensor& tensor = file.tensor(name);
    if (tensor.shape.size() != 1 || tensor.columns() > most) throw Error(tensor.name + " has an impossible shape");
    return tensor.columns();
}

}  // namespace filament
