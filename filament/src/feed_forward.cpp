#include "feed_forward.hpp"

#include "step.hpp"

namespace filament {
namespace {

enum Buffer : size_t { kGate, kUp };

}  // namespace

void GatedFeedForward::run(const Step& step, const Norm& norm, Output out) const {
    const size_t tokens = step.tokens, hidden = up.matrix.rows, stride = up.width();
    float *gated = step.space.buffers[kGate].data(), *raised = step.space.buffers[kUp].data();
    const Input& input = step.prepare(norm, {&gate, &up});
    step.multiply(input, tokens, {{&gate, gated}, {&up, raised}}, false);
    step.worker.barrier();
    const Input& activated = step.prepare(tokens, hidden, {&down}, [&](size_t t, float* to) {
        activation(gated + t * stride, raised + t * stride, hidden, to);
        if (down_norm) down_norm.apply(step.kernels(), to, hidden, to);
    });
    step.multiply(activated, tokens, {{&down, out.to}}, out.add);
    step.worker.barrier();
}

}  // namespace filament
