#include "probe.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#include "memory.hpp"
#include "thread_pool.hpp"

namespace filament {
namespace {

constexpr size_t kLine = 512;               // both kernels take whole lines of so many bytes
constexpr size_t kPass = size_t{64} << 20;  // bytes of a pass: long beside waking a thread
constexpr size_t kAtHand = 4096;            // bytes that stay in the first cache
constexpr double kSeconds = 0.25;           // of passes: other work only ever slows one down

using Kernel = int32_t (*)(const uint8_t*, size_t, const int8_t*);

// Bytes a second of `kernel`, each thread going over a part of its own.
double best(Kernel kernel, ThreadPool& pool, const uint8_t* data, size_t share, size_t apart) {
    const int8_t factors[32] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16,
                                17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32};
    const size_t repeats = std::max<size_t>(1, kPass / (share * pool.size()));
    std::atomic<int32_t> kept{0};  // so that the work is not left out
    double most = 0, spent = 0;
    while (spent < kSeconds) {
        const auto start = std::chrono::steady_clock::now();
        pool.run([&](const Worker& worker) {
            int32_t sum = 0;
            for (size_t i = 0; i < repeats; ++i) sum ^= kernel(data + worker.index * apart, share, factors);
            kept.fetch_xor(sum, std::memory_order_relaxed);
        });
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
        spent += took.count();
        most = std::max(most, static_cast<double>(repeats * share * pool.size()) / took.count());
    }
    return most;
}

}  // namespace

Peak probe(const Kernels& kernels, size_t bytes, size_t threads) {
    ThreadPool pool(threads);
    const size_t share = std::max<size_t>(1, bytes / threads / kLine) * kLine;
    const Buffer buffer(std::max(share * threads, kAtHand));
    std::memset(buffer.data(), 1, buffer.size());
    const double read = best(kernels.read_once, pool, buffer.data(), share, share);
    const double worked = best(kernels.read_often, pool, buffer.data(), kAtHand, 0);
    return {read, worked * 2 * kReadOften};
}

}  // namespace filament
