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

#include "error.hpp"

namespace filament {

// Numbers of the GGML types that are read. The others are refused by name where a matrix of them is needed.
enum class Type : uint32_t {
    F32 = 0, F16 = 1, Q4_0 = 2, Q4_1 = 3, Q8_0 = 8, Q4_K = 12, Q6_K = 14, IQ4_NL = 20, BF16 = 30, TQ2_0 = 35,
};

struct TypeInfo {
    const char* name;
    size_t block;  // weights of a block, along a row
    size_t bytes;  // bytes of a block
};

const TypeInfo& info(Type type);

// `shape` as in the file: fastest dimension first, so a matrix of R rows and C columns is {C, R}.
struct Tensor {
    std::string name;
    Type type{};
    std::vector<uint64_t> shape;
    const uint8_t* data = nullptr;
    size_t bytes = 0;

    size_t columns() const { return shape.empty() ? 1 : static_cast<size_t>(shape[0]); }
    size_t rows() const;
    size_t row_bytes() const { return columns() / info(type).block * info(type).bytes; }
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
