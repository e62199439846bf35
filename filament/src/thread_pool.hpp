// A pool of threads that works on one step together. Threads wait for each other at barriers by spinning for some
// microseconds, which is as long as another thread should need, and then sleep, so that an idle model burns nothing.
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

namespace filament {

class ThreadPool;

// One thread's place in the pool while a job runs.
struct Worker {
    ThreadPool& pool;
    size_t index, count;

    // The part of 0..n that is this thread's: [first, second).
    std::pair<size_t, size_t> share(size_t n) const { return {n * index / count, n * (index + 1) / count}; }
    // Returns when every thread of the job has called it.
    void barrier() const;
};

class ThreadPool {
  public:
    using Job = std::function<void(const Worker&)>;

    explicit ThreadPool(size_t threads);  // throws Error when the system gives no more threads
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    size_t size() const { return threads_.size() + 1; }
    // Runs `job` on all threads, the caller being one of them, or on the caller alone. The job must not throw. After a
    // fork the child has none of the threads, and its callers work alone.
    void run(const Job& job, bool alone = false);

  private:
    friend struct Worker;
    void work(size_t index);
    void finish();

    std::vector<std::thread> threads_;
    const pid_t owner_ = ::getpid();
    const Job* job_ = nullptr;
    std::atomic<bool> stop_{false};
    // Each on a cache line of its own: a thread that spins on one must not slow those that write another.
    alignas(64) std::atomic<uint32_t> started_{0};
    alignas(64) std::atomic<uint32_t> arrived_{0};
    alignas(64) std::atomic<uint32_t> passed_{0};
};

}  // namespace filament
