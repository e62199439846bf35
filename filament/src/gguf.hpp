// GGUF files, memory-mapped and read with every length checked: the file may be truncated or hostile.
// Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little-endian).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
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
    // Of a type of block_types.hpp.
    size_t row_bytes() const { return columns() / block_type(type).columns * block_type(type).bytes; }
};

using Value = std::variant<bool, int64_t, double, std::string, std::vector<int64_t>, std::vector<double>,
                           std::vector<std::string>>;

class File {
  public:
    explicit File(const std::string& path);
    // The file that is the bytes of a tensor of another one, which stays mapped as long.
    File(const File& whole, const Tensor& part);
    File(const File&) = delete;
    File& operator=(const File&) = delete;

    const std::string& name() const { return name_; }  // its path, and which tensor of that it is
    const std::map<std::string, Value, std::less<>>& metadata() const { return metadata_; }

    // Each throws Error when the key or tensor is absent (and no default is given) or of another kind.
    int64_t integer(std::string_view key, std::optional<int64_t> absent = {}) const;
    double number(std::string_view key, std::optional<double> absent = {}) const;
    std::string text(std::string_view key, std::optional<std::string> absent = {}) const;
    // One integer for each of `n` layers: an array, or one number for all.
    std::vector<int64_t> per_layer(std::string_view key, size_t n, std::optional<int64_t> absent = {}) const;
    bool flag(std::string_view key, bool absent) const;
    bool is_list(std::string_view key) const;
    std::vector<int64_t> integers(std::string_view key) const;
    std::vector<double> numbers(std::string_view key) const;
    std::vector<std::string> texts(std::string_view key) const;
    const Tensor& tensor(std::string_view name) const;
    const Tensor* find(std::string_view name) const;
    const std::map<std::string, Tensor, std::less<>>& tensors() const { return tensors_; }

    // Gives pages of a tensor, or all, back to the system. They are read again when they are asked for.
    void forget(const Tensor& tensor) const;
    void forget() const;

  private:
    void read();
    const Value* value(std::string_view key) const;
    template <class T> const std::vector<T>& list(std::string_view key, const char* kind) const;
    void forget(const uint8_t* from, size_t bytes) const;

    std::string name_;
    std::shared_ptr<const uint8_t> mapping_;
    const uint8_t* base_ = nullptr;
    size_t size_ = 0;
    std::map<std::string, Value, std::less<>> metadata_;
    std::map<std::string, Tensor, std::less<>> tensors_;
};

}  // namespace filament
