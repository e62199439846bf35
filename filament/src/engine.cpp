#include "engine.hpp"

#include <algorithm>
#include <cmath>

namespace filament {

Engine::Engine(const Model& model) : model_(model), tuner_(model.pool().size()), space_(model, model.pool().size()) {}

float* Engine::step(std::span<const Row> rows) {
    check(rows);
    start(rows);
    const auto work = [&](bool alone) { model_.pool().run([&](const Worker& worker) { run(worker); }, alone); };
    if (model_.pool().size() == 1 || rows.size() * model_.weight_bytes < kAlone) work(true);
    else if (rows.size() == 1) tuner_.run(work);
    else work(false);
    return logits_.data();
}

void Engine::check(std::span<const Row> rows) const {
    if (rows.size() > kMostRows) throw Error("too many tokens for one step");
    for (const Row& row : rows) {
        const auto same =
            std::count_if(rows.begin(), rows.end(), [&](const Row& r) { return r.sequence == row.sequence; });
        if (row.sequence->length() + static_cast<size_t>(same) > row.sequence->capacity()) {
            throw Error("the text is longer than the " + std::to_string(row.sequence->capacity()) +
                        " tokens there is room for");
        }
    }
}

// Positions, embeddings and room for all that the threads will write.
void Engine::start(std::span<const Row> rows) {
    space_.rows = rows;
    space_.positions.clear(), wanted_.clear();
    size_t longest = 0;
    for (size_t t = 0; t < rows.size(); ++t) {
        space_.positions.push_back(rows[t].sequence->length());
        rows[t].sequence->tokens.push_back(rows[t].token);
        longest = std::max(longest, rows[t].sequence->length());
        if (rows[t].wanted) wanted_.push_back(t);
        embed(t);
    }
    if (logits_.size() < wanted_.size() * logits_stride()) logits_.resize(wanted_.size() * logits_stride());
    for (Scratch& scratch : space_.scratch) {
        for (const Layer& layer : model_.layers) {
            if (layer.mixer.branch) layer.mixer.branch->reserve(scratch, longest);
        }
    }
}

// The embedding of row `t`, and the angles by which its queries and keys are turned.
void Engine::embed(size_t t) {
    const size_t width = round_up(model_.width);
    float* x = &space_.residual[t * width];
    model_.embed(static_cast<size_t>(space_.rows[t].token), x);
    std::fill(x + model_.width, x + width, 0.0f);  // damaged weights may have left no numbers
    for (size_t r = 0; r < model_.ropes.size(); ++r) {
        const std::vector<double>& frequencies = model_.ropes[r].frequencies;
        const size_t pairs = frequencies.size();
        for (size_t i = 0; i < pairs; ++i) {
            const double angle = static_cast<double>(space_.positions[t]) * frequencies[i];
            space_.angles[r].cosines[t * pairs + i] = static_cast<float>(std::cos(angle));
            space_.angles[r].sines[t * pairs + i] = static_cast<float>(std::sin(angle));
        }
    }
}

void Engine::run(const Worker& worker) {
    const Step step(model_, space_, worker);
    for (const Layer& layer : model_.layers) {
        add(step, layer.mixer);
        add(step, layer.feed_forward);
    }
    if (wanted_.empty()) return;
    const Input& input = step.prepare(wanted_.size(), model_.width, {&model_.logits}, [&](size_t t, float* out) {
        model_.output_norm.apply(model_.kernels(), step.residual(wanted_[t]), model_.width, out);
    });
    step.multiply(input, wanted_.size(), {{&model_.logits, logits_.data()}}, false);
}

// residual += post_norm(branch(norm(residual)))
template <class Kind> void Engine::add(const Step& step, const Residual<Kind>& residual) const {
    const auto& [norm, post_norm, branch] = residual;
    if (!branch) return;
    if (!post_norm) return branch->run(step, norm, {space_.residual.data(), true});
    branch->run(step, norm, {space_.branch.data(), false});
    const auto [begin, end] = step.worker.share(step.tokens());
    for (size_t t = begin; t < end; ++t) {
        float *x = step.residual(t), *added = &space_.branch[t * round_up(model_.width)];
        post_norm.apply(model_.kernels(), added, model_.width, added);
        for (size_t i = 0; i < model_.width; ++i) x[i] += added[i];
    }
    step.worker.barrier();
}

}  // namespace filament
