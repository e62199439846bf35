#include "thread_pool.hpp"

#include <new>
#include <string>
#include <system_error>

#include "error.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace filament {
namespace {

constexpr int kSpins = 4000;  // some 50 to 100 microseconds

void pause() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// Returns when `counter` is no longer `seen`.
void wait_past(std::atomic<uint32_t>& counter, uint32_t seen) {
    for (int i = 0; i < kSpins; ++i) {
        if (counter.load(std::memory_order_acquire) != seen) return;
        pause();
    }
    while (counter.load(std::memory_order_acquire) == seen) counter.wait(seen, std::memory_order_acquire);
}

}  // namespace

void Worker::barrier() const {
    if (count == 1) return;
    const uint32_t seen = pool.passed_.load(std::memory_order_acquire);
    if (pool.arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == count) {
        pool.arrived_.store(0, std::memory_order_relaxed);
        pool.passed_.store(seen + 1, std::memory_order_release);
        pool.passed_.notify_all();
    } else {
        wait_past(pool.passed_, seen);
    }
}

ThreadPool::ThreadPool(size_t threads) {
    try {
        for (size_t i = 1; i < threads; ++i) threads_.emplace_back([this, i] { work(i); });
    } catch (const std::system_error& e) {
        finish();
        throw Error("cannot start " + std::to_string(threads) + " threads: " + e.what());
    }
}

ThreadPool::~ThreadPool() {
    if (::getpid() == owner_) finish();
    else
        new (std::nothrow)
            std::vector<std::thread>(std::move(threads_));  // they are not here: neither joined nor, ever, destroyed
}

void ThreadPool::finish() {
    stop_.store(true, std::memory_order_relaxed);
    started_.fetch_add(1, std::memory_order_release);
    started_.notify_all();
    for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::run(const Job& job, bool alone) {
    if (alone || size() == 1 || ::getpid() != owner_) return job({*this, 0, 1});
    job_ = &job;
    started_.fetch_add(1, std::memory_order_release);
    started_.notify_all();
    const Worker self{*this, 0, size()};
    job(self);
    self.barrier();  // none may still look at the job when the next one is given
}

void ThreadPool::work(size_t index) {
    for (uint32_t seen = 0;; ++seen) {
        wait_past(started_, seen);
        if (stop_.load(std::memory_order_relaxed)) return;
        const Worker self{*this, index, size()};
        (*job_)(self);
        self.barrier();
    }
}

}  // namespace filament
