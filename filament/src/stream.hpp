// Texts being written: what Python holds of the native part, beside the model.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "drafter.hpp"
#include "engine.hpp"
#include "sampler.hpp"

namespace filament {

using Ids = std::vector<int32_t>;

// A model ready to work. Calls from several threads take turns, step by step.
class Runtime {
  public:
    Runtime(const std::string& path, size_t threads, const Kernels& kernels)
        : model(path, threads, kernels), engine(model) {}

    // What the model remembers of a text: prompts that begin with it need not read that part again.
    std::shared_ptr<const Sequence> remember(const Ids& tokens);
    // Logits after each token: [n][vocabulary].
    std::vector<float> logits(const Ids& tokens);
    // The sums of log-probabilities of each continuation of `prompt`; the prompt is read once.
    std::vector<double> score(const Ids& prompt, const std::vector<Ids>& continuations, const Sequence* known);
    // The same, less a number that all have in common: of continuations of one token, the logits of these alone.
    std::vector<double> compare(const Ids& prompt, const std::vector<Ids>& continuations, const Sequence* known);
    // Throws Error for a token that the model does not have.
    void check(const Ids& tokens) const;

    const Model model;
    Engine engine;

  private:
    enum class Wanted { None, Last, All };
    // `prompt` without what `known` has read, and room for `more` tokens behind it.
    std::pair<Sequence, std::span<const int32_t>> begin(const Ids& prompt, size_t more, const Sequence* known) const;
    // Reads `tokens` after what the sequence holds. take(logits) is called after each token, after the last, or never;
    // with `among`, logits are only of these tokens.
    template <class Take>
    void read(Sequence& sequence, std::span<const int32_t> tokens, Wanted wanted, Take take,
              std::span<const int32_t> among = {});
};

class Stream {
  public:
    // `known` is copied as far as the prompt begins with it; the last token of a prompt is always read. With `lookup`,
    // a text that is written alone goes on by several tokens a step where what was read before guesses them: the same
    // tokens. Not where a mixer's state cannot be cut back to any position.
    Stream(std::shared_ptr<Runtime> runtime, const Ids& prompt, size_t max_new_tokens, const Sampling& sampling,
           Ids stop, const Sequence* known, bool lookup = false);

    bool ended() const { return left_ == 0; }
    size_t known() const { return known_; }  // tokens of the prompt that need not be read
    // The next token is one of those whose bits are set, the lowest bit of the first byte being token 0. A single one
    // is written at once, without the model, which reads it with the next step: returned. Throws Error when there is
    // none.
    std::optional<int32_t> allow(std::span<const uint8_t> tokens);
    size_t guessed() const { return guessed_; }  // tokens that were read as guesses
    size_t right() const { return right_; }      // and of these the ones written

    // At most `steps` steps of the model, of which each reads for all streams: those that have read all of their prompt
    // write a token, the others go on reading. Returns what each has written, as soon as one of them ends.
    static std::vector<Ids> advance(std::span<Stream* const> streams, size_t steps);

  private:
    static bool step(std::span<Stream* const> streams, std::vector<Ids>& written);
    bool few() const;
    std::span<const int32_t> guess(size_t most);
    float* take(float* logits, std::span<const int32_t> guess, Ids& written);
    int32_t pick(std::span<const float> logits);
    void write(int32_t token);

    std::shared_ptr<Runtime> runtime_;
    Sequence sequence_;
    Sampler sampler_;
    Ids stop_;
    Ids unread_;                  // of the prompt, then the tokens written since the last step
    std::optional<Ids> allowed_;  // ascending
    size_t left_;                 // tokens that may still be written
    size_t known_;
    bool lookup_;
    Drafter drafter_;
    Ids text_;  // read and unread, for the drafter
    size_t guessed_ = 0, right_ = 0;
};

}  // namespace filament
