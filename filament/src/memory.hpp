// Memory that lasts: weights in large pages, and room that is taken only when it is used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace filament {

// Bytes on a 64-byte boundary, in large pages where the system has them.
class Buffer {
  public:
    Buffer() = default;
    explicit Buffer(size_t bytes);
    uint8_t* data() const { return data_.get(); }
    size_t size() const { return size_; }

  private:
    struct Free {
        void operator()(uint8_t* place) const;
    };
    std::unique_ptr<uint8_t, Free> data_;
    size_t size_ = 0;
};

// Zeros on a 64-byte boundary. Where they are many, a page takes memory from when it is first written on.
class Mapped {
  public:
    Mapped() = default;
    explicit Mapped(size_t bytes);
    uint8_t* data() const { return data_.get(); }

  private:
    struct Unmap {
        size_t bytes;
        void operator()(uint8_t* place) const;
    };
    std::unique_ptr<uint8_t, Unmap> data_{nullptr, Unmap{0}};
};

template <class T> class Array {
  public:
    Array() = default;
    explicit Array(size_t n) : memory_(n * sizeof(T)) {}
    T* data() const { return reinterpret_cast<T*>(memory_.data()); }
    T& operator[](size_t i) const { return data()[i]; }

  private:
    Mapped memory_;
};

}  // namespace filament
