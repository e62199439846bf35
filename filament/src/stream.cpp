#include "stream.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace filament {
namespace {

// What no sequence has room for, rather than a sum that wraps.
size_t sum(size_t a, size_t b) {
    return b > std::numeric_limits<size_t>::max() - a ? std::numeric_limits<size_t>::max() : a + b;
}

// Tokens of a prompt that `known` has read and can be cut back to, the last token aside.
size_t shared(const Ids& prompt, const Sequence* known) {
    if (!known || prompt.empty()) return 0;
    const size_t most = std::min(prompt.size() - 1, known->length());
    const auto end = prompt.begin() + static_cast<std::ptrdiff_t>(most);
    return known->reach(
        static_cast<size_t>(std::mismatch(prompt.begin(), end, known->tokens.begin()).first - prompt.begin()));
}

}  // namespace

void Runtime::check(const Ids& tokens) const {
    if (tokens.empty()) throw Error("no tokens");
    for (const int32_t token : tokens) {
        if (token < 0 || static_cast<size_t>(token) >= model.vocabulary) {
            throw Error("there is no token " + std::to_string(token) + " in a vocabulary of " +
                        std::to_string(model.vocabulary));
        }
    }
}

template <class Take>
void Runtime::read(Sequence& sequence, std::span<const int32_t> tokens, Wanted wanted, Take take,
                   std::span<const int32_t> among) {
    for (size_t start = 0; start < tokens.size(); start += kMostRows) {
        const auto part = tokens.subspan(start, std::min(kMostRows, tokens.size() - start));
        std::vector<Row> rows;
        for (size_t i = 0; i < part.size(); ++i) {
            const bool last = start + i + 1 == tokens.size();
            rows.push_back({&sequence, part[i], wanted == Wanted::All || (wanted == Wanted::Last && last)});
        }
        const std::scoped_lock taken(engine.mutex());
        float* logits = engine.step(rows, among);
        for (const Row& row : rows) {
            if (row.wanted) take(std::span(logits, model.vocabulary)), logits += engine.logits_stride();
        }
    }
}

std::shared_ptr<const Sequence> Runtime::remember(const Ids& tokens) {
    check(tokens);
    auto sequence = std::make_shared<Sequence>(model, tokens.size());
    for (size_t start = 0; start < tokens.size(); start += kMostRows) {
        const auto part = std::span(tokens).subspan(start, std::min(kMostRows, tokens.size() - start));
        read(*sequence, part, Wanted::None, [](std::span<float>) {});
        sequence->keep();
    }
    return sequence;
}

std::vector<float> Runtime::logits(const Ids& tokens) {
    check(tokens);
    Sequence sequence(model, tokens.size());
    std::vector<float> all;
    all.reserve(tokens.size() * model.vocabulary);
    read(sequence, tokens, Wanted::All,
         [&](std::span<float> logits) { all.insert(all.end(), logits.begin(), logits.end()); });
    return all;
}

std::pair<Sequence, std::span<const int32_t>> Runtime::begin(const Ids& prompt, size_t more,
                                                             const Sequence* known) const {
    Sequence sequence(model, prompt.size() + more);
    const size_t start = shared(prompt, known);
    if (start > 0) sequence.copy(*known, start);
    return {std::move(sequence), std::span(prompt).subspan(start)};
}

std::vector<double> Runtime::compare(const Ids& prompt, const std::vector<Ids>& continuations, const Sequence* known) {
    Ids among;
    for (const Ids& c : continuations) {
        if (c.size() != 1) return score(prompt, continuations, known);
        among.push_back(c[0]);
    }
    check(prompt);
    if (among.empty()) return {};
    check(among);
    auto [sequence, unread] = begin(prompt, 1, known);
    std::vector<double> logits;
    const auto take = [&](std::span<float> all) {
        for (const int32_t token : among) logits.push_back(all[static_cast<size_t>(token)]);
    };
    read(sequence, unread, Wanted::Last, take, among);
    if (!std::all_of(logits.begin(), logits.end(), [](double x) { return std::isfinite(x); })) throw Error(kDamaged);
    return logits;
}

std::vector<double> Runtime::score(const Ids& prompt, const std::vector<Ids>& continuations, const Sequence* known) {
    check(prompt);
    size_t longest = 1;
    for (const Ids& c : continuations) check(c), longest = std::max(longest, c.size());
    auto [sequence, unread] = begin(prompt, longest, known);
    std::vector<float> first;
    read(sequence, unread, Wanted::Last, [&](std::span<float> logits) {
        log_softmax(logits);
        first.assign(logits.begin(), logits.end());
    });
    sequence.keep();
    std::vector<double> sums;
    for (const Ids& continuation : continuations) {
        double total = first[static_cast<size_t>(continuation[0])];
        size_t next = 1;
        read(sequence, std::span(continuation).first(continuation.size() - 1), Wanted::All,
             [&](std::span<float> logits) {
                 log_softmax(logits);
                 total += logits[static_cast<size_t>(continuation[next++])];
             });
        sequence.cut(prompt.size());
        sums.push_back(total);
    }
    return sums;
}

Stream::Stream(std::shared_ptr<Runtime> runtime, const Ids& prompt, size_t max_new_tokens, const Sampling& sampling,
               Ids stop, const Sequence* known, bool lookup)
    : runtime_(std::move(runtime)),
      sequence_(runtime_->model, sum(prompt.size(), max_new_tokens)),
      sampler_(sampling),
      stop_(std::move(stop)),
      left_(max_new_tokens),
      known_(shared(prompt, known)),
      lookup_(lookup && sequence_.reaches_all()) {
    runtime_->check(prompt);
    if (known_ > 0) sequence_.copy(*known, known_);
    unread_.assign(prompt.begin() + static_cast<std::ptrdiff_t>(known_), prompt.end());
}

std::vector<Ids> Stream::advance(std::span<Stream* const> streams, size_t steps) {
    std::vector<Ids> written(streams.size());
    if (streams.size() > kMostRows) throw Error("more than " + std::to_string(kMostRows) + " streams at once");
    for (const Stream* stream : streams) {
        if (stream->runtime_ != streams[0]->runtime_) throw Error("streams of different models");
        if (std::count(streams.begin(), streams.end(), stream) > 1) throw Error("a stream that is named twice");
    }
    for (size_t i = 0; i < steps && !streams.empty(); ++i) {
        if (step(streams, written)) break;
    }
    return written;
}

// Returns whether one has ended. Prompts leave room for the streams behind them.
bool Stream::step(std::span<Stream* const> streams, std::vector<Ids>& written) {
    Runtime& runtime = *streams[0]->runtime_;
    const std::scoped_lock taken(runtime.engine.mutex());
    std::vector<Row> rows;
    std::vector<size_t> read(streams.size());
    std::span<const int32_t> guess;  // of a stream that is alone
    Ids among;
    bool ended = false, few = true;
    for (size_t i = 0; i < streams.size(); ++i) {
        Stream& s = *streams[i];
        ended |= s.ended();
        if (s.ended()) continue;
        read[i] = std::min(s.unread_.size(), kMostRows - rows.size() - (streams.size() - i - 1));
        for (size_t j = 0; j < read[i]; ++j) rows.push_back({&s.sequence_, s.unread_[j], j + 1 == s.unread_.size()});
        if (read[i] < s.unread_.size()) continue;
        few &= s.few();
        if (few) among.insert(among.end(), s.allowed_->begin(), s.allowed_->end());
        if (streams.size() == 1) guess = s.guess(kMostRows - rows.size());
        for (const int32_t token : guess) rows.push_back({&s.sequence_, token, true});
    }
    if (rows.empty()) return true;
    float* logits = runtime.engine.step(rows, few ? among : Ids());
    for (size_t i = 0; i < streams.size(); ++i) {
        Stream& s = *streams[i];
        if (s.ended()) continue;
        s.unread_.erase(s.unread_.begin(), s.unread_.begin() + static_cast<std::ptrdiff_t>(read[i]));
        if (!s.unread_.empty()) continue;
        logits = s.take(logits, guess, written[i]);
        ended |= s.ended();
    }
    return ended;
}

std::optional<int32_t> Stream::allow(std::span<const uint8_t> tokens) {
    Ids allowed;
    const size_t vocabulary = runtime_->model.vocabulary;
    for (size_t byte = 0; byte < tokens.size(); ++byte) {
        for (unsigned bits = tokens[byte]; bits != 0; bits &= bits - 1) {
            const size_t token = 8 * byte + static_cast<size_t>(std::countr_zero(bits));
            if (token < vocabulary) allowed.push_back(static_cast<int32_t>(token));
        }
    }
    if (allowed.empty()) throw Error("no token is allowed");
    if (allowed.size() > 1 || ended()) return allowed_ = std::move(allowed), std::nullopt;
    const float certain = 0;
    sampler_.sample({&certain, 1});  // draws as it would have among all, so that a seed goes on as it did
    write(allowed[0]);
    return allowed[0];
}

// Whether the head need not compute most of its rows.
bool Stream::few() const { return allowed_ && allowed_->size() <= runtime_->model.vocabulary / (4 * kTile); }

// What may follow the token that is read now, of which the model will be asked.
std::span<const int32_t> Stream::guess(size_t most) {
    if (!lookup_ || allowed_ || unread_.size() != 1) return {};
    text_ = sequence_.tokens;
    text_.push_back(unread_[0]);
    return drafter_.guess(text_, std::min(most, left_ - 1));
}

// Writes the token after what was unread, and those after guesses as long as they are right. Returns the logits behind
// those of this stream.
float* Stream::take(float* logits, std::span<const int32_t> guess, Ids& written) {
    size_t right = 0;
    const size_t stride = runtime_->engine.logits_stride();
    while (true) {
        const int32_t token = pick({logits + right * stride, runtime_->model.vocabulary});
        write(token);
        written.push_back(token);
        if (ended() || right == guess.size() || guess[right] != token) break;
        ++right, unread_.clear();  // it was read as a guess
    }
    if (!guess.empty()) {
        sequence_.cut(sequence_.length() - guess.size() + right);
        drafter_.learn(guess.size(), right);
        guessed_ += guess.size(), right_ += right;
    }
    return logits + (1 + guess.size()) * stride;
}

int32_t Stream::pick(std::span<const float> logits) {
    if (!allowed_) return sampler_.sample(logits);
    std::vector<float> among;
    for (const int32_t token : *allowed_) among.push_back(logits[static_cast<size_t>(token)]);
    return (*allowed_)[static_cast<size_t>(sampler_.sample(among))];
}

void Stream::write(int32_t token) {
    allowed_.reset();
    unread_.push_back(token);
    left_ = std::find(stop_.begin(), stop_.end(), token) != stop_.end() ? 0 : left_ - 1;
}

}  // namespace filament
