#include "stream.hpp"

#include <algorithm>
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
               Ids stop, const Sequence* known)
    : runtime_(std::move(runtime)),
      sequence_(runtime_->model, sum(prompt.size(), max_new_tokens)),
      sampler_(sampling),
      stop_(std::move(stop)),
      left_(max_new_tokens),
      known_(shared(prompt, known)) {
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
    bool ended = false;
    for (size_t i = 0; i < streams.size(); ++i) {
        Stream& s = *streams[i];
        ended |= s.ended();
        if (s.ended()) continue;
        read[i] = std::min(s.unread_.size(), kMostRows - rows.size() - (streams.size() - i - 1));
        for (size_t j = 0; j < read[i]; ++j) rows.push_back({&s.sequence_, s.unread_[j], j + 1 == s.unread_.size()});
    }
    if (rows.empty()) return true;
    float* logits = runtime.engine.step(rows);
    for (size_t i = 0; i < streams.size(); ++i) {
        Stream& s = *streams[i];
        if (s.ended()) continue;
        s.unread_.erase(s.unread_.begin(), s.unread_.begin() + static_cast<std::ptrdiff_t>(read[i]));
        if (!s.unread_.empty()) continue;
        written[i].push_back(s.take({logits, runtime.model.vocabulary}));
        logits += runtime.engine.logits_stride();
        ended |= s.ended();
    }
    return ended;
}

int32_t Stream::take(std::span<float> logits) {
    if (allowed_) mask_tokens(logits, *allowed_);
    allowed_.reset();
    const int32_t token = sampler_.sample(logits);
    unread_ = {token};
    left_ = std::find(stop_.begin(), stop_.end(), token) != stop_.end() ? 0 : left_ - 1;
    return token;
}

}  // namespace filament
