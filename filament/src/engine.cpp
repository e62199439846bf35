#include "engine.hpp"

#include <algorithm>
#include <cmath>

namespace filament {
namespace {

constexpr size_t kFew = 4;  // rows of a step that memory limits as it does those of one

}  // namespace

Engine::Engine(const Model& model) : model_(model), tuner_(model.pool().size()), space_(model, model.pool().size()) {
    for (size_t i = 0; i < model.layers.size(); ++i) {
        const Mixer* mixer = model.layers[i].mixer.branch.get();
        if (mixer && mixer->state_bytes(1) > 0) mixing_ = i + 1;
    }
}

float* Engine::step(std::span<const Row> rows, std::span<const int32_t> among) {
    check(rows);
    start(rows, among);
    const auto work = [&](bool alone) { model_.pool().run([&](const Worker& worker) { run(worker); }, alone); };
    if (model_.pool().size() == 1 || rows.size() * model_.weight_bytes < kAlone) work(true);
    else if (rows.size() == 1) tuner_.run(work);
    else work(rows.size() <= kFew && tuner_.alone());
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
void Engine::start(std::span<const Row> rows, std::span<const int32_t> among) {
    wanted_ = static_cast<size_t>(std::count_if(rows.begin(), rows.end(), [](const Row& row) { return row.wanted; }));
    space_.rows.assign(rows.begin(), rows.end()), space_.positions.resize(rows.size()), space_.order.clear();
    size_t longest = 0, wanted = 0, other = wanted_;
    for (const Row& row : rows) {
        place(row, row.wanted ? wanted++ : other++);
        longest = std::max(longest, row.sequence->length());
    }
    know_angles(longest);
    tiles_.clear();
    for (const int32_t token : among) tiles_.push_back(static_cast<size_t>(token) / kTile);
    std::sort(tiles_.begin(), tiles_.end());
    tiles_.erase(std::unique(tiles_.begin(), tiles_.end()), tiles_.end());
    if (logits_.size() < wanted_ * logits_stride()) logits_.resize(wanted_ * logits_stride());
    for (Scratch& scratch : space_.scratch) {
        for (const Layer& layer : model_.layers) {
            if (layer.mixer.branch) layer.mixer.branch->reserve(scratch, longest);
        }
    }
}

// The next row of its text becomes row `t`.
void Engine::place(const Row& row, size_t t) {
    space_.rows[t] = row, space_.positions[t] = row.sequence->length(), space_.order.push_back(t);
    row.sequence->tokens.push_back(row.token);
    const size_t width = round_up(model_.width);
    float* x = &space_.residual[t * width];
    model_.embed(static_cast<size_t>(row.token), x);
    std::fill(x + model_.width, x + width, 0.0f);  // damaged weights may have left no numbers
}

// The angles by which queries and keys of the first positions are turned.
void Engine::know_angles(size_t positions) {
    for (size_t r = 0; r < model_.ropes.size(); ++r) {
        const std::vector<double>& frequencies = model_.ropes[r].frequencies;
        const size_t pairs = frequencies.size();
        auto& [cosines, sines] = space_.angles[r];
        const size_t known = sines.size();  // the last to grow: what a lack of memory leaves is found again
        if (known >= positions * pairs) continue;
        cosines.resize(positions * pairs), sines.resize(positions * pairs);
        for (size_t i = known; i < sines.size(); ++i) {
            const size_t position = i / pairs;
            const double angle = static_cast<double>(position) * frequencies[i % pairs];
            cosines[i] = static_cast<float>(std::cos(angle)), sines[i] = static_cast<float>(std::sin(angle));
        }
    }
}

void Engine::run(const Worker& worker) {
    const size_t all = space_.rows.size();
    for (size_t i = 0; i < model_.layers.size(); ++i) {
        const size_t read = i < mixing_ ? all : wanted_, left = i + 1 < mixing_ ? all : wanted_;
        add({model_, space_, worker, read, left}, model_.layers[i].mixer);
        add({model_, space_, worker, left, left}, model_.layers[i].feed_forward);
    }
    if (wanted_ == 0) return;
    const Step step(model_, space_, worker, wanted_, wanted_);
    const Linear& head = model_.logits;
    const Input& input = step.prepare(model_.output_norm, {&head});
    if (tiles_.empty()) return step.multiply(input, wanted_, {{&head, logits_.data()}}, false);
    const auto [begin, end] = worker.share(tiles_.size());
    for (size_t i = begin; i < end; ++i) {
        model_.kernels().multiply(head.matrix, input.view(head.matrix, wanted_), tiles_[i], tiles_[i] + 1,
                                  logits_.data(), head.width(), false);
    }
}

// residual += post_norm(branch(norm(residual)))
template <class Kind> void Engine::add(const Step& step, const Residual<Kind>& residual) const {
    const auto& [norm, post_norm, branch] = residual;
    if (!branch || step.tokens == 0) return;
    if (!post_norm) return branch->run(step, norm, {space_.residual.data(), true});
    branch->run(step, norm, {space_.branch.data(), false});
    const auto [begin, end] = step.worker.share(step.outputs);
    for (size_t t = begin; t < end; ++t) {
        float *x = step.residual(t), *added = &space_.branch[t * round_up(model_.width)];
        post_norm.apply(model_.kernels(), added, model_.width, added);
        for (size_t i = 0; i < model_.width; ++i) x[i] += added[i];
    }
    step.worker.barrier();
}

}  // namespace filament
