#include "memory.hpp"

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>

#include "kernels.hpp"

namespace filament {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kLittle = size_t{64} << 10;  // below it pages cost more than the memory that they might save

Buffer::Buffer(size_t bytes) : size_(bytes) {
    if (bytes == 0) return;
    if (bytes > static_cast<size_t>(std::numeric_limits<std::ptrdiff_t>::max())) throw std::bad_alloc();
    const bool large = bytes >= kHugePage;
    const size_t step = large ? kHugePage : 64;
    data_.reset(static_cast<uint8_t*>(std::aligned_alloc(step, round_up(bytes, step))));
    if (!data_) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
    if (large) ::madvise(data_.get(), bytes / kHugePage * kHugePage, MADV_HUGEPAGE);  // the rest in small pages
#endif
}

void Buffer::Free::operator()(uint8_t* place) const { std::free(place); }

Mapped::Mapped(size_t bytes) {
    if (bytes == 0) return;
    if (bytes < kLittle) {
        auto* zeros = static_cast<uint8_t*>(std::aligned_alloc(64, round_up(bytes, 64)));
        if (!zeros) throw std::bad_alloc();
        std::memset(zeros, 0, bytes);
        data_ = {zeros, Unmap{bytes}};
        return;
    }
    void* place = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (place == MAP_FAILED) throw std::bad_alloc();
    data_ = {static_cast<uint8_t*>(place), Unmap{bytes}};
}

void Mapped::Unmap::operator()(uint8_t* place) const {
    if (bytes < kLittle) std::free(place);
    else ::munmap(place, bytes);
}

}  // namespace filament
