// What chooses one of a closed set of answers to a text: the files of docs/format.md, and what else is made for it.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gguf.hpp"
#include "kernels.hpp"
#include "thread_pool.hpp"

namespace filament {

// Number of the answer, its probability, and the stage of a cascade that gave it (else 0).
struct Choice {
    uint32_t answer = 0;
    float probability = 0;
    uint32_t stage = 0;
};

class Classifier {
  public:
    virtual ~Classifier() = default;
    Classifier(const Classifier&) = delete;
    Classifier& operator=(const Classifier&) = delete;

    const std::vector<std::string>& answers() const { return answers_; }
    // Where its choice is less probable than this, none of the answers is given, but what `none` says. 0: never.
    float threshold() const { return threshold_; }
    const std::string& none() const { return none_; }
    // Architectures of its stages: one, save of a cascade.
    virtual std::vector<std::string> kinds() const = 0;
    // One choice for each text, which is bytes of any kind: what is not UTF-8 is read as U+FFFD. Calls from several
    // threads take turns.
    void classify(std::span<const std::string_view> texts, std::span<Choice> choices) {
        const std::scoped_lock taken(mutex_);
        choose(texts, choices);
    }

  protected:
    explicit Classifier(const File& file);  // reads its answers, and when it gives none of them

  private:
    virtual void choose(std::span<const std::string_view> texts, std::span<Choice> choices) = 0;

    std::vector<std::string> answers_;
    float threshold_;
    std::string none_;
    std::mutex mutex_;
};

// What a classifier works with: all stages of a cascade share it.
struct Means {
    const Kernels& kernels;
    std::shared_ptr<ThreadPool> pool;
};

// The classifier that a file holds, by its architecture. Throws Error, which names the file, for one that is damaged or
// not understood.
std::unique_ptr<Classifier> open_classifier(const std::shared_ptr<const File>& file, const Means& means);
// A file that is one stage of a cascade and may be no cascade itself.
std::unique_ptr<Classifier> open_stage(const std::shared_ptr<const File>& file, const Means& means);

}  // namespace filament
