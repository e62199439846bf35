#include "mlgru.hpp"

#include <algorithm>

#include "model.hpp"
#include "sequence.hpp"
#include "step.hpp"

namespace filament {
namespace {

enum Buffer : size_t { kForget, kCandidate, kGate };
constexpr size_t kOperations = 8;  // of a column of the state, beside the gates' exponentials

}  // namespace

void MlgruState::copy(const MixerState& from, size_t positions) {
    std::copy_n(static_cast<const MlgruState&>(from).kept_.at(positions).begin(), width_, h_);
}

void MlgruState::keep(size_t positions) { kept_[positions].assign(h_, h_ + width_); }

size_t MlgruState::reach(size_t positions) const {
    const auto beyond = kept_.upper_bound(positions);
    return beyond == kept_.begin() ? 0 : std::prev(beyond)->first;
}

void MlgruState::cut(size_t positions) {
    std::copy_n(kept_.at(positions).begin(), width_, h_);
    kept_.erase(kept_.upper_bound(positions), kept_.end());
}

std::unique_ptr<MixerState> Mlgru::make_state(size_t, uint8_t* place) const {
    return std::make_unique<MlgruState>(width(), place);
}

Cost Mlgru::cost(size_t) const { return {2 * width() * sizeof(float), kOperations * width()}; }

// A thread multiplies the tiles of all three matrices whose columns of the state are its own, so that it need not wait
// for the others before it changes them, and finds the products in its cache.
void Mlgru::run(const Step& step, const Norm& norm, Output out) const {
    const auto& buffers = step.space.buffers;
    const Input& input = step.prepare(norm, {&forget, &candidate, &gate});
    const auto [begin, end] = step.worker.share(forget.matrix.tiles());
    const auto multiply = [&](const Matrix& matrix, size_t rows, float* to) {
        step.kernels().multiply(matrix, input.view(matrix, rows), begin, end, to, width(), false);
    };
    multiply(forget.matrix, step.tokens, buffers[kForget].data());
    multiply(candidate.matrix, step.tokens, buffers[kCandidate].data());
    multiply(gate.matrix, step.outputs, buffers[kGate].data());
    remember(step, begin * kTile, end * kTile);
    step.worker.barrier();
    const Input& mixed = step.prepare(step.outputs, step.model.width, {&output}, [&](size_t t, float* to) {
        const float* gated = &buffers[kGate][t * width()];
        if (out_norm) out_norm.apply(step.kernels(), gated, step.model.width, to);
        else std::copy_n(gated, width(), to);
    });
    step.multiply(mixed, step.outputs, {{&output, out.to}}, out.add);
    step.worker.barrier();
}

// Columns [begin, end) of each token's state, one after the other; what they give takes the place of the gate. Rows
// that have no output make something of the gate that was there before, which nobody reads.
void Mlgru::remember(const Step& step, size_t begin, size_t end) const {
    const auto& buffers = step.space.buffers;
    for (const size_t t : step.space.order) {
        float* h = static_cast<MlgruState&>(step.space.rows[t].sequence->state(layer)).h();
        const size_t at = t * width() + begin;
        step.kernels().mlgru(&buffers[kForget][at], &buffers[kCandidate][at], &buffers[kGate][at], &lower[begin],
                             end - begin, h + begin, &buffers[kGate][at]);
    }
}

}  // namespace filament
