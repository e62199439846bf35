#include "gguf.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace filament {
namespace {

constexpr uint64_t kMostDimensions = 4;
constexpr uint64_t kMostEntries = 1u << 20;  // keys or tensors: far more than any model has
constexpr uint64_t kMostKeyBytes = 1u << 16;

enum Kind : uint32_t { U8, I8, U16, I16, U32, I32, F32, Bool, String, Array, U64, I64, F64 };

class Reader {
  public:
    Reader(const uint8_t* base, size_t size) : base_(base), size_(size) {}

    size_t at() const { return at_; }
    size_t left() const { return size_ - at_; }

    template <class T> T number() {
        T value;
        std::memcpy(&value, take(sizeof(T)), sizeof(T));
        return value;
    }

    std::string text(uint64_t most) {
        const auto length = number<uint64_t>();
        if (length > most || length > left()) throw Error("a text runs past the end of the file");
        const auto* start = reinterpret_cast<const char*>(take(length));
        return {start, start + length};
    }

    Value value(uint32_t kind) { return kind == Array ? array() : scalar(kind); }

  private:
    const uint8_t* take(uint64_t bytes) {
        if (bytes > left()) throw Error("the file ends within its header");
        const auto* start = base_ + at_;
        at_ += bytes;
        return start;
    }

    int64_t integer(uint32_t kind) {
        switch (kind) {
            case U8: return number<uint8_t>();
            case I8: return number<int8_t>();
            case U16: return number<uint16_t>();
            case I16: return number<int16_t>();
            case U32: return number<uint32_t>();
            case I32: return number<int32_t>();
            case Bool: return number<uint8_t>() != 0;
            case U64:
            case I64: return number<int64_t>();
            default: throw Error("a value of the unknown kind " + std::to_string(kind));
        }
    }

    Value scalar(uint32_t kind) {
        switch (kind) {
            case F32: return static_cast<double>(number<float>());
            case F64: return number<double>();
            case String: return text(left());
            case Bool: return number<uint8_t>() != 0;
            default: return integer(kind);
        }
    }

    Value array() {
        const auto kind = number<uint32_t>();
        const auto count = number<uint64_t>();
        if (count > left()) throw Error("an array runs past the end of the file");  // each entry takes a byte or more
        if (kind == Array) throw Error("an array of arrays");
        if (kind == String) return list<std::string>(count, [&] { return text(left()); });
        if (kind == F32) return list<double>(count, [&] { return static_cast<double>(number<float>()); });
        if (kind == F64) return list<double>(count, [&] { return number<double>(); });
        return list<int64_t>(count, [&] { return integer(kind); });
    }

    template <class T, class Next> std::vector<T> list(uint64_t count, Next next) {
        std::vector<T> entries;
        for (uint64_t i = 0; i < count; ++i) entries.push_back(next());
        return entries;
    }

    const uint8_t* base_;
    size_t size_;
    size_t at_ = 0;
};

// Bytes of a tensor of this shape. Throws where a dimension is no multiple of the block or the product overflows.
size_t bytes_of(const Tensor& tensor) {
    uint64_t weights = 1, total = 0;
    for (const uint64_t n : tensor.shape) {
        if (n == 0 || __builtin_mul_overflow(weights, n, &weights))
            throw Error(tensor.name + " has an impossible shape");
    }
    if (const size_t bytes = integer_bytes(tensor.type)) {
        if (__builtin_mul_overflow(weights, bytes, &total)) throw Error(tensor.name + " has an impossible shape");
        return total;
    }
    const BlockType& type = block_type(tensor.type);
    if (tensor.columns() % type.columns != 0) {
        throw Error(tensor.name + ": rows of " + std::to_string(tensor.columns()) +
                    " weights are not whole blocks of " + type.name);
    }
    if (__builtin_mul_overflow(weights / type.columns, type.bytes, &total))
        throw Error(tensor.name + " has an impossible shape");
    return total;
}

Tensor entry(Reader& reader, uint64_t& offset) {
    Tensor tensor;
    tensor.name = reader.text(kMostKeyBytes);
    const auto dimensions = reader.number<uint32_t>();
    if (dimensions > kMostDimensions) throw Error(tensor.name + " has " + std::to_string(dimensions) + " dimensions");
    for (uint32_t i = 0; i < dimensions; ++i) tensor.shape.push_back(reader.number<uint64_t>());
    tensor.type = static_cast<Type>(reader.number<uint32_t>());
    tensor.bytes = bytes_of(tensor);
    offset = reader.number<uint64_t>();
    return tensor;
}

}  // namespace

size_t Tensor::rows() const {
    size_t n = 1;
    for (size_t i = 1; i < shape.size(); ++i) n *= static_cast<size_t>(shape[i]);
    return n;
}

File::File(const std::string& path) : name_(path) {
    const int handle = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (handle < 0) throw Error(path + ": " + std::strerror(errno));
    struct stat status{};
    if (::fstat(handle, &status) == 0 && S_ISREG(status.st_mode)) size_ = static_cast<size_t>(status.st_size);
    void* mapped = size_ == 0 ? MAP_FAILED : ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, handle, 0);
    ::close(handle);
    if (mapped == MAP_FAILED) throw Error(path + ": not a file with anything in it");
    base_ = static_cast<const uint8_t*>(mapped);
    mapping_ = {base_, [size = size_](const uint8_t* base) { ::munmap(const_cast<uint8_t*>(base), size); }};
    read();
}

File::File(const File& whole, const Tensor& part)
    : name_(whole.name_ + ": " + part.name), mapping_(whole.mapping_), base_(part.data), size_(part.bytes) {
    read();
}

void File::read() try {
    Reader reader(base_, size_);
    if (size_ < 4 || std::memcmp(base_, "GGUF", 4) != 0) throw Error("not a GGUF file");
    reader.number<uint32_t>();
    if (const auto version = reader.number<uint32_t>(); version != 2 && version != 3) {
        throw Error("GGUF version " + std::to_string(version) + " is not known; 2 and 3 are");
    }
    const auto tensors = reader.number<uint64_t>(), keys = reader.number<uint64_t>();
    if (tensors > kMostEntries || keys > kMostEntries) throw Error("the header counts are impossible");
    for (uint64_t i = 0; i < keys; ++i) {
        std::string key = reader.text(kMostKeyBytes);
        const auto kind = reader.number<uint32_t>();
        metadata_.insert_or_assign(std::move(key), reader.value(kind));
    }
    std::vector<std::pair<Tensor, uint64_t>> entries;
    for (uint64_t i = 0; i < tensors; ++i) {
        uint64_t offset = 0;
        Tensor tensor = entry(reader, offset);
        entries.emplace_back(std::move(tensor), offset);
    }
    const int64_t alignment = integer("general.alignment", 32);
    if (alignment < 1 || alignment > (1 << 20) || (alignment & (alignment - 1)) != 0)
        throw Error("general.alignment is no power of two");
    const size_t start = (reader.at() + static_cast<size_t>(alignment) - 1) & ~(static_cast<size_t>(alignment) - 1);
    for (auto& [tensor, offset] : entries) {
        if (offset % static_cast<uint64_t>(alignment) != 0) throw Error(tensor.name + " does not begin where it may");
        if (start > size_ || offset > size_ - start || tensor.bytes > size_ - start - offset) {
            throw Error(tensor.name + " runs past the end of the file: it is cut short");
        }
        tensor.data = base_ + start + offset;
        std::string name = tensor.name;
        if (!tensors_.emplace(std::move(name), std::move(tensor)).second)
            throw Error("a tensor stands twice in the file");
    }
} catch (const std::exception& e) {
    throw Error(name_ + ": " + e.what());
}

const Value* File::value(std::string_view key) const {
    const auto found = metadata_.find(key);
    return found == metadata_.end() ? nullptr : &found->second;
}

int64_t File::integer(std::string_view key, std::optional<int64_t> absent) const {
    const Value* found = value(key);
    if (!found && absent) return *absent;
    if (found) {
        if (const auto* number = std::get_if<int64_t>(found)) return *number;
    }
    throw Error(std::string(key) + (found ? " is no integer" : " is missing"));
}

double File::number(std::string_view key, std::optional<double> absent) const {
    const Value* found = value(key);
    if (!found && absent) return *absent;
    if (found) {
        if (const auto* number = std::get_if<double>(found)) return *number;
        if (const auto* number = std::get_if<int64_t>(found)) return static_cast<double>(*number);
    }
    throw Error(std::string(key) + (found ? " is no number" : " is missing"));
}

std::string File::text(std::string_view key, std::optional<std::string> absent) const {
    const Value* found = value(key);
    if (!found && absent) return *absent;
    if (found) {
        if (const auto* text = std::get_if<std::string>(found)) return *text;
    }
    throw Error(std::string(key) + (found ? " is no text" : " is missing"));
}

bool File::flag(std::string_view key, bool absent) const {
    const Value* found = value(key);
    if (!found) return absent;
    if (const auto* flag = std::get_if<bool>(found)) return *flag;
    throw Error(std::string(key) + " is neither true nor false");
}

std::vector<int64_t> File::per_layer(std::string_view key, size_t n, std::optional<int64_t> absent) const {
    if (const Value* found = value(key)) {
        if (const auto* each = std::get_if<std::vector<int64_t>>(found)) {
            if (each->size() < n) throw Error(std::string(key) + " names fewer layers than the model has");
            return {each->begin(), each->begin() + static_cast<std::ptrdiff_t>(n)};
        }
    }
    return std::vector<int64_t>(n, integer(key, absent));
}

bool File::is_list(std::string_view key) const {
    const Value* found = value(key);
    return found && std::holds_alternative<std::vector<int64_t>>(*found);
}

template <class T> const std::vector<T>& File::list(std::string_view key, const char* kind) const {
    const Value* found = value(key);
    if (found) {
        if (const auto* entries = std::get_if<std::vector<T>>(found)) return *entries;
    }
    throw Error(std::string(key) + (found ? " is no list of " + std::string(kind) : " is missing"));
}

std::vector<int64_t> File::integers(std::string_view key) const { return list<int64_t>(key, "integers"); }
std::vector<double> File::numbers(std::string_view key) const { return list<double>(key, "numbers"); }
std::vector<std::string> File::texts(std::string_view key) const { return list<std::string>(key, "texts"); }

const Tensor* File::find(std::string_view name) const {
    const auto found = tensors_.find(name);
    return found == tensors_.end() ? nullptr : &found->second;
}

const Tensor& File::tensor(std::string_view name) const {
    if (const Tensor* found = find(name)) return *found;
    throw Error("the tensor " + std::string(name) + " is missing");
}

void File::forget(const uint8_t* from, size_t bytes) const {
    const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
    const auto address = reinterpret_cast<uintptr_t>(from);
    const size_t before = (page - address % page) % page, after = (address + bytes) % page;
    if (before + after < bytes) {  // whole pages only
        ::madvise(const_cast<uint8_t*>(from) + before, bytes - before - after, MADV_DONTNEED);
    }
}

void File::forget(const Tensor& tensor) const { forget(tensor.data, tensor.bytes); }
void File::forget() const { forget(base_, size_); }

}  // namespace filament
