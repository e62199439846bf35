// Whether steps of one row are cheaper in joules on one thread. Where memory is the limit a second thread brings
// little, and costs its power all the same. Found by trying both, now and then; results do not hang on it.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <limits>

namespace filament {

class ThreadTuner {
  public:
    // A server whose processors are half busy takes two thirds of its full power (SPECpower_ssj2008), so with a share u
    // of its threads busy about (1 + 2u) / 3: n threads must be 3n / (n + 2) times as fast as one to be worth their
    // power.
    explicit ThreadTuner(size_t threads)
        : worth_(3.0 * static_cast<double>(threads) / (static_cast<double>(threads) + 2)) {}

    // Runs step(alone) and remembers what it took.
    template <class Step> void run(Step step) {
        const bool trying = count_ < 2 * kTried, alone = trying ? count_ < kTried : alone_;
        const auto start = std::chrono::steady_clock::now();
        step(alone);
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
        if (trying) best_[alone] = std::min(best_[alone], took.count());
        if (++count_ == 2 * kTried) alone_ = best_[true] < worth_ * best_[false];
        if (count_ == kKept) *this = ThreadTuner(*this, 0);
    }

    // What was found last: that steps of one row are.
    bool alone() const { return alone_; }

  private:
    static constexpr int kTried = 8, kKept = 1024;  // steps
    static constexpr double kNever = std::numeric_limits<double>::infinity();

    ThreadTuner(const ThreadTuner& before, int count) : worth_(before.worth_), alone_(before.alone_), count_(count) {}

    double worth_;
    double best_[2] = {kNever, kNever};  // seconds: together, alone
    bool alone_ = false;
    int count_ = 0;
};

}  // namespace filament
