// GGUF files, memory-mapped and read with every length checked: the file may be truncated or hostile.
// Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little-endian).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "block_types.hpp"
#include "error.hpp"

namespace filament {

// `shape` as in the file: fastest dimension first, so a matrix of R rows and C columns is {C, R}.
struct Tensor {
    std::string name;
    Type type{};
    std::vector<uint64_t> shape;
    const uint8_t* data = nullptr;
    size_t bytes = 0;

    size_t columns() const { return shape.empty() ? 1 : static_cast<size_t>(shape[0]); }
    size_t rows() const;
    size_t row_bytes() const { return columns() / block_type(type).columns * block_type(type).bytes; }
};

using Value = std::variant<bool, int64_t, double, std::string, std::vector<int64_t>, std::vector<double>,
                           std::vector<std::string>>;

class File {
  public:
    explicit File(const std::string& path);
    ~File();
    File(const File&) = delete;
    File& operator=(const File&) = delete;

    const std::map<std::string, Value, std::less<>>& metadata() const { return metadata_; }

    // Each throws Error when the key or tensor is absent (and no default is given) or of another kind.
    int64_t integer(std::string_view key, std::optional<int64_t> absent = {}) const;
    double number(std::string_view key, std::optional<double> absent = {}) const;
    std::string text(std::string_view key, std::optional<std::string> absent = {}) const;
    // One integer for each of `n` layers: an array, or one number for all.
    std::vector<int64_t> per_layer(std::string_view key, size_t n, std::optional<int64_t> absent = {}) const;
    bool is_list(std::string_view key) const;
    const Tensor& tensor(std::string_view name) const;
    const Tensor* find(std::string_view name) const;

    // Gives pages of a tensor, or all, back to the system. They are read again when they are asked for.
    void forget(const Tensor& tensor) const;
    void forget() const;

  private:
    const Value* value(std::string_view key) const;

    const uint8_t* base_ = nullptr;
    size_t size_ = 0;
    std::map<std::string, Value, std::less<>> metadata_;
    std::map<std::string, Tensor, std::less<>> tensors_;
};

}  // namespace filament
