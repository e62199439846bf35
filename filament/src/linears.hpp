// The linear maps and vectors of a file: named one after the other while a model is read, then packed in one go.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "layer.hpp"
#include "memory.hpp"
#include "pack.hpp"
#include "thread_pool.hpp"

namespace filament {

// A width or a count of the file, within what any model has. Throws Error for another.
size_t in_range(const std::string& what, int64_t value, int64_t least);

class Linears {
  public:
    explicit Linears(const File& file) : file_(file) {}

    // Each throws Error for a tensor that is missing or of another shape.
    Linear linear(const std::string& name, size_t rows, size_t columns);
    // Rows [first, first + rows) of a matrix, its bias and its scale with it.
    Linear cut(const std::string& name, size_t first, size_t rows, size_t columns);
    // n floats, followed by zeros up to whole tiles; nothing when it is absent and not needed.
    std::vector<float> vector(const std::string& name, size_t n, bool needed = true);
    const Tensor& tensor(const std::string& name);
    // Throws Error for a tensor of the file that nobody has named.
    void refuse_others() const;

    // All matrices named so far, for as long as they are used. Forgets their pages of the file.
    Buffer pack(ThreadPool& pool, bool biased);
    // Points a linear map to its packed matrix.
    void settle(Linear& linear) const;

  private:
    const File& file_;
    std::set<std::string> named_;
    std::vector<Packing> packings_;
    size_t ahead_ = 0;
};

}  // namespace filament
