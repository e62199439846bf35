#include "stream.hpp"

#include <algorithm>

namespace filament {

std::vector<float> Runtime::read(Sequence& sequence, std::span<const int32_t> tokens, bool all) {
    std::vector<float> logits;
    logits.reserve((all ? tokens.size() : 1) * model.vocabulary);
    for (size_t start = 0; start < tokens.size(); start += kMostRows) {
        const auto part = tokens.subspan(start, std::min(kMostRows, tokens.size() - start));
        std::vector<Row> rows;
        for (size_t i = 0; i < part.size(); ++i) {
            rows.push_back({&sequence, part[i], all || start + i + 1 == tokens.size()});
        }
        const std::scoped_lock turn(engine.mutex());
        const float* out = engine.step(rows);
        for (const Row& row : rows) {
            if (row.wanted) logits.insert(logits.end(), out, out + model.vocabulary), out += engine.logits_stride();
        }
    }
    return logits;
}

std::vector<double> Runtime::score(std::span<const int32_t> prompt, const std::vector<std::vector<int32_t>>& continuations) {
    size_t longest = 1;
    for (const auto& c : continuations) longest = std::max(longest, c.size());
    Sequence sequence(model, prompt.size() + longest);
    std::vector<float> first = read(sequence, prompt, false);
    log_softmax(first);
    std::vector<double> sums;
    for (const auto& continuation : continuations) {
        if (continuation.empty()) throw Error("an empty choice");
        for (const int32_t token : continuation) {
            if (token < 0 || static_cast<size_t>(token) >= model.vocabulary) throw Error("there is no token " + std::to_string(token));
        }
        double total = first[static_cast<size_t>(continuation[0])];
        if (continuation.size() > 1) {
            auto rest = read(sequence, std::span(continuation).first(continuation.size() - 1), true);
            for (size_t i = 1; i < continuation.size(); ++i) {
                const std::span<float> logits(&rest[(i - 1) * model.vocabulary], model.vocabulary);
                log_softmax(logits);
                total += logits[static_cast<size_t>(continuation[i])];
            }
            sequence.tokens.resize(prompt.size());
        }
        sums.push_back(total);
    }
    return sums;
}

Stream::Stream(std::shared_ptr<Runtime> runtime, const std::vector<int32_t>& prompt, size_t room, const Sampling& sampling, std::vector<int32_t> stop)
    : runtime_(std::move(runtime)), sequence_(runtime_->model, prompt.size() + room), sampler_(sampling), stop_(std::move(stop)),
      unread_(prompt), left_(room) {
    if (prompt.empty()) throw Error("an empty prompt");
}

std::vector<int32_t> Stream::next(size_t n) {
    std::vector<int32_t> written;
    while (written.size() < n && left_ > 0) written.push_back(take());
    return written;
}

// Reads what is not read yet and samples a token.
int32_t Stream::take() {
    const std::vector<float> logits = runtime_->read(sequence_, unread_, false);
    unread_.clear();
    const int32_t token = sampler_.sample(logits);
    unread_ = {token};
    left_ = std::find(stop_.begin(), stop_.end(), token) != stop_.end() ? 0 : left_ - 1;
    return token;
}

}  // namespace filament
